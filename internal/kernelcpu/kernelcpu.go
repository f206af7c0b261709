// Package kernelcpu tells what the kernel's own threads have worked, for
// benchmarks. A write or a packet that a program hands over is often finished
// by one of them, and the program's own CPU time does not show that. On a
// machine with other work theirs is in the figure too, so it is compared within
// one run, in turns.
package kernelcpu

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrNone is returned where the system does not tell what its threads have
// worked, as anywhere but on Linux. A benchmark then leaves the figure out.
var ErrNone = errors.New("the system does not tell what the kernel's threads have worked")

// Times is what each thread of the kernel has run until some moment, by its
// id. The figures come from /proc/PID/schedstat (Linux, "Scheduler
// Statistics").
type Times map[string]time.Duration

// Now takes the times of this moment, of every thread of the kernel that there
// is. It returns ErrNone where the system has no such figures.
func Now() (Times, error) {
	all, err := filepath.Glob("/proc/[0-9]*/schedstat")
	if err != nil {
		return nil, err
	}

	times := make(Times)
	for _, path := range all {
		dir := filepath.Dir(path)
		if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err != nil || len(line) > 0 {
			continue // a program, or one that has ended
		}
		if ran, ok := read(path); ok {
			times[dir] = ran
		}
	}

	if len(times) == 0 {
		return nil, ErrNone
	}
	return times, nil
}

// read reads the time that one thread has run. It returns false for a thread
// that has ended since it was found.
func read(path string) (time.Duration, bool) {
	stat, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	nanoseconds, _, _ := strings.Cut(string(stat), " ")
	ran, err := strconv.ParseInt(nanoseconds, 10, 64)
	return time.Duration(ran), err == nil
}

// Since is what the threads ran between before and t. Those that ended in
// between are not counted.
func (t Times) Since(before Times) (sum time.Duration) {
	for id, ran := range t {
		if ran > before[id] {
			sum += ran - before[id]
		}
	}
	return sum
}
