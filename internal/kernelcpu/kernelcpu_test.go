package kernelcpu

import (
	"testing"
	"time"
)

func TestSinceCountsThreadsThatBeginAndLeavesOutThoseThatEnd(t *testing.T) {
	before := Times{"stays": 5 * time.Second, "ends": 7 * time.Second}
	after := Times{"stays": 6 * time.Second, "begins": 2 * time.Second}
	if got := after.Since(before); got != 3*time.Second {
		t.Errorf("the threads ran %s, want 3s", got)
	}
}
