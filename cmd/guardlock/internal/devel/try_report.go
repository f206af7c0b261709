package devel

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/transforms/cases"
)

// tryReport is what `module try` prints. Only its samples hold bytes of records.
type tryReport struct {
	Topic       string      `json:"topic"`
	Partitions  int         `json:"partitions"`
	Modules     []string    `json:"modules"`
	Records     int         `json:"records"`
	Bytes       int         `json:"bytes"` // of keys and values
	Interrupted bool        `json:"interrupted,omitempty"`
	Results     []*tryRow   `json:"results"`
	Differences differences `json:"differences"`
	Times       tryTimes    `json:"times"`

	show int
}

// tryRow is the records that came to the same end.
type tryRow struct {
	tryResult
	Records int         `json:"records"`
	First   place       `json:"first"` // where one of them lies
	Samples []trySample `json:"samples,omitempty"`
}

// tryResult is what became of a record, in words of a closed list each.
type tryResult struct {
	Outcome string `json:"outcome"`
	Module  string `json:"module,omitempty"` // which decided
	Reason  string `json:"reason,omitempty"`
	Route   string `json:"route,omitempty"`
	Failure string `json:"failure,omitempty"`
}

// place is where a record lies.
type place struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

func (p place) String() string { return fmt.Sprintf("%d@%d", p.Partition, p.Offset) }

// trySample is one record, before and after.
type trySample struct {
	place
	resultLine

	record cases.Record
	got    cases.Result
}

// differences counts the records that would be stored other than they are.
type differences struct {
	Records int `json:"records"` // of which something differs
	Keys    int `json:"keys"`
	Values  int `json:"values"`
	Headers int `json:"headers"`
	Missing int `json:"not_stored"` // in the topic: rejected, dropped, routed, failed
}

// tryTimes are the modules' times, and not those of reading.
type tryTimes struct {
	Modules time.Duration `json:"ns"`
	Longest time.Duration `json:"longest_ns"`
	Memory  uint64        `json:"memory_bytes"`
}

// tried is one record and what became of it.
type tried struct {
	at     *kgo.Record
	record cases.Record
	got    cases.Result
}

func newTryReport(topic string, show int) *tryReport {
	return &tryReport{Topic: topic, Modules: []string{}, Results: []*tryRow{}, show: show}
}

func (r *tryReport) add(t tried) {
	r.Records++
	r.Bytes += len(t.record.Key) + len(t.record.Value)
	r.Times.Modules += t.got.Took
	r.Times.Longest = max(r.Times.Longest, t.got.Took)
	r.Times.Memory = max(r.Times.Memory, t.got.MemoryAt)
	r.Differences.add(t)

	row := r.row(t)
	row.Records++
	if len(row.Samples) < r.show && t.got.Outcome != cases.Passed {
		row.Samples = append(row.Samples, trySample{
			place:      place{t.at.Partition, t.at.Offset},
			resultLine: newResultLine(r.Records, t.record, t.got),
			record:     t.record,
			got:        t.got.Kept(),
		})
	}
}

// row is the row of a record's end, a new one if it is the first.
func (r *tryReport) row(t tried) *tryRow {
	result := tryResult{
		Outcome: t.got.Outcome,
		Reason:  t.got.Reason,
		Route:   t.got.Route,
		Failure: t.got.Failure,
	}

	if t.got.Outcome != cases.Passed {
		result.Module = r.Modules[t.got.Module]
	}

	n := slices.IndexFunc(r.Results, func(row *tryRow) bool { return row.tryResult == result })
	if n < 0 {
		n = len(r.Results)
		r.Results = append(r.Results, &tryRow{tryResult: result, First: place{t.at.Partition, t.at.Offset}})
	}

	return r.Results[n]
}

func (d *differences) add(t tried) {
	if !t.got.Stored() || t.got.Outcome == cases.Routed {
		d.Missing++
		return
	}

	count := func(differs bool, n *int) {
		if differs {
			*n++
		}
	}

	key := differ(t.record.Key, t.got.Key)
	value := differ(t.record.Value, t.got.Value)
	headers := !slices.EqualFunc(t.record.Headers, t.got.Headers, func(a, b cases.Header) bool {
		return a.Key == b.Key && !differ(a.Value, b.Value)
	})

	count(key, &d.Keys)
	count(value, &d.Values)
	count(headers, &d.Headers)
	count(key || value || headers, &d.Records)
}

// differ reports whether two keys or values are not the same; null is not empty.
func differ(a, b []byte) bool { return !bytes.Equal(a, b) || (a == nil) != (b == nil) }

func (r *tryReport) write(p resultPrinter) error {
	slices.SortStableFunc(r.Results, func(a, b *tryRow) int { return b.Records - a.Records })
	names := strings.Join(r.Modules, ", ")
	fmt.Fprintf(p.w, "%s of topic %s (%s) through %s\n", cli.Count(r.Records, "record"), cli.Printable(r.Topic),
		cli.Count(r.Partitions, "partition"), cli.Printable(names))

	if r.Records == 0 {
		return nil
	}

	fmt.Fprintln(p.w)
	t := cli.NewTable("outcome", "reason", "records", "share", "first", "module")
	for _, row := range r.Results {
		t.Add(row.Outcome, row.what(), humanize.Comma(int64(row.Records)), fmt.Sprintf("%.1f %%", 100*float64(row.Records)/float64(r.Records)), row.First, row.Module)
	}

	if err := t.Write(p.w); err != nil {
		return err
	}

	d := r.Differences
	fmt.Fprintf(p.w, "\n%s would be stored other than they are (%d keys, %d values, %d headers); %s not in this topic\n",
		humanize.Comma(int64(d.Records)), d.Keys, d.Values, d.Headers, humanize.Comma(int64(d.Missing)))
	fmt.Fprintf(p.w, "%s in the modules, %s for a record, %s at most; memory %s\n", r.Times.Modules.Round(time.Microsecond),
		(r.Times.Modules / time.Duration(r.Records)).Round(time.Microsecond/10), r.Times.Longest.Round(time.Microsecond/10), humanize.IBytes(r.Times.Memory))

	fmt.Fprintln(p.w, "nothing was written")
	r.writeSamples(p)

	return nil
}

// what says why, or where to, or how it failed.
func (t tryResult) what() string {
	switch {
	case t.Failure != "":
		return t.Failure
	case t.Route != "":
		return t.Reason + " to " + t.Route
	}
	return t.Reason
}

func (r *tryReport) writeSamples(p resultPrinter) {
	for _, row := range r.Results {
		for _, s := range row.Samples {
			fmt.Fprintln(p.w)
			p.write(s.place.String(), s.record, s.got)
		}
	}
}
