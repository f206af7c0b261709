//go:build !linux

package kafkatest

import "syscall"

// processAttributes: elsewhere a node outlives a test's process that is killed; Ctrl-C must reach it.
func processAttributes() *syscall.SysProcAttr { return nil }
