// Package handed is the listening sockets that a process is handed at its start, as
// systemd does with socket units (sd_listen_fds(3)). Who hands them over keeps them
// open, so that a restart refuses nobody: connections wait in the socket's queue until
// the next process takes them.
//
// Trust: who starts the process chooses its sockets, and is trusted as the
// configuration is.
package handed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
)

// Sockets are listening sockets that were handed over. A nil one holds none. It is
// safe for concurrent use.
type Sockets struct {
	mu   sync.Mutex
	left []net.Listener
}

// firstSocket is the number of the first descriptor that is handed over.
const firstSocket = 3

// Variables are what of the environment is about the sockets. Whoever has read them
// takes them away, so that no child believes that they are meant for it.
var Variables = []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

// Take takes the sockets that were handed over: count is what LISTEN_FDS holds, and
// pid what LISTEN_PID does. There are none where they are meant for another process.
func Take(pid, count string) (*Sockets, error) {
	if pid != strconv.Itoa(os.Getpid()) {
		return &Sockets{}, nil
	}

	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxSockets {
		return nil, fmt.Errorf("LISTEN_FDS is %q, and no number of sockets", count)
	}
	return take(firstSocket, n)
}

// maxSockets is far above the brokers of any cluster.
const maxSockets = 4096

// take makes listeners of n descriptors from first on, which are closed.
func take(first, n int) (*Sockets, error) {
	s := &Sockets{}
	var wrong []error
	for fd := first; fd < first+n; fd++ {
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), fmt.Sprintf("socket %d", fd))
		ln, err := net.FileListener(f)
		_ = f.Close() // the listener has a descriptor of its own
		if err == nil && ln.Addr().Network() != "tcp" {
			err = fmt.Errorf("it is of %s", ln.Addr().Network())
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("descriptor %d that was handed over is no listening TCP socket: %w", fd, err))
			continue
		}
		s.left = append(s.left, ln)
	}

	if len(wrong) > 0 {
		s.Close()
		return nil, errors.Join(wrong...)
	}
	return s, nil
}

// Listen returns the socket that was handed over for a TCP address, once, and listens
// itself where there is none.
func (s *Sockets) Listen(ctx context.Context, address string) (net.Listener, error) {
	want, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}

	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, ln := range s.left {
			if same(ln.Addr(), want) {
				s.left = slices.Delete(s.left, i, i+1)
				return ln, nil
			}
		}
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// same compares where two sockets listen. All addresses of IPv4 and all addresses are
// the same here, since systemd makes one socket of both.
func same(a net.Addr, b *net.TCPAddr) bool {
	have := a.(*net.TCPAddr).AddrPort()
	want := b.AddrPort()
	return have.Port() == want.Port() && plain(have) == plain(want)
}

func plain(a netip.AddrPort) netip.Addr {
	addr := a.Addr().Unmap()
	if !addr.IsValid() || addr.IsUnspecified() {
		return netip.IPv6Unspecified()
	}
	return addr
}

// Left are the addresses of sockets that nobody has asked for. Whoever connects to one
// of them waits in vain.
func (s *Sockets) Left() []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, ln := range s.left {
		all = append(all, ln.Addr().String())
	}
	return all
}

// Close closes this process's side of sockets that nobody has asked for.
func (s *Sockets) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ln := range s.left {
		ln.Close()
	}
	s.left = nil
}
