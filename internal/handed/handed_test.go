package handed

import (
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// handOver takes one listening socket as a process takes what it was started with,
// and returns the side that stays open.
func handOver(t *testing.T, address string) (*Sockets, *net.TCPListener) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })

	s := taken(t, ln.(*net.TCPListener))
	t.Cleanup(s.Close)
	return s, ln.(*net.TCPListener)
}

// taken is what a process finds that was handed a listener.
func taken(t *testing.T, ln *net.TCPListener) *Sockets {
	t.Helper()
	file, err := ln.File()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(file.Fd()))
	file.Close()
	if err != nil {
		t.Fatal(err)
	}

	s, err := take(fd, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSocketIsFoundByItsAddress(t *testing.T) {
	for have, wanted := range map[string][]string{
		"127.0.0.1:0": {"127.0.0.1", "localhost"},
		"0.0.0.0:0":   {"0.0.0.0", "[::]", ""},
		"[::]:0":      {"0.0.0.0", "[::]", ""},
	} {
		for _, host := range wanted {
			s, ln := handOver(t, have)
			port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
			got, err := s.Listen(t.Context(), host+":"+port)
			if err != nil {
				t.Errorf("%s for %s: %v", have, host, err) // another would find the port taken
				continue
			}
			got.Close()
			if left := s.Left(); len(left) > 0 {
				t.Errorf("%s for %s: %v is left", have, host, left)
			}
		}
	}
}

func TestWhatWasNotHandedOverIsListenedOn(t *testing.T) {
	s, ln := handOver(t, "127.0.0.1:0")
	for _, from := range []*Sockets{s, nil} {
		got, err := from.Listen(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		got.Close()
	}
	if left := s.Left(); len(left) != 1 || left[0] != ln.Addr().String() {
		t.Errorf("left is %v", left)
	}
}

// Who takes over a socket finds those who have connected meanwhile.
func TestConnectionsWaitForTheNextProcess(t *testing.T) {
	s, kept := handOver(t, "127.0.0.1:0")
	first, err := s.Listen(t.Context(), kept.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	first.Close() // the first process ends

	waiting, err := net.Dial("tcp", kept.Addr().String())
	if err != nil {
		t.Fatalf("a client is refused between two processes: %v", err)
	}
	defer waiting.Close()

	next := taken(t, kept)
	second, err := next.Listen(t.Context(), kept.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	served, err := second.Accept()
	if err != nil {
		t.Fatal(err)
	}
	served.Close()
}

func TestSocketsOfAnotherProcessAreNotTaken(t *testing.T) {
	for _, pid := range []string{"", "x", strconv.Itoa(os.Getpid() + 1)} {
		s, err := Take(pid, "1")
		if err != nil || len(s.Left()) != 0 {
			t.Errorf("%q: got %v, %v", pid, s, err)
		}
	}
}

func TestWhatIsNoSocketIsRefused(t *testing.T) {
	for _, count := range []string{"", "x", "-1", "99999999999999999999", "5000"} {
		if _, err := Take(strconv.Itoa(os.Getpid()), count); err == nil || !strings.Contains(err.Error(), "LISTEN_FDS") {
			t.Errorf("%q: %v", count, err)
		}
	}

	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(file.Fd()))
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := take(fd, 1); err == nil || !strings.Contains(err.Error(), "no listening TCP socket") {
		t.Errorf("a file is taken: %v", err)
	}
}
