package server

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/ops"
	"github.com/guardlock/guardlock/internal/reconciling"
)

// firstLook is how long after the start the first look for records without a decision is.
const firstLook = time.Minute

// patience is what a look waits for.
type patience struct {
	again time.Duration // for an answer that was on its way
	retry time.Duration // for a broker to be reached
}

// calm is the patience of a gateway that serves.
var calm = patience{again: 10 * time.Second, retry: 10 * time.Second}

// reconciled is what looks came to, by cluster. It is safe for concurrent use.
type reconciled struct {
	memory reconciling.Memory // of who looks
	again  chan struct{}      // somebody waits for a look

	mu sync.Mutex
	of map[string]looks
}

// looks are those at one cluster.
type looks struct {
	last  audit.Reconciliation // zero: there was none yet
	found audit.Reconciliation // the last that came to a conclusion, of a part at least
	whole time.Time            // when the last ended that looked at everything
	count map[string]uint64    // by outcome
}

func (r *reconciled) note(one audit.Reconciliation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = make(map[string]looks)
	}

	l := r.of[one.Cluster]
	if l.count == nil {
		l.count = make(map[string]uint64)
	}
	l.last = one
	l.count[one.Outcome]++
	if one.Outcome != audit.NotReconciled {
		l.found = one
	}
	if one.Problem == "" {
		l.whole = one.Ended
	}
	r.of[one.Cluster] = l
}

// recall takes what the log has of a look before the start; the later ones come first.
func (r *reconciled) recall(one audit.Reconciliation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = make(map[string]looks)
	}

	l := r.of[one.Cluster]
	if l.last.Outcome == "" {
		l.last = one
	}
	if l.found.Outcome == "" && one.Outcome != audit.NotReconciled {
		l.found = one
	}
	if l.whole.IsZero() && one.Problem == "" {
		l.whole = one.Ended
	}
	r.of[one.Cluster] = l
}

// knows reports whether a look at a cluster is known that came to a conclusion.
func (r *reconciled) knows(cluster string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[cluster].found.Outcome != ""
}

// lookAgain has the next look come at once, and not when it is due.
func (r *reconciled) lookAgain() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// at is what is known of one cluster. counts are by outcome.
func (r *reconciled) at(cluster string) (l looks, counts map[string]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l = r.of[cluster]
	counts = make(map[string]uint64)
	for _, outcome := range audit.ReconciledOutcomes() {
		counts[outcome] = l.count[outcome]
	}
	return l, counts
}

// watchReconciled looks now and then for records without a decision, until ctx ends.
func (s *Server) watchReconciled(ctx context.Context) {
	every := s.cfg.Audit.Reconcile.Every
	if every == 0 {
		return
	}

	if err := s.recallReconciled(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("what earlier looks for records without a decision found is not known until the next", zap.Error(err))
	}
	for wait := min(every, firstLook); ; wait = every {
		select {
		case <-ctx.Done():
			return
		case <-s.reconciled.again:
		case <-time.After(wait):
		}
		s.reconcile(ctx, calm)
	}
}

// recallReconciled reads back from the log what looks came to before the start: a bypass
// that was found is told until a look that concludes says something else.
func (s *Server) recallReconciled(ctx context.Context) error {
	unknown := make(map[string]bool)
	for _, cl := range s.cfg.Clusters {
		unknown[cl.Name] = true
	}

	return s.journal.Reader().Reconciliations(ctx, func(one audit.Reconciliation) bool {
		if unknown[one.Cluster] {
			s.reconciled.recall(one)
		}
		if s.reconciled.knows(one.Cluster) {
			delete(unknown, one.Cluster)
		}
		return len(unknown) > 0 && ctx.Err() == nil
	})
}

// reconcile looks once, and has the decision log say what it came to. What was cut short
// since the gateway ends says nothing.
func (s *Server) reconcile(ctx context.Context, wait patience) {
	look := &reconciling.Look{Open: s.openLogs, Now: s.now, Again: wait.again, Memory: &s.reconciled.memory}
	for _, cl := range s.cfg.Clusters {
		look.Clusters = append(look.Clusters, reconciling.Cluster{
			Name: cl.Name,
			Connect: func() (*kgo.Client, error) {
				return s.gateway.Cluster(cl.Name).Client(kgo.RetryTimeout(wait.retry))
			},
		})
	}

	results := look.Run(ctx)
	if ctx.Err() != nil {
		return
	}
	for i := range results {
		r := &results[i]
		s.reconciled.note(*r)
		s.tellReconciled(r)
		if err := s.journal.Record(ctx, r.Entry()); err != nil && ctx.Err() == nil {
			s.log.Error("what comparing a cluster with its decisions came to could not be recorded", zap.Error(err))
		}
	}
}

// tellReconciled tells the operator.
func (s *Server) tellReconciled(r *audit.Reconciliation) {
	fields := []zap.Field{
		zap.String("cluster", r.Cluster),
		zap.Int("partitions", r.Partitions),
		zap.Int("partitions_gone", r.Gone),
		zap.Int64("offsets", r.Offsets),
		zap.Duration("took", r.Ended.Sub(r.Asked)),
	}
	if len(r.Places) > 0 {
		fields = append(fields, zap.Strings("at", r.PlaceTexts()))
	}
	if r.Problem != "" {
		fields = append(fields, zap.String("problem", r.Problem))
	}

	switch r.Outcome {
	case audit.ReconciledBypass:
		s.log.Error("records are stored without a decision: is the log of every gateway among audit.reconcile.logs? Else somebody wrote to the brokers themselves", fields...)
	case audit.ReconciledBeyond:
		s.log.Error("decisions name offsets that their partitions have not got: was a topic cut, or made anew, or did an unclean leader take over?", fields...)
	case audit.ReconciledAcknowledged:
		s.log.Info("records are stored without a decision, and somebody acknowledged all of them: guardlock audit query --kind acknowledgement", fields...)
	case audit.NotReconciled:
		s.log.Warn("the cluster could not be compared with its decisions: what was not looked at may hold records without one", fields...)
	default:
		s.log.Info("the cluster was compared with its decisions: nothing went around", fields...)
	}
}

// measureReconciled tells of the last look at each cluster.
func (v *view) measureReconciled(to *ops.Samples) {
	every := v.cfg.Audit.Reconcile.Every
	if every == 0 {
		return
	}

	for _, cl := range v.cfg.Clusters {
		l, counts := v.reconciled.at(cl.Name)
		to.Value(ops.ReconcileEvery, every.Seconds(), cl.Name)
		to.Value(ops.ReconcileAge, v.now().Sub(later(l.whole, v.started)).Seconds(), cl.Name)
		for outcome, n := range counts {
			to.Value(ops.ReconcileRuns, float64(n), cl.Name, outcome)
			to.Is(ops.ReconcileOutcome, l.last.Outcome == outcome, cl.Name, outcome)
		}
		if l.last.Outcome == "" {
			continue
		}

		to.Value(ops.ReconcileTime, seconds(l.last.Ended), cl.Name)
		to.Value(ops.ReconcileSeconds, l.last.Ended.Sub(l.last.Asked).Seconds(), cl.Name)
		if l.found.Outcome == "" {
			continue
		}
		to.Value(ops.ReconcilePartitions, float64(l.found.Partitions), cl.Name, "compared")
		to.Value(ops.ReconcilePartitions, float64(l.found.Gone), cl.Name, "gone")
		for class, n := range l.found.ByClass() {
			to.Value(ops.ReconcileOffsets, float64(n), cl.Name, class)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// reconciledStatus is what looks at a cluster came to; nil where nobody looks.
func (v *view) reconciledStatus(cluster string) *ops.Reconciled {
	every := v.cfg.Audit.Reconcile.Every
	if every == 0 {
		return nil
	}

	l, _ := v.reconciled.at(cluster)
	out := &ops.Reconciled{
		Every:      every.Seconds(),
		Outcome:    l.last.Outcome,
		Ended:      l.last.Ended.UTC(),
		Concluded:  l.whole.UTC(),
		Partitions: l.last.Partitions,
		Gone:       l.last.Gone,
		Offsets:    l.last.Offsets,
		Places:     l.last.PlaceTexts(),
		Problem:    l.last.Problem,
	}
	if l.last.Outcome != "" {
		out.Classes = l.last.ByClass()
	}
	return out
}
