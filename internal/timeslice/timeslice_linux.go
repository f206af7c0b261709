package timeslice

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Turn is what is asked for. The kernel's usual turns are some milliseconds, and it grants
// tenths of one. Those cost a tenth more of a processor at full load, since threads then
// interrupt each other's batches, and bring nothing more.
const Turn = time.Millisecond

// Shorten asks for short turns for every thread of the process; those that are
// made later, and processes that are started, inherit them. Threads with a policy of
// their own, such as SCHED_FIFO, keep it. The error is errors.ErrUnsupported where the
// kernel has no such wish (before Linux 6.12), and else what the kernel refused with.
// Some threads may have short turns then. It may be called again.
func Shorten() error {
	done := make(map[int]bool)
	for {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("asking for short turns: %w", err)
		}

		// A thread that is not done yet may make another one behind this list.
		fresh := false
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || done[id] {
				continue
			}
			if err := shorten(id); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("asking for short turns: %w", err)
			}

			done[id] = true
			fresh = true
		}

		if !fresh {
			return nil
		}
	}
}

// shorten is Shorten for one thread.
func shorten(id int) error {
	attr, err := unix.SchedGetAttr(id, 0)
	if err != nil {
		return os.NewSyscallError("sched_getattr", err)
	}
	if attr.Policy != unix.SCHED_NORMAL && attr.Policy != unix.SCHED_BATCH {
		return nil
	}

	attr.Size = unix.SizeofSchedAttr
	attr.Runtime = uint64(Turn.Nanoseconds())
	if err := unix.SchedSetAttr(id, attr, 0); err != nil {
		return os.NewSyscallError("sched_setattr", err)
	}

	// Earlier kernels take the wish and forget it.
	after, err := unix.SchedGetAttr(id, 0)
	if err != nil {
		return os.NewSyscallError("sched_getattr", err)
	}
	if after.Runtime != attr.Runtime {
		return errors.ErrUnsupported
	}

	return nil
}
