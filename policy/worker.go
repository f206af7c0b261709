package policy

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/guardlock/guardlock/internal/child"
	"github.com/guardlock/guardlock/internal/problem"
)

// A policy that is not the built-in one is compiled, evaluated and tested in a
// child of its own: the language cannot be bounded from within. OPA looks at the
// clock between expressions only, and one expression is enough (bits.lsh(1,
// 400000000000), a tower of products or of replace, sprintf with a width). The
// child is this program again, without environment. The kernel bounds its memory,
// it watches its own processor time, and its end is an error of the decision.
//
// It is started when it is first needed, and ended when nobody has asked for
// workerIdle, so that an Engine needs no closing. Messages are JSON, each after
// its length in four bytes, big endian.

// WorkerCommand is the hidden command of this program that calls RunWorker,
// with which a gateway starts itself.
const WorkerCommand = "__policy"

const (
	// workerMemory is what a worker may take of memory that can be written to. A
	// policy of the largest size takes a third of it.
	workerMemory = 1 << 30
	// compileTime and testTime are what compiling and testing may take of
	// processor time.
	compileTime = 10 * time.Second
	testTime    = time.Minute
	// waiting is how much longer than its processor time is waited for a worker: on
	// a busy machine it gets a part of the processors.
	waiting    = 10
	workerIdle = 5 * time.Second

	maxRequestBytes = 128 << 20
	maxReplyBytes   = 16 << 20
)

// The exit codes of a worker that ends itself, by which its parent tells the
// two causes apart.
const (
	exitTime   = 8
	exitMemory = 9
)

// order is what a worker is asked. The first order of a conversation names the
// policy that later questions are about.
type order struct {
	Source *source `json:",omitempty"` // compile this, for questions
	Check  *source `json:",omitempty"` // find its problems, tests included
	Test   *source `json:",omitempty"` // run its tests

	Question *question     `json:",omitempty"`
	CPU      time.Duration // processor time that it may take
}

// reply is what a worker answers to an order. Which fields it has depends on
// what was asked.
type reply struct {
	Policy   described    // that was compiled
	Problems problem.List // why it was not
	Answer   answer
	Report   Report
	Failed   string // why there is no answer
}

func (r reply) err() error {
	switch {
	case len(r.Problems) != 0:
		return r.Problems
	case r.Failed != "":
		return errors.New(r.Failed)
	}
	return nil
}

// worker evaluates a policy in a child, which it starts when it is needed. It
// is safe for concurrent use: questions take turns.
type worker struct {
	args []string
	src  *source
	cpu  time.Duration // of one evaluation

	turn chan struct{} // holds one token: one question at a time

	// Both are guarded by turn.
	child *conversation
	asked int
}

func newWorker(args []string, src *source, cpu time.Duration) *worker {
	w := &worker{args: args, src: src, cpu: cpu, turn: make(chan struct{}, 1)}
	w.turn <- struct{}{}
	return w
}

// compile starts a child on the policy, and returns what is known of it. The
// child stays for the first questions.
func (w *worker) compile(ctx context.Context) (described, error) {
	if err := w.take(ctx); err != nil {
		return described{}, err
	}
	defer w.release()

	return w.start(ctx)
}

// evaluate implements evaluator. It starts a child if there is none, and gives
// up on one that failed: the next question gets a new one.
func (w *worker) evaluate(ctx context.Context, q question) (answer, error) {
	if err := w.take(ctx); err != nil {
		return answer{}, err
	}
	defer w.release()

	if w.child == nil {
		if _, err := w.start(ctx); err != nil {
			return answer{}, err
		}
	}

	r, err := w.child.ask(ctx, order{Question: &q, CPU: w.cpu})
	if err != nil {
		w.child = nil
		return answer{}, err
	}

	return r.Answer, r.err()
}

// start starts a child and has it compile the policy, within a time of its own.
func (w *worker) start(ctx context.Context) (described, error) {
	c, err := startChild(w.args)
	if err != nil {
		return described{}, err
	}

	r, err := c.ask(ctx, order{Source: w.src, CPU: compileTime})
	if err != nil {
		return described{}, err
	}

	if err := r.err(); err != nil {
		c.end()
		return described{}, err
	}

	w.child = c
	return r.Policy, nil
}

func (w *worker) take(ctx context.Context) error {
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// release lets the next question in, and ends the child if there is none for a
// while.
func (w *worker) release() {
	w.asked++
	seen := w.asked
	time.AfterFunc(workerIdle, func() { w.rest(seen) })
	w.turn <- struct{}{}
}

func (w *worker) rest(seen int) {
	<-w.turn
	defer func() { w.turn <- struct{}{} }()
	if w.asked == seen && w.child != nil {
		w.child.end()
		w.child = nil
	}
}

// once asks one thing of a child of its own, which ends with the answer.
func once(ctx context.Context, args []string, q order) (reply, error) {
	c, err := startChild(args)
	if err != nil {
		return reply{}, err
	}

	r, err := c.ask(ctx, q)
	if err != nil {
		return reply{}, err
	}

	c.end()
	return r, r.err()
}

// conversation is a running worker and the pipes to it. One goroutine uses it
// at a time.
type conversation struct {
	process *child.Process
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	said    *child.Words // on standard error
}

// startChild starts a child of this program with pipes to it. ErrUnavailable,
// wrapped, says that the machine and not the policy is at fault.
func startChild(args []string) (*conversation, error) {
	c := &conversation{said: &child.Words{}}
	cmd, err := child.Command(context.Background(), args...) // ask and end kill it
	if err == nil {
		cmd.Stderr = c.said
		c.stdin, err = cmd.StdinPipe()
	}

	if err == nil {
		c.stdout, err = cmd.StdoutPipe()
	}
	if err == nil {
		c.process, err = child.Start(cmd)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}

	return c, nil
}

// ask sends a request and waits for the reply. On an error, which may be the
// end of ctx, the child is gone.
func (c *conversation) ask(ctx context.Context, q order) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, q.CPU*waiting+time.Second)
	defer cancel()
	stop := context.AfterFunc(ctx, c.process.Kill)

	var r reply
	err := writeMessage(c.stdin, q, maxRequestBytes)
	if err == nil {
		err = readMessage(c.stdout, &r, maxReplyBytes)
	}
	if err == nil && stop() {
		return r, nil
	}

	c.process.Kill()
	io.Copy(io.Discard, c.stdout)
	c.process.Wait()
	return reply{}, c.verdict(ctx, err)
}

// verdict says what the end of a child says of its policy: that it took too
// much, that it ended it, or nothing.
func (c *conversation) verdict(ctx context.Context, err error) error {
	switch code := c.process.ProcessState.ExitCode(); {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case code == exitTime:
		return ErrTimeout
	case code == exitMemory || c.said.OutOfMemory():
		return ErrMemory
	case errors.Is(err, errTooLong):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case code == -1 && c.said.String() == "": // by a signal, and not for anything that it did
		return fmt.Errorf("%w: its child was ended: %s", ErrUnavailable, c.process.ProcessState)
	}

	return fmt.Errorf("%w: %s: %s", ErrFailed, c.process.ProcessState, c.said.First())
}

// end lets a child go that is asked nothing any more, and waits until it is
// gone.
func (c *conversation) end() {
	c.stdin.Close()
	c.process.Kill()
	c.process.Wait()
}

var errTooLong = errors.New("message too long")

func writeMessage(w io.Writer, v any, limit int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding message: %w", err)
	}
	if len(body) > limit {
		return fmt.Errorf("message of %d bytes, at most %d: %w", len(body), limit, errTooLong)
	}

	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// readMessage reads a message of at most limit bytes into v. io.EOF is an end
// between two messages, and no fault.
func readMessage(r io.Reader, v any, limit int) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}

	n := binary.BigEndian.Uint32(size[:])
	if uint64(n) > uint64(limit) {
		return fmt.Errorf("message of %d bytes, at most %d: %w", n, limit, errTooLong)
	}

	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(n)); err != nil {
		return fmt.Errorf("reading message: %w", err)
	}

	dec := json.NewDecoder(&body)
	dec.UseNumber() // numbers in data are the policy's, of any size
	return dec.Decode(v)
}
