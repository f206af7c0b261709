//go:build linux && (amd64 || arm64)

package segment

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/internal/kernelcpu"
)

// spinArg makes the test binary a competitor for the processor.
const spinArg = "spin-until-killed"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == spinArg {
		for os.Getppid() != 1 {
			for range 1 << 20 {
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkDurable compares the two ways in which a frame becomes durable, and
// the choice between them that is made, in turns of one run. Beside the latency it gives the CPU time of this process
// and of the kernel's threads, because a direct write is finished by one of
// these: what it saves here may only have moved there. With competitors for the
// processor it tells what remains on a busy node.
func BenchmarkDurable(b *testing.B) {
	for _, competitors := range []int{0, 8} {
		for _, size := range []int{300, 16 << 10} {
			b.Run(fmt.Sprintf("competitors=%d/bytes=%d", competitors, size), func(b *testing.B) {
				compete(b, competitors)
				compareDurable(b, size)
			})
		}
	}
}

// compete keeps n processes running for the length of the benchmark.
func compete(b *testing.B, n int) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}

	for range n {
		cmd := exec.Command(exe, spinArg)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}

// durableWay is a way of writing and what it took.
type durableWay struct {
	name    string
	file    File
	off     int64
	took    []time.Duration
	process time.Duration
	kernel  time.Duration
}

func compareDurable(b *testing.B, size int) {
	direct := Disk{Dir: b.TempDir(), ring: testRing(b)}
	flush := Disk{Dir: b.TempDir()}
	chosen := Disk{Dir: b.TempDir(), ring: direct.ring, ways: new(wayChooser)}
	all := []*durableWay{
		{name: "direct", file: filled(b, direct)},
		{name: "flush", file: filled(b, flush)},
		{name: "chosen", file: filled(b, chosen)},
	}

	frame := make([]byte, size)

	const turn = 64
	for done := 0; done < b.N; done += turn {
		for _, w := range all {
			w.write(b, frame, min(turn, b.N-done))
		}
	}

	for _, w := range all {
		slices.Sort(w.took)
		each := float64(b.N) * 1000
		b.ReportMetric(float64(w.took[len(w.took)/2].Nanoseconds())/1000, w.name+"-p50-µs")
		b.ReportMetric(float64(w.took[len(w.took)*99/100].Nanoseconds())/1000, w.name+"-p99-µs")
		b.ReportMetric(float64(w.process.Nanoseconds())/each, w.name+"-cpu-µs")
		b.ReportMetric(float64(w.kernel.Nanoseconds())/each, w.name+"-kernel-µs")
	}
}

const durableBytes = 64 << 20

// filled makes a file of zeros, as a segment is where frames are appended.
func filled(b *testing.B, d Disk) File {
	f, err := d.Create("frames")
	if err != nil {
		b.Fatal(err)
	}

	b.Cleanup(func() { f.Close() })

	zeros := make([]byte, fillStep)
	for at := int64(0); at < durableBytes; at += fillStep {
		if _, err := f.WriteAt(zeros, at); err != nil {
			b.Fatal(err)
		}
	}

	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}

	return f
}

func (w *durableWay) write(b *testing.B, frame []byte, n int) {
	kernel := kernelTimes(b)
	process := processTime(b)

	for range n {
		if w.off+int64(len(frame)) > durableBytes {
			w.off = 0
		}
		began := time.Now()
		if err := w.file.AppendDurable(frame, w.off); err != nil {
			b.Fatal(err)
		}

		w.took = append(w.took, time.Since(began))
		w.off += int64(len(frame))
	}

	w.process += processTime(b) - process
	w.kernel += kernelTimes(b).Since(kernel)
}

func processTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

func kernelTimes(b *testing.B) kernelcpu.Times {
	now, err := kernelcpu.Now()
	if err != nil {
		b.Fatal(err)
	}
	return now
}
