package child

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownProgram names the running program even after its file was replaced by an upgrade: a child must be of the same
// version.
func ownProgram() (string, error) { return "/proc/self/exe", nil }

// attributes make the child end with its parent, and keep signals of a shared terminal from it.
func attributes(death syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: death, Setpgid: true}
}

// applyOfSystem sets the limits that the kernel keeps. The address space that is reserved already does not count, since
// Go's runtime reserves much at its start.
func niceness() (int, error) {
	left, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - left, err
}

// closeOnStart keeps from a child what this process was itself started with beyond its standard input and output. Go
// opens nothing that a child would inherit. A kernel before 5.11 cannot do it.
func closeOnStart() { _ = unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC) }

func (b Bounds) applyOfSystem() error {
	if b.Reserved != 0 {
		already, err := addressSpace()
		if err != nil {
			return fmt.Errorf("reading own address space: %w", err)
		}
		if err := setLimit(unix.RLIMIT_AS, already+b.Reserved); err != nil {
			return err
		}
	}

	if b.CPU != 0 {
		return setLimit(unix.RLIMIT_CPU, uint64(b.CPU.Seconds()))
	}
	return nil
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
