//go:build unix

package disk

import (
	"fmt"
	"io/fs"
	"syscall"
)

const nonblock = syscall.O_NONBLOCK

// identity tells a file from another of the same name, size and time: a file
// that was put in the place of another has a device or inode of its own.
func identity(info fs.FileInfo) string {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprint(s.Dev, s.Ino)
	}
	return ""
}
