package transforms

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// shareMemory makes memory of a size that nobody can change any more, for a guest in
// another process. An access beyond its end would end this process.
func shareMemory(size uint64) (view []byte, file *os.File, unmap func(), err error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("guest", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		fd, err = unix.MemfdCreate("guest", flags)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("making shared memory: %w", err)
	}

	file = os.NewFile(uintptr(fd), "guest")
	err = unix.Ftruncate(fd, int64(size))
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err == nil {
		view, unmap, err = mapShared(fd, size)
	}

	if err != nil {
		file.Close()
		return nil, nil, nil, fmt.Errorf("making shared memory: %w", err)
	}

	return view, file, unmap, nil
}

func mapShared(fd int, size uint64) (view []byte, unmap func(), err error) {
	view, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	return view, func() { _ = unix.Munmap(view) }, err
}
