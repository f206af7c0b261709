// Package export writes decisions to files that other programs read: CSV, JSON lines,
// Parquet and OCSF events, into a directory or an S3 bucket. A row is one run of
// records of a batch that fared alike.
//
// The name of a file says which entries of which log it holds, and a file is there
// whole or not at all. So an export that was killed goes on behind the last file that
// is there, and nothing is lost or written twice.
package export

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/guardlock/guardlock/audit/query"
)

// Bounds of one file.
const (
	maxRows  = 100_000
	maxBytes = 64 << 20
)

// DefaultSettle is how long a batch is held back whose answer is not known.
const DefaultSettle = time.Minute

// followInterval is how often an export that follows looks for what is new.
const followInterval = time.Second

// Exporter writes what logs hold to where files go.
type Exporter struct {
	Logs   query.Logs
	Format Format
	Sink   Sink
	// Settle is how long a forwarded batch is held back, and all behind it, while its
	// answer is not known. Then it goes out as it is: unknown.
	Settle time.Duration
	// Wrote is told of every file, before the state knows of it; it may be nil.
	Wrote func(File)

	maxRows int // in tests
}

// File is one that was written.
type File struct {
	Name string
	Rows int
}

// Result is what an export came to.
type Result struct {
	Files int
	Rows  int64
	Held  int // logs whose last batches wait for an answer
}

// Run exports what is durable now and was not exported yet.
func (e *Exporter) Run(ctx context.Context) (Result, error) {
	var sum Result
	s, err := e.resume(ctx)
	if err != nil {
		return sum, err
	}
	return sum, e.all(ctx, s, &sum)
}

// Follow exports until its context ends, which is no error.
func (e *Exporter) Follow(ctx context.Context) (Result, error) {
	var sum Result
	s, err := e.resume(ctx)
	if err != nil {
		return sum, err
	}

	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	for {
		err := e.all(ctx, s, &sum)
		if ctx.Err() != nil {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}

		select {
		case <-ctx.Done():
			return sum, nil
		case <-tick.C:
		}
	}
}

func (e *Exporter) all(ctx context.Context, s *state, sum *Result) error {
	if err := e.Logs.Check(s.cursor()); err != nil {
		return fmt.Errorf("going on with the export: %w", err)
	}

	sum.Held = 0
	for _, log := range e.Logs {
		held, err := e.log(ctx, s, log, sum)
		if err != nil {
			return err
		}
		if held {
			sum.Held++
		}
	}

	return nil
}

// log exports one log up to its end, or to the first entry that is held back.
func (e *Exporter) log(ctx context.Context, s *state, log query.Log, sum *Result) (held bool, err error) {
	f := query.Filter{Finer: query.Finer{
		ByRun: true,
		After: query.After{Seq: s.Logs[nodeName(log.Node)], Index: math.MaxInt},
	}}
	p := part{exporter: e, state: s, log: log, sum: sum}
	settled := time.Now().Add(-e.Settle)

	for d, err := range log.Reader.Query(ctx, f) {
		if err != nil {
			return false, err
		}
		if d.ID.Seq != p.last {
			if err := p.writeIfFull(ctx); err != nil {
				return false, err
			}
			if awaits(&d) && d.Time.After(settled) && d.ID.Seq > p.begun() {
				return true, p.write(ctx)
			}
		}

		d.Gateway = log.Gateway
		p.last = d.ID.Seq
		p.rows = append(p.rows, d)
		p.size += rowBytes(&d)
	}

	return false, p.write(ctx)
}

// awaits reports whether the answer to a batch may still come.
func awaits(d *query.Decision) bool {
	return d.Batch != nil && d.Batch.State == query.StateUnknown
}

// part is what the next file of a log will hold.
type part struct {
	exporter *Exporter
	state    *state
	log      query.Log
	sum      *Result
	rows     []query.Decision
	size     int
	last     uint64 // entry whose rows are in it, all or the first of them
}

// begun is the last entry of the file that an export was writing when it was ended; 0:
// it was writing none.
func (p *part) begun() uint64 { return p.state.Writing[nodeName(p.log.Node)] }

// writeIfFull writes what cannot grow: it is large, or a file of that name was begun.
func (p *part) writeIfFull(ctx context.Context) error {
	limit := p.exporter.maxRows
	if limit == 0 {
		limit = maxRows
	}

	full := len(p.rows) >= limit || p.size >= maxBytes
	if begun := p.begun(); begun > 0 {
		full = p.last >= begun
	}
	if !full {
		return nil
	}
	return p.write(ctx)
}

// rowBytes is about what a row takes as a line: the admission of an entry is long.
func rowBytes(d *query.Decision) int {
	if d.Control != nil {
		return 4 << 10
	}
	return 1 << 10
}

// write says in the state which file is begun, puts it where it goes, whole, and says in
// the state that it is there.
func (p *part) write(ctx context.Context) error {
	if len(p.rows) == 0 {
		return nil
	}
	e := p.exporter
	content, err := e.Format.encode(p.rows)
	if err != nil {
		return fmt.Errorf("encoding as %s: %w", e.Format, err)
	}

	node := nodeName(p.log.Node)
	name := span{node, p.state.Logs[node] + 1, p.last}.name(e.Format)
	p.state.Writing[node] = p.last
	if err := p.state.save(ctx, e.Sink); err != nil {
		return err
	}
	if err := e.Sink.Put(ctx, name, content); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if e.Wrote != nil {
		e.Wrote(File{Name: name, Rows: len(p.rows)})
	}

	p.state.Logs[node] = p.last
	delete(p.state.Writing, node)
	p.sum.Files++
	p.sum.Rows += int64(len(p.rows))
	p.rows = p.rows[:0]
	p.size = 0
	return p.state.save(ctx, e.Sink)
}
