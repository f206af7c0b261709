//go:build !linux

package transforms

import (
	"errors"
	"os"
)

var errNoWorkers = errors.New("guests run in processes of their own on Linux only")

func shareMemory(uint64) (view []byte, file *os.File, unmap func(), err error) {
	return nil, nil, nil, errNoWorkers
}

func mapShared(int, uint64) (view []byte, unmap func(), err error) { return nil, nil, errNoWorkers }
