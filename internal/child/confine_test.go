//go:build linux && (amd64 || arm64)

package child

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// confined tries what a confined child may not do, and prints what it can do all the same.
func confined() {
	if err := Confine(); err != nil {
		fmt.Println(err)
		return
	}

	attempts := map[string]func() error{
		"open":    func() error { _, err := os.Open("/proc/self/maps"); return err },
		"create":  func() error { return os.WriteFile("/tmp/confined", nil, 0o600) },
		"remove":  func() error { return unix.Unlinkat(unix.AT_FDCWD, "/nowhere", 0) },
		"dial":    func() error { _, err := net.Dial("tcp", "127.0.0.1:1"); return err },
		"pair":    func() error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
		"run":     func() error { return unix.Exec("/bin/true", nil, nil) },
		"fork":    func() error { return exec.Command("/bin/true").Run() },
		"signal":  func() error { return unix.Kill(os.Getppid(), 0) },
		"trace":   func() error { return unix.PtraceAttach(os.Getppid()) },
		"bounds":  func() error { return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) },
		"foreign": func() error { return unix.Tgkill(os.Getppid(), os.Getppid(), 0) },
		"code": func() error {
			_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
			return err
		},
	}
	for name, attempt := range attempts {
		if err := attempt(); !errors.Is(err, unix.EPERM) {
			fmt.Printf("%s: %v\n", name, err)
		}
	}

	// Computing goes on: collections, threads, memory.
	done := make(chan []byte)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			done <- make([]byte, 8<<20)
		}()
	}

	for range 8 {
		<-done
		runtime.GC()
	}
}

func TestConfinedChildCanDoNothingButCompute(t *testing.T) {
	var said Words
	p := start(t, "__confined", func(cmd *exec.Cmd) {
		cmd.Stdout = &said
		cmd.Stderr = &said
	})
	if err := p.Wait(); err != nil || said.String() != "" {
		t.Errorf("%v, %s", err, said.String())
	}
}
