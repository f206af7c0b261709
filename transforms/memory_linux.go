package transforms

import "golang.org/x/sys/unix"

// reserve takes address space for a guest's memory: a page costs memory when it
// is first written to, growing moves nothing, and what is given back is the
// kernel's at once instead of the collector's some time.
func reserve(size uint64) ([]byte, func()) {
	if size == 0 {
		return nil, func() {}
	}

	view, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, func() {}
	}

	return view, func() { _ = unix.Munmap(view) }
}
