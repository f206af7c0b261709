package cluster

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// room is a thread with mounts and a network of its own, in which what a pod runs is
// started, and asked. Both are gone with the thread.
type room struct {
	work chan func()
}

func newRoom(t *testing.T) *room {
	t.Helper()
	r := &room{work: make(chan func())}
	ready := make(chan error)
	go r.run(ready)
	if err := <-ready; err != nil {
		t.Fatalf("a network and mounts for a pod, which takes root: %v", err)
	}

	t.Cleanup(func() { close(r.work) })
	return r
}

// run never unlocks its thread, which ends with it.
func (r *room) run(ready chan<- error) {
	runtime.LockOSThread()
	err := syscall.Unshare(syscall.CLONE_NEWNS | syscall.CLONE_NEWNET)
	if err == nil {
		err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	}
	if err == nil {
		err = loopbackUp()
	}

	ready <- err
	for work := range r.work {
		work()
	}
}

// do does something in the room.
func (r *room) do(what func() error) error {
	done := make(chan error)
	r.work <- func() { done <- what() }
	return <-done
}

// loopbackUp has 127.0.0.1 answer.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)

	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(request))); no != 0 {
		return fmt.Errorf("raising the loopback interface: %w", no)
	}
	return nil
}
