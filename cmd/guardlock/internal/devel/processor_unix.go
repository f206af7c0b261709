//go:build unix

package devel

import (
	"syscall"
	"time"
)

// processorTime is what this program has used of processors, the garbage collector
// included.
func processorTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}

	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
