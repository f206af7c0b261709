package broker

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// selfExecutable names the running program even after its file was replaced by an upgrade: a child started later must
// be of the same version as its parent.
func selfExecutable() (string, error) { return "/proc/self/exe", nil }

// childAttributes makes the child die with its parent, and keeps a terminal's Ctrl-C from it: the gateway drains first.
// The signal is TERM, not KILL: what the child saves then (sequence windows, open transactions) spares idempotent
// producers duplicates. The kernel sends it when the starting thread ends, so the caller locks its thread.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}

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
