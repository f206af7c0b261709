//go:build !linux

package kafkatest

import "syscall"

// processAttributes are none where the system cannot end a child with its parent: a node then outlives a test's process
// that is killed, and Ctrl-C must reach it.
func processAttributes() *syscall.SysProcAttr { return nil }
