//go:build !linux

package gateway

import (
	"errors"
	"syscall"
)

// sendsRaw says that writeSocket is not there: sockets are written as Go does.
const sendsRaw = false

type vector struct{}

func readSocket(fd int, b []byte) (int, error) { return syscall.Read(fd, b) }

func writeSocket(int, [][]byte, *vector) (int, error) { return 0, errors.ErrUnsupported }
