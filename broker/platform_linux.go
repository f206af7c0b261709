package broker

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unackedTimeout ends a connection whose peer leaves sent bytes unacknowledged for d; keep-alive probes alone are not
// sent while bytes are in flight (RFC 5482, tcp(7) TCP_USER_TIMEOUT).
func unackedTimeout(d time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var setErr error
		err := c.Control(func(fd uintptr) {
			setErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
		if err != nil {
			return err
		}

		return setErr
	}
}
