// Package child runs a part of this program in a child process, for work that must not be able to harm the parent: the
// compiler, policies, guests, and the embedded broker.
//
// A child is this program again with a hidden command. It has no environment, since the parent's may hold secrets, a
// process group of its own, and it dies with its parent. What it says is not trusted: its output is bounded here, and
// who reads answers from it has to check them.
package child

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Command is this program with other arguments, ready for its pipes and for Start. The child is killed when ctx ends.
func Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	exe, err := ownProgram()
	if err != nil {
		return nil, fmt.Errorf("finding own program: %w", err)
	}

	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = []string{}
	cmd.SysProcAttr = attributes(syscall.SIGKILL)

	return cmd, nil
}

// EndsGently makes a child end by SIGTERM instead of SIGKILL, when its context or its parent ends.
func EndsGently(cmd *exec.Cmd) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = attributes(syscall.SIGTERM)
}

// Process is a started child. Wait must be called once.
type Process struct {
	*exec.Cmd
	over chan struct{}
}

// Start starts a command. The kernel sends the signal of a parent's death when the thread ends that started the child,
// so that one thread is kept for it until Wait returns.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd, make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()

		closeOnStart()
		err := cmd.Start()
		started <- err

		if err == nil {
			<-p.over
		}
	}()

	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting a child: %w", err)
	}
	return p, nil
}

// Wait returns when the child is gone and its output copied.
func (p *Process) Wait() error {
	defer close(p.over)
	return p.Cmd.Wait()
}

// Kill ends the child at once. Of one that is gone already, nothing.
func (p *Process) Kill() { _ = p.Process.Kill() }

// Killed reports whether a child that is gone was killed by somebody else, or by the kernel for want of memory.
func (p *Process) Killed() bool {
	status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// OutOfTime reports whether a child that is gone had used up Bounds.CPU.
func (p *Process) OutOfTime() bool {
	status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGXCPU
}
