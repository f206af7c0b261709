//go:build amd64 || arm64

package child

import (
	"fmt"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// quiet are the system calls that a confined child may make: what the Go runtime needs to compute, and reading and
// writing what is open already. None of them reaches a file, a socket or another process by name.
var quiet = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE,
	unix.SYS_FUTEX, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL,
	unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETRANDOM,
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE,
	unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// Confine leaves this process, for good, nothing but computing and its open descriptors: the kernel refuses every other
// system call of every thread. New threads may be started, and no process; memory may be had, and none that code could
// be run in which is not there already; signals reach this process alone.
func Confine() error {
	// The runtime's poller opens descriptors when it is first needed, which is with the first timer that has to wait.
	time.AfterFunc(time.Hour, func() {}).Stop()

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up privileges: %w", err)
	}

	filter := confinement(uint32(unix.Getpid()))
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	left, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)

	if errno != 0 {
		return fmt.Errorf("confining: the kernel takes no filter of system calls: %w", errno)
	}
	if left != 0 {
		return fmt.Errorf("confining: thread %d stays outside", left)
	}

	return nil
}

// Where the number, the architecture and the arguments of a system call lie, in seccomp_data. Of an argument the low
// half is looked at, which both architectures store first.
const (
	atNumber    = 0
	atArch      = 4
	atArguments = 16
)

// confinement is the filter, for seccomp(2). Checks of an argument come first; they leave the number behind.
func confinement(pid uint32) []unix.SockFilter {
	refuse := ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	allow := ret(unix.SECCOMP_RET_ALLOW)

	filter := []unix.SockFilter{
		load(atArch), jump(unix.BPF_JEQ, arch, 1, 0), ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(atNumber),
		// C libraries go on with clone only where clone3 is not there at all.
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
	}

	for _, c := range []struct {
		number, argument uint32
		test             uint16
		value            uint32
		pass             bool // where the test holds
	}{
		{unix.SYS_CLONE, 0, unix.BPF_JSET, unix.CLONE_THREAD, true},
		{unix.SYS_TGKILL, 0, unix.BPF_JEQ, pid, true},
		{unix.SYS_MMAP, 2, unix.BPF_JSET, unix.PROT_EXEC, false},
		{unix.SYS_MPROTECT, 2, unix.BPF_JSET, unix.PROT_EXEC, false},
	} {
		holds := allow
		fails := refuse
		if !c.pass {
			holds = refuse
			fails = allow
		}

		filter = append(filter, jump(unix.BPF_JEQ, c.number, 0, 4),
			load(atArguments+8*c.argument), jump(c.test, c.value, 0, 1), holds, fails)
	}

	for _, number := range slices.Sorted(slices.Values(quiet)) {
		filter = append(filter, jump(unix.BPF_JEQ, number, 0, 1), allow)
	}
	return append(filter, refuse)
}

func load(at uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
}

func jump(test uint16, value uint32, holds, fails uint8) unix.SockFilter {
	return unix.SockFilter{
		Code: unix.BPF_JMP | test | unix.BPF_K,
		Jt:   holds,
		Jf:   fails,
		K:    value,
	}
}

func ret(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
