package pipeline

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/meter"
)

// Stage is a part of a batch's way that takes time.
type Stage uint8

// The stages, in their order.
const (
	StageQueue    Stage = iota // until a worker is free
	StageDecode                // decompressing and reading records
	StageWasm                  // modules
	StageEncode                // writing what modules changed
	StageCommit                // until the decision is durable, copies of routed records included
	StageUpstream              // until the broker has answered
	Stages
)

// StageNames are the stages' names, in their order.
var StageNames = [Stages]string{"queue", "decode", "wasm", "encode", "commit", "upstream"}

const (
	maxTopics  = 200 // that are counted by name; the others are one
	maxEnds    = 256 // outcomes with reasons of one binding
	otherNames = "other"
	verdicts   = int(audit.Routed) + 1
	maxCode    = 255 // of Kafka's errors; those above are one
)

// Counts are what became of a cluster's batches since the start, and how long
// each stage took. What is refused after its entry was written counts as refused.
// It is safe for concurrent use; counting allocates nothing once a binding and a
// topic are known.
type Counts struct {
	Stages [Stages]meter.Histogram
	errors [maxCode + 2]atomic.Uint64 // by Kafka's code, from -1

	mu       sync.Mutex // of those who add to the maps, which are replaced whole
	bindings atomic.Pointer[map[tallyKey]*tally]
	topics   atomic.Pointer[map[string]*topicTally]
}

type tallyKey struct {
	binding   string
	direction Direction
}

// tally counts the batches of one binding in one direction.
type tally struct {
	in, out atomic.Uint64 // bytes
	wasm    atomic.Int64  // nanoseconds
	records [verdicts]atomic.Uint64
	refused atomic.Uint64 // records
	forward [len(audit.OutcomeNames)]atomic.Uint64

	mu   sync.Mutex
	ends map[end]uint64 // batches that were refused
}

type end struct {
	outcome audit.Outcome
	reason  string
}

type topicTally struct{ records, bytes atomic.Uint64 }

// times is when a batch came to stages that begin in one call and end in another.
type times struct{ came, taken, decided, settled meter.Moment }

// counted is what of a decision is counted once it is known to hold.
type counted struct {
	tally   *tally
	outcome audit.Outcome
	records [verdicts]uint32
	in, out int
}

func newCounts() *Counts {
	c := &Counts{}
	c.bindings.Store(&map[tallyKey]*tally{})
	c.topics.Store(&map[string]*topicTally{otherNames: {}})
	return c
}

// of is the tally of a grant's binding. Bindings come from the configuration, so
// that there are not more than it ever had.
func (c *Counts) of(g *Grant, direction Direction) *tally {
	key := tallyKey{g.Binding, direction}
	if t := (*c.bindings.Load())[key]; t != nil {
		return t
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	known := *c.bindings.Load()
	if t := known[key]; t != nil {
		return t
	}

	fresh := maps.Clone(known)
	fresh[key] = &tally{ends: map[end]uint64{}}
	c.bindings.Store(&fresh)
	return fresh[key]
}

// topic is the tally of a topic. Clients make up names, so that one is known by
// itself only once the cluster has stored a batch of it, and not more than maxTopics
// are.
func (c *Counts) topic(name string, stored bool) *topicTally {
	known := *c.topics.Load()
	if t := known[name]; t != nil {
		return t
	}
	if !stored || len(known) > maxTopics {
		return known[otherNames]
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	known = *c.topics.Load()
	if t := known[name]; t != nil {
		return t
	}

	fresh := maps.Clone(known)
	fresh[name] = &topicTally{}
	c.topics.Store(&fresh)
	return fresh[name]
}

// count keeps what will be counted of the worker's decision. Its entry is used
// again for the next batch.
func (w *worker) count() {
	if meter.Off {
		return
	}
	n := &w.d.counted
	n.outcome = w.entry.Outcome
	n.in = w.entry.BytesIn
	n.out = w.entry.BytesOut

	if w.d.refused {
		n.records = [verdicts]uint32{audit.Rejected: uint32(w.entry.Records)}
		return
	}
	for _, run := range w.entry.Runs {
		n.records[w.entry.Rulings[run.Ruling].Verdict] += run.Count
	}
}

// forwarded counts a batch that goes on.
func (n *counted) forwarded() {
	if meter.Off {
		return
	}
	t := n.tally
	t.in.Add(uint64(n.in))
	t.out.Add(uint64(n.out))
	t.forward[n.outcome].Add(1)
	for verdict, records := range n.records {
		if records > 0 {
			t.records[verdict].Add(uint64(records))
		}
	}
}

// refuse counts a batch that does not.
func (n *counted) refuse(outcome audit.Outcome, reason string) {
	t := n.tally
	t.in.Add(uint64(n.in))
	for _, records := range n.records {
		t.refused.Add(uint64(records))
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	at := end{outcome, reason}
	if _, known := t.ends[at]; !known && len(t.ends) >= maxEnds {
		at.reason = otherNames
	}
	t.ends[at]++
}

// answered counts what the broker said to a batch, and how long that took.
func (c *Counts) answered(d *Decided, code int16) {
	now := meter.Mark()
	c.Stages[StageUpstream].ObserveOf(now.Since(d.times.settled), d.ticket.Seq(), now)
	if code != 0 {
		if code < -1 {
			code = maxCode // no error of Kafka's
		}
		c.errors[min(int(code), maxCode)+1].Add(1)
		return
	}

	if meter.Off {
		return
	}
	t := c.topic(d.Partition.Topic, true)
	t.bytes.Add(uint64(d.counted.in))
	for _, records := range d.counted.records {
		t.records.Add(uint64(records))
	}
}

// BindingCount is a binding's part of what was counted.
type BindingCount struct {
	Binding           string // empty: none matched
	Direction         Direction
	BytesIn, BytesOut uint64
	Wasm              time.Duration
	Records           map[string]uint64 // by verdict, or "refused" with the batch
	Ends              []EndCount
}

// EndCount is how many batches came to one end.
type EndCount struct {
	Outcome audit.Outcome
	Reason  string // empty: it was forwarded
	Batches uint64
}

// EachBinding gives what was counted of each binding.
func (c *Counts) EachBinding(yield func(BindingCount)) {
	for key, t := range *c.bindings.Load() {
		yield(t.read(key))
	}
}

func (t *tally) read(key tallyKey) BindingCount {
	n := BindingCount{
		Binding:   key.binding,
		Direction: key.direction,
		BytesIn:   t.in.Load(),
		BytesOut:  t.out.Load(),
		Wasm:      time.Duration(t.wasm.Load()),
		Records:   map[string]uint64{"refused": t.refused.Load()},
	}
	for verdict := range t.records {
		if v := audit.Verdict(verdict); v != audit.Rejected {
			n.Records[v.String()] = t.records[verdict].Load()
		}
	}

	for outcome := range t.forward {
		if batches := t.forward[outcome].Load(); batches > 0 {
			n.Ends = append(n.Ends, EndCount{Outcome: audit.Outcome(outcome), Batches: batches})
		}
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	for at, batches := range t.ends {
		n.Ends = append(n.Ends, EndCount{at.outcome, at.reason, batches})
	}
	return n
}

// EachTopic gives the records and bytes that were stored in each topic.
func (c *Counts) EachTopic(yield func(topic string, records, bytes uint64)) {
	for name, t := range *c.topics.Load() {
		yield(name, t.records.Load(), t.bytes.Load())
	}
}

// EachError gives how often brokers answered a batch with each of Kafka's errors.
// Codes that Kafka does not have are one.
func (c *Counts) EachError(yield func(name string, batches uint64)) {
	named := map[string]uint64{}
	for i := range c.errors {
		batches := c.errors[i].Load()
		if batches == 0 {
			continue
		}

		name := otherNames
		if e := kerr.TypedErrorForCode(int16(i - 1)); e != nil && e.Code == int16(i-1) {
			name = e.Message
		}
		named[name] += batches
	}

	for name, batches := range named {
		yield(name, batches)
	}
}

// Counts is what was counted of the pipeline's batches.
func (p *Pipeline) Counts() *Counts { return p.counts }
