//go:build !unix

package devel

import "time"

var began = time.Now()

// processorTime is the time on the wall: that of a processor is not known here.
func processorTime() time.Duration { return time.Since(began) }
