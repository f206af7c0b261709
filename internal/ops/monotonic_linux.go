package ops

import (
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the system's clock that is never set, by which systemd orders reloads.
func Monotonic() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
