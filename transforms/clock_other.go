//go:build !linux

package transforms

import "time"

var processStart = time.Now()

// threadTime is the time that passed, where a thread's processor time is not to
// be had: a busy machine then counts against the guest.
func threadTime() time.Duration { return time.Since(processStart) }
