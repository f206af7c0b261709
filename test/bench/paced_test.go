package bench

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/load"
)

const (
	// turn is how long one way has the load before the next has it.
	turn = 2 * time.Second
	// perBatch is how many records a batch has: what a producer collects in some
	// milliseconds of its linger.
	perBatch = 10
	// spinArg makes the test binary compete for processors.
	spinArg = "spin"
)

// way is one way to the broker, which takes its turns.
type way struct {
	name string
	load *load.Loader
	p50  []float64 // of each turn, in milliseconds
	p99  []float64
}

// waysTo connects to the broker: directly, and through a gateway in each mode.
func waysTo(b *testing.B, upstream string, names ...string) []*way {
	b.Helper()
	var all []*way
	for _, name := range names {
		addr := upstream
		if name != "direct" {
			addr = startProxy(b, name, upstream).addr
		}
		l, err := load.Dial(addr, 4, 1)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(l.Close)
		all = append(all, &way{name: name, load: l})
	}

	return all
}

// plainFrame is a batch that a real broker stores each time.
func plainFrame(b *testing.B) load.Frame {
	b.Helper()
	f, err := load.NewPlainFrame(benchTopic, load.Samples(perBatch), recordbatch.None)
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// takeTurn gives a way so many messages a second, and keeps what its batches took.
func (w *way) takeTurn(b *testing.B, f load.Frame, perSecond int) {
	b.Helper()
	took, err := w.load.Paced(b.Context(), f, float64(perSecond)/perBatch, turn)
	if err != nil {
		b.Fatalf("%s: %v", w.name, err)
	}
	w.p50 = append(w.p50, inMilliseconds(took.Quantile(0.5)))
	w.p99 = append(w.p99, inMilliseconds(took.Quantile(0.99)))
}

// inTurns gives every way n turns of the same load, after one to warm up.
func inTurns(b *testing.B, ways []*way, f load.Frame, perSecond, n int) {
	b.Helper()
	for _, w := range ways {
		w.takeTurn(b, f, perSecond)
		w.p50 = nil
		w.p99 = nil
	}
	for range n {
		for _, w := range ways {
			w.takeTurn(b, f, perSecond)
		}
	}
}

func inMilliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// BenchmarkContention is what the flush of a decision costs where it has to wait for a
// processor as well: the latency of batches through a gateway that flushes, over that
// of one that does not, alone and beside as many competitors as there are processors;
// and the same with turns of the kernel's usual length. Each iteration is one turn of each.
func BenchmarkContention(b *testing.B) {
	for _, competitors := range []int{0, runtime.NumCPU()} {
		b.Run(fmt.Sprint(competitors, " competitors"), func(b *testing.B) {
			for range competitors {
				spin(b, spinBusy)
			}
			ways := waysTo(b, nullBrokerFor(b).Addr(), modeUnsynced, modeRecord, modeRecord+longTurns)
			f := plainFrame(b)
			b.ResetTimer()
			inTurns(b, ways, f, 5000, b.N)
			b.StopTimer()

			unsynced, strict := ways[0], ways[1]
			var ratios []float64
			for i, p99 := range strict.p99 {
				ratios = append(ratios, p99/unsynced.p99[i])
			}
			for _, w := range ways {
				b.ReportMetric(median(w.p50), w.name+"-p50-ms")
				b.ReportMetric(median(w.p99), w.name+"-p99-ms")
			}
			b.ReportMetric(median(ratios), "p99-record/unsynced")
		})
	}
}

// What a process that works for nothing takes of a processor.
const (
	spinBusy = "busy" // its share, as any program
	spinIdle = "idle" // what nobody else wants, so that the processor never sleeps
)

// spin starts a process that keeps one processor busy until the benchmark ends.
func spin(b *testing.B, takes string) {
	b.Helper()
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}

	cmd := exec.Command(exe, spinArg, takes)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = ownSession()
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}

	b.Cleanup(func() { in.Close(); cmd.Wait() })
}

// runSpin works for nothing on one processor until stdin ends.
func runSpin(takes string) {
	if takes == spinIdle {
		if err := takeIdleTime(); err != nil {
			fmt.Fprintln(os.Stderr, "taking only idle time:", err)
			os.Exit(1)
		}
	}

	runtime.GOMAXPROCS(1)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for work := uint64(1); ; work++ {
		runtime.KeepAlive(work)
	}
}

// ownSession is what services have. The kernel shares processors out among sessions
// first (sched_autogroup_enabled): gateway, load and competitors in one would be one
// party against the kernel's own threads, which end flushes, and none of them is sooner
// than the other.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
