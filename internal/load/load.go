// Package load is the load of benchmarks: Produce requests over some connections, and
// a broker that takes every batch and stores nothing. What is measured between the
// two is a gateway.
//
// Trust: none is needed; it speaks to itself, over loopback.
package load

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/gateway/wire"
)

// Loader sends frames over some connections, a few in flight on each.
type Loader struct {
	// Refused counts batches that were refused. Without it they are errors.
	Refused *atomic.Int64

	conns    []net.Conn
	inFlight int
}

// Dial connects a Loader.
func Dial(addr string, conns, inFlight int) (*Loader, error) {
	l := &Loader{inFlight: inFlight}
	for range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("connecting load: %w", err)
		}
		l.conns = append(l.conns, c)
	}

	return l, nil
}

// Close closes the connections, which ends whatever goes on over them.
func (l *Loader) Close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// Send sends n frames in all and returns when every one is acknowledged.
func (l *Loader) Send(f Frame, n int) error {
	var sent atomic.Int64
	return l.all([]Frame{f}, func(int) bool { return sent.Add(1) <= int64(n) }, func(Frame) {})
}

// Run sends frames in turns for a time, and returns when every one is acknowledged.
// It tells of each, from several goroutines.
func (l *Loader) Run(ctx context.Context, frames []Frame, lasts time.Duration, acknowledged func(Frame)) error {
	defer context.AfterFunc(ctx, l.Close)()
	begun := time.Now()
	err := l.all(frames, func(int) bool { return time.Since(begun) < lasts }, acknowledged)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// all sends over every connection as long as more says so.
func (l *Loader) all(frames []Frame, more func(i int) bool, acknowledged func(Frame)) error {
	errs := make(chan error, len(l.conns))
	for _, c := range l.conns {
		go func() { errs <- l.drive(c, frames, more, acknowledged) }()
	}

	var first error
	for range l.conns {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}

	return first
}

// drive keeps inFlight requests outstanding on one connection.
func (l *Loader) drive(c net.Conn, frames []Frame, more func(i int) bool, acknowledged func(Frame)) error {
	own := copied(frames)
	pending := make(chan Frame, l.inFlight-1) // one more is waited for below
	sent := make(chan error, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		defer close(pending)
		for i := 0; more(i); i++ {
			f := own[i%len(own)]
			select {
			case pending <- f:
			case <-stop:
				return
			}

			number(f, i)
			if _, err := c.Write(f.Bytes); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()

	r := bufio.NewReader(c)
	i := 0
	for f := range pending {
		if err := l.readAnswer(r, uint32(i)); err != nil {
			return err
		}
		acknowledged(f)
		i++
	}

	return <-sent
}

// copied are frames whose numbers one connection may set.
func copied(frames []Frame) []Frame {
	own := make([]Frame, len(frames))
	for i, f := range frames {
		own[i] = f
		own[i].Bytes = append([]byte(nil), f.Bytes...)
	}
	return own
}

// number sets what the answer to a frame is known by.
func number(f Frame, n int) { binary.BigEndian.PutUint32(f.Bytes[8:], uint32(n)) }

// readAnswer reads one Produce v9 answer and checks that it is a success, or counts
// it where refusals are counted.
func (l *Loader) readAnswer(r *bufio.Reader, correlation uint32) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}

	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	if got := binary.BigEndian.Uint32(body); got != correlation {
		return fmt.Errorf("answer %d where %d is due", got, correlation)
	}

	return wire.ProduceResults(9, body, func(a *wire.ProduceAnswer) error {
		switch {
		case a.ErrorCode == 0:
		case l.Refused != nil:
			l.Refused.Add(1)
		default:
			return fmt.Errorf("a batch was refused with code %d", a.ErrorCode)
		}
		return nil
	})
}

// ClosedLoop measures one request at a time on one connection.
func (l *Loader) ClosedLoop(f Frame, n int) ([]time.Duration, error) {
	c := l.conns[0]
	own := copied([]Frame{f})[0]
	r := bufio.NewReader(c)
	took := make([]time.Duration, 0, n)
	for i := range n {
		number(own, i)
		start := time.Now()
		if _, err := c.Write(own.Bytes); err != nil {
			return nil, err
		}
		if err := l.readAnswer(r, uint32(i)); err != nil {
			return nil, err
		}

		took = append(took, time.Since(start))
	}

	return took, nil
}
