package reconcile

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/segment"
)

// Read adds the decisions of a log. It may be called for several logs of gateways in
// front of one cluster.
func (c *Coverage) Read(ctx context.Context, log *audit.Reader) error {
	if c.spans == nil {
		c.spans = make(map[place][]span)
		c.open = make(map[place][]open)
		c.eras = make(map[place]int64)
		c.recent = make(map[place]*recent)
		c.pruned = make(map[place]int64)
		c.placed = make(map[place][]placed)
	}

	node, err := log.Node()
	if err != nil {
		return err
	}
	r := &reading{
		into:    c,
		node:    node,
		waiting: make(map[uint64]*waitingBatch),
		kept:    make(map[place]int64),
		under:   &keysOf{log: log, known: make(map[segment.Epoch]int)},
	}
	if c.Contents != nil {
		r.under.keys = c.Contents.Keys
	}

	err = log.Cursor(audit.Position{}).Read(ctx, func(f *audit.Frame) error {
		if c.Pace != nil {
			if err := c.Pace(ctx); err != nil {
				return err
			}
		}
		return f.Each(r.entry)
	})
	if err != nil {
		return fmt.Errorf("reading decisions: %w", err)
	}

	for _, w := range r.waiting {
		c.open[w.at] = append(c.open[w.at], w.open)
	}
	return r.forget(log)
}

// reading is the reading of one log.
type reading struct {
	into    *Coverage
	node    uint32
	waiting map[uint64]*waitingBatch // by their numbers
	kept    map[place]int64          // the places that it knows, and where the first decision begins that it has
	under   *keysOf
}

type waitingBatch struct {
	at  place
	key int // of Contents.Keys, where its content is compared
	open
}

func (r *reading) entry(e *audit.Entry) (err error) {
	switch {
	case e.Batch != nil && e.Batch.Awaits():
		return r.wait(e)

	case e.Bind != nil:
		at, base := r.bind(e.Bind)
		if first, ok := r.kept[at]; base >= 0 && (!ok || base < first) {
			r.kept[at] = base
		}

	case e.Control != nil && e.Control.Kind == audit.KindAcknowledgement:
		return r.into.acknowledge(e.Control)

	case e.Control != nil && e.Control.Era != nil:
		at := r.into.era(e.Control.Era)
		if _, ok := r.kept[at]; !ok {
			r.kept[at] = math.MaxInt64
		}
	}
	return nil
}

// acknowledge takes what somebody looked into. Segments repeat it.
func (c *Coverage) acknowledge(e *audit.ControlEntry) error {
	a, ok := audit.AcknowledgementOf(e)
	if !ok {
		return fmt.Errorf("what was acknowledged at %s is not as it is written here", e.Time.UTC().Format(time.RFC3339))
	}
	if !slices.Contains(c.acknowledged, a) {
		c.acknowledged = append(c.acknowledged, a)
	}
	return nil
}

// wait takes a batch that was forwarded.
func (r *reading) wait(e *audit.Entry) (err error) {
	b := e.Batch
	w := &waitingBatch{
		at:  place{audit.Coord{Cluster: b.Cluster, Topic: b.Topic, Partition: b.Partition}, b.TopicID},
		key: unkeyed,
		open: open{
			id:       audit.DecisionID{Node: r.node, Seq: e.Seq, Index: -1},
			producer: b.Producer,
			records:  b.Records,
			evidence: b.Evidence,
			mac:      e.MAC(),
		},
	}

	r.waiting[e.Seq] = w
	if c := r.into.Contents; c != nil && c.Of(w.at.Coord) {
		w.key, err = r.under.index(e)
	}
	return err
}

// era takes where a gateway's record of a partition begins. Of several gateways the
// earliest counts.
func (c *Coverage) era(e *audit.Era) place {
	at := place{audit.Coord{Cluster: e.Cluster, Topic: e.Topic, Partition: e.Partition}, e.TopicID}
	if first, ok := c.eras[at]; !ok || e.Offset < first {
		c.eras[at] = e.Offset
	}
	return at
}

// forget takes note of what the log may have been pruned of.
func (r *reading) forget(log *audit.Reader) error {
	pruned, err := log.Pruned()
	if err != nil || !pruned {
		return err
	}

	for at, first := range r.kept {
		if same, ok := r.kept[place{Coord: at.Coord}]; ok { // decisions that do not tell the topic's id
			first = min(first, same)
		}
		r.into.pruned[at] = max(r.into.pruned[at], first)
	}
	return nil
}

// bind takes where a batch was stored: base is -1 where it was not.
func (r *reading) bind(b *audit.Bind) (at place, base int64) {
	c := r.into
	at = place{Coord: b.Coord}
	sent := audit.Producer{ProducerID: -1}
	var of *waitingBatch
	if w := r.waiting[b.Seq]; w != nil && b.Route == "" { // of a route nobody told the id
		at.topic = w.at.topic
		sent = w.producer
		of = w
	}
	if b.Route == "" && (b.Base >= 0 || b.ErrorCode != 0) {
		delete(r.waiting, b.Seq)
	}
	if b.Base < 0 || b.Records() == 0 {
		return at, -1
	}

	c.keep(at, b, of)
	spans := c.spans[at]
	s := span{b.Base, b.Base + int64(b.Records()), b.Leader}
	if c.again(at, sent, s) {
		return at, b.Base
	}
	if n := len(spans); n > 0 && spans[n-1].end == s.first && spans[n-1].in == s.in { // as they come, mostly
		spans[n-1].end = s.end
		return at, b.Base
	}
	c.spans[at] = append(spans, s)
	return at, b.Base
}

// recently is how many placements of a partition are remembered: a broker knows a batch
// that is sent again among its producer's last five.
const recently = 64

// recent are the last placements of a partition whose producers number their batches.
type recent struct {
	all  []sentAt
	next int // of all, once it is full
}

type sentAt struct {
	audit.Producer
	first, end int64
}

// again reports whether a batch was placed before: its producer sent it again, and the
// broker, which may be another by now, answered where it stands.
func (c *Coverage) again(at place, sent audit.Producer, s span) bool {
	if sent.ProducerID < 0 {
		return false
	}
	r := c.recent[at]
	if r == nil {
		r = new(recent)
		c.recent[at] = r
	}

	one := sentAt{sent, s.first, s.end}
	switch {
	case slices.Contains(r.all, one):
		return true
	case len(r.all) < recently:
		r.all = append(r.all, one)
	default:
		r.all[r.next] = one
		r.next = (r.next + 1) % recently
	}
	return false
}
