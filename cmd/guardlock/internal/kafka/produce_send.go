package kafka

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	roundRecords = 10_000
	roundBytes   = 8 << 20
	lineGrace    = 50 * time.Millisecond // for the next line of a round that has begun
	maxLine      = 16 << 20
)

// sender sends lines in rounds: records are buffered, then flushed, then every
// answer is looked at before the next line. kgo fails everything that it holds
// for a partition when one batch is refused; in a round, what failed first is
// the refused batch, and the rest was not sent.
type sender struct {
	client       *kgo.Client
	tap          *Tap
	topic        string
	headers      []kgo.RecordHeader
	separator    string
	partition    int32
	stopOnReject bool
	report       *produceReport
}

// numbered is a record and the number of the line that it came from.
type numbered struct {
	line   int
	record *kgo.Record
	err    error
}

var errStopped = errors.New("stopped after a refused record")

// send sends every line, then says how it went. The report is written even
// when the input breaks off: what is stored is stored.
func (s *sender) send(ctx context.Context, in io.Reader) error {
	err := s.sendAll(ctx, in)
	if errors.Is(err, errStopped) {
		err = nil
	}
	return errors.Join(err, s.report.finish("stored"))
}

// sendTransaction commits if every record was taken, and aborts otherwise.
func (s *sender) sendTransaction(ctx context.Context, in io.Reader) error {
	if err := s.client.BeginTransaction(); err != nil {
		return fmt.Errorf("beginning the transaction: %w", err)
	}
	err := s.sendAll(ctx, in)
	if err == nil && s.report.failed() == 0 {
		if err := s.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return fmt.Errorf("committing the transaction: %w", err)
		}
		return s.report.finish("committed")
	}

	// The abort must reach the coordinator although the user broke off.
	abort := s.client.EndTransaction(context.WithoutCancel(ctx), kgo.TryAbort)
	if abort != nil {
		abort = fmt.Errorf("aborting the transaction: %w", abort)
	}
	if errors.Is(err, errStopped) {
		err = nil
	}

	return errors.Join(err, abort, s.report.finish("aborted"))
}

func (s *sender) sendAll(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := readLines(ctx, in)
	for {
		round, more, err := s.gather(ctx, lines)
		for len(round) > 0 {
			again, err := s.round(ctx, round)
			if err != nil {
				return err
			}
			round = again
		}

		if err != nil || !more {
			return err
		}
	}
}

// gather takes the lines that are there, and at least one: a person who types
// is answered line by line, a file is sent in large batches. A moment's timeout
// keeps a program's output together.
func (s *sender) gather(ctx context.Context, lines <-chan inputLine) (round []numbered, more bool, err error) {
	for size := 0; len(round) < roundRecords && size < roundBytes; {
		line, ok, waited := nextLine(ctx, lines, len(round) == 0)
		switch {
		case !ok && waited:
			return round, false, ctx.Err()
		case !ok:
			return round, true, nil
		case line.err != nil:
			return round, false, line.err
		}

		size += len(line.text)
		round = append(round, numbered{line: line.number, record: s.record(line.text)})
	}
	return round, true, nil
}

// nextLine waits for a line if asked to, and else takes one only if it is
// there or follows at once. The last result tells that there will be no more.
func nextLine(ctx context.Context, lines <-chan inputLine, wait bool) (line inputLine, ok, ended bool) {
	if !wait {
		select {
		case line, ok = <-lines:
			return line, ok, !ok
		default:
		}
		select {
		case line, ok = <-lines:
			return line, ok, !ok
		case <-time.After(lineGrace):
			return inputLine{}, false, false
		}
	}
	select {
	case line, ok = <-lines:
		return line, ok, !ok
	case <-ctx.Done():
		return inputLine{}, false, true
	}
}

func (s *sender) record(text []byte) *kgo.Record {
	r := &kgo.Record{
		Topic:     s.topic,
		Value:     text,
		Headers:   s.headers,
		Partition: s.partition,
	}

	if s.separator == "" {
		return r
	}
	if key, value, found := bytes.Cut(text, []byte(s.separator)); found {
		r.Key = key
		r.Value = value
	}

	return r
}

// round sends records and returns those that must go again: they failed only
// because they shared a batch or a partition with a refused one.
func (s *sender) round(ctx context.Context, round []numbered) ([]numbered, error) {
	for i := range round {
		n := &round[i]
		s.client.Produce(ctx, n.record, func(_ *kgo.Record, err error) { n.err = err })
	}

	if err := s.client.Flush(ctx); err != nil {
		return nil, err
	}
	var again []numbered
	position := make(map[int32]int) // failures seen of each partition
	for _, n := range round {
		if n.err == nil {
			s.report.stored(n)
			continue
		}

		i := position[n.record.Partition]
		position[n.record.Partition]++
		switch notAtFault := s.notAtFault(n, i); {
		case notAtFault && !s.stopOnReject:
			again = append(again, numbered{line: n.line, record: s.resend(n.record)})
		case notAtFault:
			s.report.held(n)
		default:
			s.report.refuse(n, s.reported(n, i))
		}
	}

	if s.report.failed() > 0 && s.stopOnReject {
		return nil, errStopped
	}
	return again, nil
}

// resend is a fresh copy of a record, since a record belongs to the client once
// it was produced.
func (s *sender) resend(r *kgo.Record) *kgo.Record {
	return &kgo.Record{
		Topic:     r.Topic,
		Key:       r.Key,
		Value:     r.Value,
		Headers:   r.Headers,
		Partition: s.partition,
	}
}

// notAtFault tells whether the i-th failure of a partition is of a record that
// nobody objected to. A batch of which no record is named failed as a whole,
// and sending it again would fail again.
func (s *sender) notAtFault(n numbered, i int) bool {
	f, ok := s.tap.Failure(n.record.Partition)
	if !ok || f.records == 0 || !isRefusal(n.err) {
		return false
	}
	if i >= f.records {
		return true
	}

	_, named := f.Named[int32(i)]
	return len(f.Named) > 0 && !named
}

// reported is what the server told about the i-th failure of a partition, as
// the tap has it.
func (s *sender) reported(n numbered, i int) Reported {
	f, ok := s.tap.Failure(n.record.Partition)
	if !ok || i >= f.records {
		return Reported{}
	}
	return NewReported(f.Message, f.Named[int32(i)], i)
}

// isRefusal is true of the errors by which a gateway or a broker says no to a
// record; the others say that something did not work.
func isRefusal(err error) bool {
	return errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.PolicyViolation) ||
		errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}

// inputLine is a line of the input without its end, or why there is none.
type inputLine struct {
	number int
	text   []byte
	err    error
}

// readLines reads in a goroutine of its own, since a read of a terminal cannot
// be broken off: it ends with the input, with ctx at the next line, or with
// the process.
func readLines(ctx context.Context, in io.Reader) <-chan inputLine {
	lines := make(chan inputLine, 256)
	deliver := func(l inputLine) bool {
		select {
		case lines <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}

	go func() {
		defer close(lines)
		scan := bufio.NewScanner(in)
		scan.Buffer(nil, maxLine)

		number := 0
		for scan.Scan() {
			number++
			if !deliver(inputLine{number: number, text: bytes.Clone(scan.Bytes())}) {
				return
			}
		}

		if err := scan.Err(); err != nil {
			deliver(inputLine{err: fmt.Errorf("reading line %d: %w", number+1, err)})
		}
	}()

	return lines
}
