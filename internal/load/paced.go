package load

import (
	"bufio"
	"context"
	"net"
	"time"
)

// Paced sends so many frames a second for a time, and counts how long each took from
// the moment at which it was planned to its answer. A frame leaves at that moment
// whatever became of those before it, or as soon as the connection takes it: a
// gateway that stalls has the wait of every frame behind the stall counted, which a
// load that waits for its answers would leave out. The connections take turns.
func (l *Loader) Paced(ctx context.Context, f Frame, perSecond float64, lasts time.Duration) (*Histogram, error) {
	defer context.AfterFunc(ctx, l.Close)()
	gap := time.Duration(float64(len(l.conns)) / perSecond * float64(time.Second))
	frames := int(lasts / gap)
	took := make([]Histogram, len(l.conns))
	errs := make(chan error, len(l.conns))
	begin := time.Now().Add(gap)
	for i, c := range l.conns {
		plan := schedule{
			first:  begin.Add(gap * time.Duration(i) / time.Duration(len(l.conns))),
			gap:    gap,
			frames: frames,
		}
		go func() { errs <- l.pace(c, f, plan, &took[i]) }()
	}

	var first error
	for range l.conns {
		if err := <-errs; err != nil && first == nil {
			first = err
			l.Close() // the other connections need not go on
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if first != nil {
		return nil, first
	}

	all := &Histogram{}
	for i := range took {
		all.Merge(&took[i])
	}
	return all, nil
}

// schedule is when the frames of one connection are due.
type schedule struct {
	first  time.Time
	gap    time.Duration
	frames int
}

// due is when frame i is to be sent.
func (s schedule) due(i int) time.Time { return s.first.Add(s.gap * time.Duration(i)) }

// pace sends frames as they are planned on one connection, and reads their answers.
func (l *Loader) pace(c net.Conn, f Frame, plan schedule, took *Histogram) error {
	sent := make(chan error, 1)
	go func() { sent <- sendAsPlanned(c, f, plan) }()
	r := bufio.NewReader(c)
	for i := range plan.frames {
		if err := l.readAnswer(r, uint32(i)); err != nil {
			c.Close() // for the sender, which may wait for room
			<-sent
			return err
		}
		took.Add(time.Since(plan.due(i)))
	}

	return <-sent
}

func sendAsPlanned(c net.Conn, f Frame, plan schedule) error {
	own := copied([]Frame{f})[0]
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range plan.frames {
		if early := time.Until(plan.due(i)); early > 0 {
			timer.Reset(early)
			<-timer.C
		}

		number(own, i)
		if _, err := c.Write(own.Bytes); err != nil {
			return err
		}
	}

	return nil
}
