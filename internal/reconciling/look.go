package reconciling

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/reconcile"
)

// Cluster is one that is looked at.
type Cluster struct {
	Name string // as the logs name it
	// Connect makes a client of its brokers. It is closed after the look.
	Connect func() (*kgo.Client, error)
}

// Log is one of the logs of the gateways in front of the clusters.
type Log struct {
	Name string // for messages
	*audit.Reader
}

// Logs are those of all gateways.
type Logs struct {
	All  []Log
	Keys [][32]byte // audit keys; see reconcile.Coverage.Judge
	// Doubt is why they may not be all that there are. What is found is told all the same,
	// and nothing is concluded.
	Doubt error
	Close func() // called when they were read
}

// Look is one comparison of clusters with the decisions about them, beside the work of
// a gateway: it takes its time.
type Look struct {
	Clusters []Cluster
	// Open opens the logs of all gateways, or none of them. It is called after the clusters
	// were asked for their ends.
	Open func() (*Logs, error)
	Now  func() time.Time
	// Again is how long after it was found what must not be is looked for once more, with
	// the logs as they are then: an answer may have been on its way.
	Again time.Duration
	// Memory is what earlier looks of the process found. Nil: each look reads all gaps.
	Memory *Memory
}

// Bounds of one look at one cluster.
const (
	maxReads    = 100_000 // questions for records
	maxFailures = 5       // partitions that could not be read, before the others are given up
	maxPlaces   = 10      // that a result names
	maxProblem  = 400     // bytes of a text
)

var errReads = fmt.Errorf("its gaps take more than %d questions for records", maxReads)

// Run looks, and gives a result for each cluster, in their order.
func (l *Look) Run(ctx context.Context) []audit.Reconciliation {
	defer l.Memory.end()
	all := make([]*looking, len(l.Clusters))
	for i, c := range l.Clusters {
		all[i] = l.ask(ctx, c)
		defer all[i].close()
	}

	l.judge(ctx, all)
	if suspect := suspects(all); len(suspect) > 0 {
		select {
		case <-time.After(l.Again):
			l.judge(ctx, suspect)
		case <-ctx.Done():
		}
	}

	results := make([]audit.Reconciliation, len(all))
	for i, one := range all {
		results[i] = one.result
	}
	return results
}

// suspects are those in which something was found that must not be.
func suspects(all []*looking) (some []*looking) {
	for _, one := range all {
		if o := one.result.Outcome; o == audit.ReconciledBypass || o == audit.ReconciledBeyond {
			some = append(some, one)
		}
	}
	return some
}

// looking is a look at one cluster under way.
type looking struct {
	name   string
	client *kgo.Client
	ends   *Ends
	err    error // it could not be asked
	asked  time.Time
	result audit.Reconciliation
}

func (l *Look) ask(ctx context.Context, c Cluster) *looking {
	one := &looking{name: c.Name, asked: l.Now()}
	if one.client, one.err = c.Connect(); one.err == nil {
		one.ends, one.err = Ask(ctx, one.client)
	}
	return one
}

func (o *looking) close() {
	if o.client != nil {
		o.client.Close()
	}
}

// judge reads the logs and judges clusters by them.
func (l *Look) judge(ctx context.Context, all []*looking) {
	pace := new(pacer)
	coverage := &reconcile.Coverage{Pace: pace.rest}
	logs, err := l.read(ctx, coverage)
	for _, one := range all {
		t := tally{offsets: make(map[reconcile.Kind]int64), memory: l.Memory}
		t.result = audit.Reconciliation{Cluster: one.name, Asked: one.asked, Logs: logs.read}
		switch {
		case one.err != nil:
			t.fail(one.err)
		case err != nil:
			t.fail(err)
		default:
			one.ends.Before = bounded(pace)
			t.cluster(ctx, one, coverage, logs.keys)
			if logs.doubt != nil {
				t.fail(logs.doubt)
			}
		}
		one.result = t.end(l.Now())
	}
}

// bounded has questions for records wait, and ends them when there were too many.
func bounded(pace *pacer) func(context.Context) error {
	left := maxReads
	return func(ctx context.Context) error {
		if left == 0 {
			return errReads
		}
		left--
		return pace.rest(ctx)
	}
}

// readLogs are logs that were read.
type readLogs struct {
	read  []audit.ReconciledLog
	keys  [][32]byte
	doubt error
}

// read reads all logs.
func (l *Look) read(ctx context.Context, c *reconcile.Coverage) (all readLogs, err error) {
	logs, err := l.Open()
	if err != nil {
		return all, err
	}
	defer logs.Close()
	all.keys = logs.Keys
	all.doubt = logs.Doubt
	seen := make(map[[8]byte]string)

	for _, log := range logs.All {
		id, next, err := log.LogID()
		switch {
		case err != nil:
			return all, fmt.Errorf("reading the decision log %s: %w", log.Name, err)
		case next == 0:
			return all, fmt.Errorf("reading the decision log %s: nothing is in it", log.Name)
		case seen[id] != "":
			return all, fmt.Errorf("%s and %s are the same decision log", seen[id], log.Name)
		}

		seen[id] = log.Name
		if err := c.Read(ctx, log.Reader); err != nil {
			return all, fmt.Errorf("reading the decision log %s: %w", log.Name, err)
		}
		all.read = append(all.read, audit.ReconciledLog{ID: id, Next: next})
	}
	return all, nil
}

// tally counts what is found in one cluster.
type tally struct {
	result   audit.Reconciliation
	offsets  map[reconcile.Kind]int64
	failures int
	memory   *Memory

	wrong        []audit.ReconciledPlace
	acknowledged []audit.ReconciledPlace
}

// cluster judges each partition that decisions are about. One that cannot be read keeps
// nobody from looking at the next.
func (t *tally) cluster(ctx context.Context, one *looking, c *reconcile.Coverage, keys [][32]byte) {
	parts, err := one.ends.Choose(ctx, c, Choice{Cluster: one.name})
	for _, at := range parts.Gone {
		t.result.Gone++
		t.note(&reconcile.Partition{At: at}, c.Gone(at))
	}
	if err != nil {
		t.fail(err)
		return
	}

	for _, at := range parts.There {
		if t.failures == maxFailures || ctx.Err() != nil {
			t.fail(errors.Join(ctx.Err(), errors.New("the partitions behind were not looked at")))
			return
		}
		if err := t.partition(ctx, one.ends, c, at, keys); err != nil {
			t.fail(err)
		}
	}
}

func (t *tally) partition(ctx context.Context, e *Ends, c *reconcile.Coverage, at audit.Coord, keys [][32]byte) error {
	p, err := e.Partition(at)
	if err != nil {
		return err
	}
	epoch := e.topics[at.Topic].Partitions[at.Partition].LeaderEpoch
	p.Known = t.memory.known(p, epoch)
	final := p.End
	read := int64(0) // gaps come in their order

	err = c.Examine(ctx, p, keys, func(f reconcile.Finding) {
		t.note(p, f)
		if !isFinal(p, &f) {
			final = min(final, f.First)
		} else {
			read = f.Last + 1
		}
	})
	if err != nil {
		t.memory.learn(p, epoch, min(final, read))
		return err
	}
	t.memory.learn(p, epoch, final)

	t.result.Partitions++
	t.result.Offsets += max(0, p.End-p.Start)
	return nil
}

func (t *tally) note(p *reconcile.Partition, f reconcile.Finding) {
	class := f.Class()
	t.offsets[class] += f.Last - f.First + 1
	place := audit.ReconciledPlace{
		Class:     string(class),
		Topic:     p.At.Topic,
		TopicID:   p.Topic,
		Partition: p.At.Partition,
		First:     f.First,
		Last:      f.Last,
	}

	switch class {
	case reconcile.Bypass, reconcile.Beyond, reconcile.Gone:
		t.wrong = placed(t.wrong, place)
	case reconcile.Acknowledged:
		t.acknowledged = placed(t.acknowledged, place)
	}
}

// placed adds a place: one that goes on where the last one ends is one with it.
func placed(all []audit.ReconciledPlace, next audit.ReconciledPlace) []audit.ReconciledPlace {
	if n := len(all); n > 0 && all[n-1].Last+1 == next.First {
		longer, whole := all[n-1], next
		longer.Last = next.Last
		whole.First = longer.First
		if longer == whole {
			all[n-1] = whole
			return all
		}
	}
	if len(all) < maxPlaces {
		all = append(all, next)
	}
	return all
}

// fail keeps the first failure, and that there were others.
func (t *tally) fail(err error) {
	t.failures++
	switch t.failures {
	case 1:
		t.result.Problem = clipped(err.Error())
	case 2:
		t.result.Problem += "; and more"
	}
}

func clipped(text string) string {
	if len(text) <= maxProblem {
		return text
	}
	cut := maxProblem
	for cut > 0 && text[cut]&0xc0 == 0x80 { // within a letter
		cut--
	}
	return text[:cut] + "…"
}

func (t *tally) end(now time.Time) audit.Reconciliation {
	for _, k := range reconcile.Kinds() {
		t.result.Classes = append(t.result.Classes, audit.ReconciledClass{Class: string(k), Offsets: t.offsets[k]})
	}

	t.result.Places = append(t.wrong, t.acknowledged...)
	t.result.Places = t.result.Places[:min(len(t.result.Places), maxPlaces)]
	t.result.Ended = now
	switch {
	case t.offsets[reconcile.Bypass] > 0:
		t.result.Outcome = audit.ReconciledBypass
	case t.offsets[reconcile.Beyond] > 0:
		t.result.Outcome = audit.ReconciledBeyond
	case t.failures > 0:
		t.result.Outcome = audit.NotReconciled
	case t.offsets[reconcile.Acknowledged] > 0:
		t.result.Outcome = audit.ReconciledAcknowledged
	default:
		t.result.Outcome = audit.ReconciledComplete
	}
	return t.result
}

// A look works so long at once, and then rests thrice as long as it worked: batches that
// clients produce meanwhile do not wait for it.
const (
	workAtOnce = 2 * time.Millisecond
	longRest   = 50 * time.Millisecond
)

// pacer makes work rest. It is one goroutine's.
type pacer struct{ since time.Time }

func (p *pacer) rest(ctx context.Context) error {
	if p.since.IsZero() {
		p.since = time.Now()
	}
	worked := time.Since(p.since)
	if worked < workAtOnce {
		return ctx.Err()
	}

	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(3*worked, longRest)):
	}
	p.since = time.Now()
	return nil
}
