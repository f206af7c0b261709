//go:build !linux

package child

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func ownProgram() (string, error) { return os.Executable() }

// attributes give the child a process group of its own. Without a signal of the parent's death, it learns of that by
// the end of its standard input.
func attributes(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func niceness() (int, error) { return unix.Getpriority(unix.PRIO_PROCESS, 0) }

func closeOnStart() {}

func (b Bounds) applyOfSystem() error { return nil }
