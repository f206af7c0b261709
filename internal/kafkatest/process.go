package kafkatest

import (
	"os/exec"
	"runtime"
)

// StartProcess starts cmd so that it dies with this process, however that ends. What it ended with comes on ended, once.
//
// A goroutine keeps its thread for as long as the process lives, since the kernel ties the parent-death signal to it.
func StartProcess(cmd *exec.Cmd) (ended <-chan error, err error) {
	started := make(chan error, 1)
	end := make(chan error, 1)
	cmd.SysProcAttr = processAttributes()
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			end <- cmd.Wait()
		}
	}()

	return end, <-started
}
