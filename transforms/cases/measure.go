package cases

import (
	"context"
	_ "embed" // for the module that copies
	"slices"
	"time"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

//go:embed copy.wasm
var copying []byte

// Copying is a module that passes every record: what the sandbox itself costs.
func Copying() []byte { return slices.Clone(copying) }

// Figures are what a module costs on one batch, given again and again.
type Figures struct {
	PerRecord time.Duration // the median of some rounds
	PerBatch  time.Duration
	Batches   int
	Outcomes  map[string]int      // of the records of one batch
	Counted   []transforms.Metric // in that batch
	Fuel      uint64              // what a record is charged
}

// round is how long a guest is measured before it is the other's turn: what else
// the machine does then meets both alike.
const round = 50 * time.Millisecond

// Clock is a time that only grows: that on the wall, or that of a processor.
type Clock func() time.Duration

// Measure gives guests the same batch in turns, for about as long as is said each.
// A guest that fails ends it.
func Measure(ctx context.Context, clock Clock, records []Record, long time.Duration, guests ...*Guest) ([]Figures, error) {
	timed := make([][]time.Duration, len(guests))
	figures := make([]Figures, len(guests))
	for n, g := range guests {
		g.load(records)
		before := g.sandbox.Metrics()
		if _, err := g.repeat(ctx, clock, 1); err != nil { // so that memory has grown
			return nil, err
		}
		figures[n].Outcomes = g.outcomes()
		figures[n].Counted = since(before, g.sandbox.Metrics())
	}

	for turn := 0; turn < max(int(long/round), 3); turn++ {
		for n, g := range guests {
			burnt := g.Fuel()
			batches, took, err := g.during(ctx, clock, round)
			if err != nil {
				return nil, err
			}
			timed[n] = append(timed[n], took/time.Duration(batches))
			figures[n].Batches += batches
			figures[n].Fuel += g.Fuel() - burnt // of all for now
		}
	}

	for n := range guests {
		slices.Sort(timed[n])
		figures[n].PerBatch = timed[n][len(timed[n])/2]
		figures[n].PerRecord = figures[n].PerBatch / time.Duration(len(records))
		figures[n].Fuel /= uint64(figures[n].Batches * len(records))
	}

	return figures, nil
}

// since is what metrics counted from one reading to the next.
func since(before, after []transforms.Metric) []transforms.Metric {
	counted := slices.Clone(after)
	for n := range counted {
		for _, b := range before {
			if b.Module == counted[n].Module && b.Name == counted[n].Name {
				counted[n].Value -= b.Value
			}
		}
	}

	return counted
}

// loaded is a batch as it was before a module saw it.
type loaded struct {
	data    []byte
	records []record.Record
	at      transforms.Origin
}

func (g *Guest) load(records []Record) {
	fill(&g.batch, records)
	g.loaded = loaded{
		data:    slices.Clone(g.batch.Data),
		records: slices.Clone(g.batch.Records),
		at:      transforms.Origin{Topic: records[0].Topic, Partition: records[0].Partition},
	}
}

// during gives the guest the batch for a while, at least once.
func (g *Guest) during(ctx context.Context, clock Clock, long time.Duration) (batches int, took time.Duration, err error) {
	for took < long {
		more := max(batches, 1) // the clock is asked seldom: it costs as much as a small batch
		t, err := g.repeat(ctx, clock, more)
		if err != nil {
			return 0, 0, err
		}
		batches += more
		took += t
	}

	return batches, took, nil
}

func (g *Guest) repeat(ctx context.Context, clock Clock, times int) (time.Duration, error) {
	b := &g.batch
	began := clock()
	for range times {
		copy(b.Data, g.loaded.data)
		copy(b.Records, g.loaded.records)
		b.Out = b.Out[:0]
		b.Changed = false
		if err := g.chain.Run(ctx, b, g.loaded.at); err != nil {
			return 0, err
		}
	}

	return clock() - began, nil
}

func (g *Guest) outcomes() map[string]int {
	counts := map[string]int{}
	for _, r := range g.batch.Records {
		counts[r.Verdict.String()]++
	}

	return counts
}
