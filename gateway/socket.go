package gateway

import (
	"io"
	"net"
	"syscall"
)

// A socket of ours never blocks: a read or a write that cannot go on says EAGAIN,
// and the poller waits. Go's scheduler takes each system call for one that may
// block, though: it wakes its monitor for it, a thread that then looks every 20 µs,
// and gives the processor of a call that takes longer to another thread. At small
// requests that is a tenth of the gateway's CPU time (RATIONALE.md, "Where does the
// time go?"). So sockets are read and written without telling the scheduler.

// socket is the sending side of a connection.
type socket struct {
	net.Conn
	raw syscall.RawConn // nil: what is sent goes through TLS, or the system has no such calls

	left net.Buffers // what the write under way has not sent yet
	err  error       // that the write under way failed with
	iov  vector
}

// newSocket makes the sending side of a connection. One goroutine sends at a time.
func newSocket(c net.Conn) *socket { return &socket{Conn: c, raw: rawConn(c)} }

// rawConn is the way to a connection's file descriptor, nil where bytes must not be
// moved past the connection.
func rawConn(c net.Conn) syscall.RawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// send writes all pieces in as few system calls as the connection allows. It may
// change the slice.
func (s *socket) send(pieces net.Buffers) error {
	switch {
	case len(pieces) == 0:
		return nil
	case s.raw != nil && sendsRaw:
		return s.sendRaw(pieces)
	case len(pieces) == 1:
		_, err := s.Write(pieces[0])
		return err
	}

	_, err := pieces.WriteTo(s.Conn)
	return err
}

func (s *socket) sendRaw(pieces net.Buffers) error {
	s.left = pieces
	s.err = nil
	err := s.raw.Write(s.sendReady)
	s.left = nil

	if err != nil {
		return err
	}
	return s.err
}

// sendReady sends until all is sent, the socket takes no more or has failed. It
// reports false where the poller is to wait.
func (s *socket) sendReady(fd uintptr) bool {
	for len(s.left) > 0 {
		n, err := ignoringEINTR(func() (int, error) { return writeSocket(int(fd), s.left, &s.iov) })
		switch {
		case err == syscall.EAGAIN:
			return false
		case err == nil && n == 0:
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			s.err = err
			return true
		}

		s.sent(n)
	}
	return true
}

// sent takes the first n bytes away from what is left.
func (s *socket) sent(n int) {
	for len(s.left) > 0 && n >= len(s.left[0]) {
		n -= len(s.left[0])
		s.left = s.left[1:]
	}
	if len(s.left) > 0 {
		s.left[0] = s.left[0][n:]
	}
}
