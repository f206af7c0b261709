//go:build !linux

package gateway

import "runtime"

// yield lets other goroutines run first, if any wait.
func yield() { runtime.Gosched() }
