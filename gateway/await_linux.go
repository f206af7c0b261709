package gateway

import "golang.org/x/sys/unix"

// awaitBytes waits until n bytes of the frame can be read, or what there is room
// for, so that one move takes them all. It returns how many there are; errors,
// and the end, are for the read that follows.
func (in *inbox) awaitBytes(n int) int {
	got, waited := 0, false
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
	return min(got, n)
}
