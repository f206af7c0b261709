package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/internal/child"
)

// RunWorker is the whole of the hidden command that a policy is evaluated with. It
// owns the process: it sets its limits, and ends it when a policy passes them.
// It returns when stdin ends.
func RunWorker(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	if err := (child.Bounds{Written: workerMemory}).Apply(); err != nil {
		return err
	}

	requests := make(chan order)
	go func() { // ends with the process: a policy may be running when the gateway goes
		defer os.Exit(0)
		for {
			var q order
			if err := readMessage(stdin, &q, maxRequestBytes); err != nil {
				return
			}
			requests <- q
		}
	}()

	s := &session{}
	for q := range requests {
		if err := writeMessage(stdout, s.answer(ctx, q), maxReplyBytes); err != nil {
			return fmt.Errorf("replying: %w", err)
		}
	}

	return nil
}

// session is what a worker knows: the policy that its first order gave it,
// compiled.
type session struct{ program *program }

// answer does what is asked within its processor time. What is wrong with the
// policy is in the reply. The process ends when its time is used up.
func (s *session) answer(ctx context.Context, q order) reply {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go watchProcess(done, cancel, q.CPU)

	r, err := s.do(ctx, q)
	if errors.Is(err, context.Canceled) {
		os.Exit(exitTime)
	}
	if err != nil && !errors.As(err, &r.Problems) {
		r.Failed = err.Error()
	}

	return r
}

// do does what an order asks, which is one thing. An order that is not known is
// an error: parent and child are then of two versions.
func (s *session) do(ctx context.Context, q order) (r reply, err error) {
	switch {
	case q.Source != nil:
		if s.program, err = newProgram(ctx, q.Source); err != nil {
			return r, err
		}
		r.Policy = s.program.described()

	case q.Check != nil:
		r.Problems = q.Check.check()

	case q.Test != nil:
		r.Report, err = runTests(ctx, q.Test)

	case q.Question != nil && s.program != nil:
		r.Answer, err = s.program.evaluate(ctx, *q.Question)

	default:
		err = errors.New("not a request of this version")
	}

	return r, err
}

// watchProcess cancels when the process has used its processor time, and ends it
// when that is of no use, or when its memory is used up: where the kernel does
// not refuse memory, and where the collector only turns in circles.
func watchProcess(done <-chan struct{}, cancel func(), cpu time.Duration) {
	began := processorTime()
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()

	for {
		select {
		case <-tick.C:
		case <-done:
			return
		}

		metrics.Read(heap)
		if heap[0].Value.Uint64() > workerMemory/4*3 {
			os.Exit(exitMemory)
		}

		used := processorTime() - began
		if used > cpu {
			cancel()
		}
		if used > cpu+cpu/2+100*time.Millisecond {
			os.Exit(exitTime)
		}
	}
}

// processorTime is what this process has used of the processors, its own and
// the kernel's for it.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
