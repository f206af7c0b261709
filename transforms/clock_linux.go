package transforms

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// threadTime is the processor time that the calling thread has used. The call
// does not tell the scheduler, since it takes a fifth of a microsecond.
func threadTime() time.Duration {
	var t unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_THREAD_CPUTIME_ID, uintptr(unsafe.Pointer(&t)), 0)

	return time.Duration(t.Nano())
}
