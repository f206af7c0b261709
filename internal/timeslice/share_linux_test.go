package timeslice_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/internal/timeslice"
)

// spins in the environment makes the test binary one that works for nothing on the first
// processor; its value says whether with short turns.
const spins = "TIMESLICE_SPINS"

func TestMain(m *testing.M) {
	if how := os.Getenv(spins); how != "" {
		spin(how == "short")
	}
	os.Exit(m.Run())
}

// spin says when it begins, and ends with stdin.
func spin(short bool) {
	if short {
		if err := timeslice.Shorten(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}

	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	runtime.LockOSThread()
	var first unix.CPUSet
	first.Set(0)
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}

	fmt.Println("ready")
	for work := uint64(1); ; work++ {
		runtime.KeepAlive(work)
	}
}

// BenchmarkShare has a program with short turns and one without compete for a processor,
// and gives the first one's part of the time that both got: one half, if short turns take
// nothing from anybody.
func BenchmarkShare(b *testing.B) {
	short := competitor(b, "short")
	usual := competitor(b, "usual")
	before := [2]time.Duration{cpu(b, short), cpu(b, usual)}
	for b.Loop() {
		<-time.After(time.Second)
	}

	got := cpu(b, short) - before[0]
	both := got + cpu(b, usual) - before[1]
	b.ReportMetric(float64(got)/float64(both), "share")
}

func competitor(b *testing.B, how string) (pid int) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), spins+"="+how)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}

	b.Cleanup(func() { in.Close(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		b.Fatalf("no competitor with %s turns: %q, %v", how, line, err)
	}

	return cmd.Process.Pid
}

// cpu is the processor time of a process, from its own clock.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	var at unix.Timespec
	clock := int32(^pid<<3 | 2) // CPUCLOCK_SCHED of a process; clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &at); err != nil {
		b.Fatal(err)
	}
	return time.Duration(at.Nano())
}
