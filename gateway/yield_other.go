//go:build !linux

package gateway

import "runtime"

// yield lets other goroutines run first, if any wait, where the thread itself
// cannot be let go.
func yield() { runtime.Gosched() }
