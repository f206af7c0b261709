package child

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds are what a child may take. It sets them for itself, before it sees anything that is not trusted; the kernel
// keeps them, and none can be raised again. Zero leaves a bound as it is.
type Bounds struct {
	// Reserved bounds the address space, counted from what the program has reserved when it sets its bounds: a Go
	// program reserves much that it never uses. On Linux only.
	Reserved uint64
	// Written bounds the memory that can be written to, from the beginning.
	Written uint64
	// CPU bounds the processor time, in whole seconds; Process.OutOfTime tells a child that used it up. On Linux only.
	CPU time.Duration
	// NoFiles lets the child open no descriptor any more, and write to no file.
	NoFiles bool
}

// Apply sets the bounds of this process. It never leaves a core: that would hold what the child was given.
func (b Bounds) Apply() error {
	if b.Written != 0 {
		if err := setLimit(unix.RLIMIT_DATA, b.Written); err != nil {
			return err
		}
	}

	if err := setLimit(unix.RLIMIT_CORE, 0); err != nil {
		return err
	}

	if memory := max(b.Reserved, b.Written); memory != 0 {
		debug.SetMemoryLimit(int64(memory) / 4 * 3) // collect before the kernel refuses
	}

	if err := b.applyOfSystem(); err != nil || !b.NoFiles {
		return err
	}
	return errors.Join(setLimit(unix.RLIMIT_NOFILE, 0), setLimit(unix.RLIMIT_FSIZE, 0))
}

// GiveWay lets its parent's other work go before this process, by so many steps of nice(1).
func GiveWay(steps int) error {
	now, err := niceness()
	if err == nil {
		err = unix.Setpriority(unix.PRIO_PROCESS, 0, min(now+steps, 19))
	}
	if err != nil {
		return fmt.Errorf("setting priority: %w", err)
	}

	return nil
}

func setLimit(resource int, most uint64) error {
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
		return fmt.Errorf("setting limit %d to %d: %w", resource, most, err)
	}
	return nil
}
