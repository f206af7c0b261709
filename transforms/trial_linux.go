package transforms

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// selfExecutable names the running program even after its file was replaced by
// an upgrade.
func selfExecutable() (string, error) { return "/proc/self/exe", nil }

// trialAttributes make the child end with the gateway, and keep signals of a
// shared terminal from it.
func trialAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// apply bounds this process. Address space is what the kernel can limit; a
// Go program has reserved much of it when it starts, so that the limit counts
// from there.
func (b trialBounds) apply() error {
	reserved, err := addressSpace()
	if err != nil {
		return err
	}

	memory := reserved + b.Memory
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: memory, Max: memory}); err != nil {
		return err
	}

	seconds := uint64(b.CPU.Seconds())
	if err := unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: seconds, Max: seconds}); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}

	debug.SetMemoryLimit(int64(b.Memory) * 3 / 4) // collect before the kernel refuses

	return unix.Setpriority(unix.PRIO_PROCESS, 0, 10) // records go before reloads
}

// addressSpace is what this process has reserved.
func addressSpace() (uint64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}

	pages, _, _ := strings.Cut(string(statm), " ")
	n, err := strconv.ParseUint(pages, 10, 64)

	return n * uint64(os.Getpagesize()), err
}
