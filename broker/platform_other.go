//go:build !linux

package broker

import (
	"os"
	"syscall"
	"time"
)

func selfExecutable() (string, error) { return os.Executable() }

// childAttributes: without a parent-death signal, the child learns of its parent's end by the end of its standard input.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func unackedTimeout(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
