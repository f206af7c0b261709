package gateway

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendsRaw says that writeSocket is there.
const sendsRaw = true

// maxPieces is what writev(2) takes at a time.
const maxPieces = 1024

// vector is the memory in which writev(2) is told its pieces.
type vector []unix.Iovec

// readSocket is read(2) on a socket that does not block.
func readSocket(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return result("read", n, errno)
}

// writeSocket writes pieces, of which there is at least one, to a socket that does
// not block. It returns how many bytes it took.
func writeSocket(fd int, pieces [][]byte, v *vector) (int, error) {
	if len(pieces) == 1 {
		b := pieces[0]
		n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		return result("write", n, errno)
	}

	iov := (*v)[:0]
	for _, p := range pieces[:min(len(pieces), maxPieces)] {
		iov = append(iov, unix.Iovec{Base: unsafe.SliceData(p)})
		iov[len(iov)-1].SetLen(len(p))
	}

	n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	clear(iov) // frames are not kept alive by it
	*v = iov
	return result("writev", n, errno)
}

// result is what a call returned. The numbers that callers ask for stay bare.
func result(call string, n uintptr, errno unix.Errno) (int, error) {
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR:
		return 0, errno
	}
	return 0, os.NewSyscallError(call, errno)
}
