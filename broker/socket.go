package broker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// maxSocketPath is what fits into sockaddr_un on every system we build for (104 bytes on some), with the final zero.
const maxSocketPath = 103

// embeddedAddr is the address that the embedded broker gives for itself. Nobody listens there: DialNode takes every
// address to the socket, and the gateway writes its own address over it before a client sees it.
func embeddedAddr() HostPort { return HostPort{Host: "127.0.0.1", Port: 9092} }

// listenUnix listens on path with mode 0600; the directory around it, already of mode 0700, closes the moment between.
func listenUnix(path string) (net.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening on broker socket: %w", err)
	}

	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("closing broker socket to others: %w", err)
	}
	return namedListener{l}, nil
}

// namedListener gives a host and port for its address, which kfake takes as the one to advertise, and which it splits
// for the client's host as well.
type namedListener struct{ net.Listener }

func (namedListener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(embeddedAddr().Port)}
}

func (l namedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return namedConn{c}, nil
}

type namedConn struct{ net.Conn }

func (namedConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// socketPath chooses a directory for the socket of the broker in dataDir, makes it, and returns the socket's path in it.
// A path too long for a socket moves to the temporary directory, under a name that only this data directory and user get.
func socketPath(dataDir string) (string, error) {
	dir := filepath.Join(dataDir, "socket")
	if len(filepath.Join(dir, "broker")) > maxSocketPath {
		sum := sha256.Sum256([]byte(dataDir))
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("guardlock-%d-%x", os.Getuid(), sum[:8]))
	}

	path := filepath.Join(dir, "broker")
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("choosing broker socket: %s is too long a path; choose a shorter data or temporary directory", path)
	}
	return path, privateDir(dir)
}

// privateDir makes dir with mode 0700, or accepts one that is a directory, ours, and closed to others: in a temporary
// directory somebody else may have been there first.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making private directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("checking private directory: %w", err)
	}

	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Getuid() {
		return fmt.Errorf("checking private directory: %s is not a directory of this user", dir)
	}
	if info.Mode().Perm() != 0o700 {
		return os.Chmod(dir, 0o700)
	}

	return nil
}
