//go:build !linux

package ops

import "time"

// Monotonic is of use to systemd alone.
func Monotonic() time.Duration { return 0 }
