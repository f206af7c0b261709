package gateway

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// awaitBytes waits until n bytes of the frame can be read, or what there is room
// for, so that one move takes them all. It returns how many there are; errors,
// and the end, are for the read that follows.
func (in *inbox) awaitBytes(n int) int {
	got := 0
	waited := false
	err := in.raw.Read(func(fd uintptr) bool {
		var err error
		if got, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ); err != nil || got >= n || waited {
			return true
		}
		waited = true
		// The kernel then wakes us once, not for each segment.
		return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) != nil
	})

	if waited {
		// A small request behind this one must wake us too. Where this fails the
		// socket has ended, which the read that follows says.
		_ = in.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1) })
	}

	if err != nil || got <= 0 {
		return n
	}
	return got
}

// available returns how many bytes can be read without waiting.
func (in *inbox) available() (n int) {
	_ = in.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}

// peekBehind is peek for the frame that begins off bytes from here, if it lies
// whole in the there bytes that can be read. Linux before 6.9 cannot look behind
// a frame: ok is false then.
func (in *inbox) peekBehind(off, there int) (prefix []byte, size int, ok bool) {
	if in.ahead.noOffset || there-off < minStream {
		return nil, 0, false
	}
	n := 0
	err := in.raw.Control(func(fd uintptr) {
		if in.ahead.noOffset = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEEK_OFF, off) != nil; in.ahead.noOffset {
			return
		}
		n, _ = ignoringEINTR(func() (int, error) {
			n, _, err := syscall.Recvfrom(int(fd), in.ahead.buf, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			return n, err
		})

		// Where this fails the socket has ended, which the next read says.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEEK_OFF, -1)
	})
	if err != nil || n < 0 {
		return nil, 0, false
	}

	prefix, size, ok = in.beginning(in.ahead.buf[:n])
	return prefix, size, ok && 4+size <= there-off
}
