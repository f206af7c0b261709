package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/internal/child"
)

const (
	firstBackoff = 50 * time.Millisecond
	// maxFailedStarts in a row, without one child that came to serve, end Run: something is broken for good.
	maxFailedStarts = 5
	// killGrace is what the child gets beyond its own deadline before it is killed.
	killGrace = 2 * time.Second
)

// Run keeps a child serving until ctx ends or Close is called, then ends it gracefully and returns nil. It returns an
// error when a child says that it can never serve (the data directory is in use or cannot be read), or when several in a
// row die before they serve. To be called once.
func (e *Embedded) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := e.begin(cancel); err != nil {
		return err
	}

	err := e.supervise(ctx)
	e.finish(err)

	return err
}

func (e *Embedded) begin(cancel context.CancelFunc) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.cancel != nil {
		return fmt.Errorf("running embedded broker: %w", ErrClosed)
	}
	e.cancel = cancel
	return nil
}

func (e *Embedded) finish(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failure = err
	if err == nil {
		e.failure = ErrClosed
	}
	close(e.ended)
}

// supervise starts a child again whenever one dies, after a pause that doubles, until ctx ends. It gives up on a child
// that says that it is of no use, and after maxFailedStarts that never served.
func (e *Embedded) supervise(ctx context.Context) error {
	pause := firstBackoff
	failed := 0
	for {
		served, err := e.runChild(ctx)
		if ctx.Err() != nil {
			return nil
		}

		var never permanentError
		if errors.As(err, &never) {
			return fmt.Errorf("running embedded broker: %w", err)
		}

		if served {
			pause = firstBackoff
			failed = 0
		} else if failed++; failed == maxFailedStarts {
			return fmt.Errorf("running embedded broker: it died %d times before it served: %w", failed, err)
		}

		e.log.Error("embedded broker died; starting it again", zap.Error(err), zap.Duration("pause", pause))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}

		pause = min(2*pause, e.cfg.MaxBackoff)
	}
}

// runChild is one child's life, and returns when it is over and its output read. The error is why it ended: always
// one, since a child ends of its own accord only when told to.
func (e *Embedded) runChild(ctx context.Context) (served bool, err error) {
	cmd, err := e.command(ctx)
	if err != nil {
		return false, err
	}

	state := &stateReader{ready: e.childUp}
	log := &lineLog{log: e.log}
	cmd.Stdout = state
	cmd.Stderr = log

	stdin, err := cmd.StdinPipe() // kept open by cmd until the child ends
	if err != nil {
		return false, fmt.Errorf("making child's standard input: %w", err)
	}

	process, err := child.Start(cmd)
	if err != nil {
		return false, err
	}

	e.childStarted(process.Process.Pid)
	_, writeErr := stdin.Write(e.child)

	var watching sync.WaitGroup
	watched, unwatch := context.WithCancel(ctx)
	watching.Go(func() { e.watch(watched, process.Process.Kill) })
	err = process.Wait()
	unwatch()
	watching.Wait()

	log.flush()
	e.childGone()

	switch {
	case state.failed != "":
		return false, permanentError(state.failed)
	case err == nil && writeErr != nil:
		return state.served, fmt.Errorf("configuring child: %w", writeErr)
	case err == nil:
		return state.served, errors.New("child ended unasked")
	}

	return state.served, err
}

// command is the child. It ends gently: what it saves then (sequence windows, open transactions) spares idempotent
// producers duplicates.
func (e *Embedded) command(ctx context.Context) (*exec.Cmd, error) {
	cmd, err := child.Command(ctx, e.cfg.Args...)
	if err != nil {
		return nil, err
	}

	child.EndsGently(cmd)
	cmd.WaitDelay = e.cfg.StopTimeout + killGrace // then SIGKILL

	return cmd, nil
}

func (e *Embedded) childStarted(pid int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pid = pid
}

func (e *Embedded) childUp() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.serving = true
	e.starts++
	close(e.up)
	e.log.Info("embedded broker serves", zap.Int("pid", e.pid), zap.Int("starts", e.starts))
}

func (e *Embedded) childGone() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pid = 0
	if e.serving {
		e.serving = false
		e.up = make(chan struct{})
	}
}

// permanentError is a child's word that starting it again is of no use, since it would fail in the same way.
type permanentError string

func (p permanentError) Error() string { return string(p) }

// stateReader is the child's standard output: one line of JSON. It belongs to the goroutine that copies, until the
// child's end is waited for.
type stateReader struct {
	ready  func()
	line   []byte
	served bool
	failed string
}

// Write takes the line in any split and ignores all that follows it, so that a child never waits for its reader.
func (s *stateReader) Write(p []byte) (int, error) {
	if s.served || s.failed != "" || len(s.line)+len(p) > maxLogLine {
		return len(p), nil
	}
	s.line = append(s.line, p...)
	line, _, whole := bytes.Cut(s.line, []byte("\n"))
	if !whole {
		return len(p), nil
	}

	var st childState
	if err := json.Unmarshal(line, &st); err != nil || st.Ready == (st.Failed != "") {
		s.failed = "child does not speak as this version does; check Args"
		return len(p), nil
	}

	if s.failed, s.served = st.Failed, st.Ready; s.served {
		s.ready()
	}
	return len(p), nil
}
