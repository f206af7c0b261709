//go:build !linux

package child

import (
	"os"
	"syscall"
)

func ownProgram() (string, error) { return os.Executable() }

// attributes: without a signal of the parent's death, a child learns of it by the end of its standard input.
func attributes(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (b Bounds) applyOfSystem() error { return nil }
