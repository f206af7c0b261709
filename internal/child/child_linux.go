package child

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownProgram names the running program even after its file was replaced by an upgrade: a child must be of the same
// version.
func ownProgram() (string, error) { return "/proc/self/exe", nil }

// attributes make the child end with its parent, and keep signals of a shared terminal from it.
func attributes(death syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: death, Setpgid: true}
}

func niceness() (int, error) {
	left, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	return 20 - left, err
}

// closeOnStart keeps from a child what this process was itself started with beyond its standard input and output. Go
// opens nothing that a child would inherit. A kernel before 5.11 cannot do it.
func closeOnStart() { _ = unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC) }

// applyOfSystem sets the limits that the kernel keeps. The address space that is reserved already does not count, since
// Go's runtime reserves much at its start.
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

	// A core that goes to a program (core_pattern with a pipe) is not kept by a limit.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding cores: %w", err)
	}

	if b.CPU != 0 {
		return limitCPU(uint64(b.CPU.Seconds()))
	}
	return nil
}

// spareCPU is how many seconds lie between the limit that ends a child with SIGXCPU and the one that ends it with
// SIGKILL. The kernel has one thread take SIGXCPU, while the others go on until it runs.
const spareCPU = 5

// limitCPU has the kernel end this process by SIGXCPU, which nothing else sends: SIGKILL comes also from who wants
// memory, and the times of a process that is gone are not what the kernel held against the limit. Go's runtime would
// pass over SIGXCPU, and a handler would have to wait for the scheduler, so that it gets the system's own action back.
func limitCPU(seconds uint64) error {
	if err := defaultAction(unix.SIGXCPU); err != nil {
		return fmt.Errorf("taking back the handler of SIGXCPU: %w", err)
	}

	limit := &unix.Rlimit{Cur: seconds, Max: seconds + spareCPU}
	if err := unix.Setrlimit(unix.RLIMIT_CPU, limit); err != nil {
		return fmt.Errorf("setting limit %d to %d: %w", unix.RLIMIT_CPU, seconds, err)
	}
	return nil
}

// defaultAction takes the runtime's handler from a signal for good.
func defaultAction(signal syscall.Signal) error {
	var action [4]uint64 // the kernel's struct sigaction: handler, flags, restorer where there is one, mask
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
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
