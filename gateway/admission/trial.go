package admission

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/policy"
)

// trial is the admission of one module to one binding. Trials that ask the same
// share what was decided.
type trial struct {
	cluster string
	binding string
	topics  []string
	*decided
}

// decided is what came of a question. It is filled in two rounds: all are
// judged, and then those that were allowed are started.
type decided struct {
	asked question
	seat  seat
	at    Place
	exam  *examination

	asking  *judgement // what came of asking now
	judged  *judgement // what it goes by: that, or the last one if nobody answered
	refused *Refused   // with running: it goes on as before, since somebody could not be asked
	running *running   // nil: refused
}

// trials are the modules of every rule, in their order, with the questions that
// they ask. Each package is examined once, and equal questions are one.
func (a *Admitter) trials(ctx context.Context, rules []Rule, modules map[string]Module) (all []trial, questions []*decided, err error) {
	exams := map[string]*examination{}
	shared := map[question]*decided{}
	for _, r := range rules {
		for _, name := range r.Modules {
			m, ok := modules[name]
			if !ok {
				return nil, nil, fmt.Errorf("binding %s: module %s is not configured", r.Binding, name)
			}
			if exams[name] == nil {
				exams[name] = a.recallExamination(ctx, m)
			}

			place := r.Place.digest(!a.alike(exams[name], r.Place))
			q := question{exams[name].facts, place, a.Policy.Revision()}
			d := shared[q]
			if d == nil {
				d = &decided{asked: q, seat: seat{name, place}, at: r.Place, exam: exams[name]}
				shared[q] = d
				questions = append(questions, d)
			}

			all = append(all, trial{r.Cluster, r.Binding, r.Topics, d})
		}
	}

	return all, questions, nil
}

// recallExamination examines a package, unless that was done under this trust root
// and nothing has begun or ended since.
func (a *Admitter) recallExamination(ctx context.Context, m Module) *examination {
	if m.Missing != nil {
		return a.examine(ctx, m)
	}

	key := a.packageKey(m)
	if e, ok := recall(a.Memory, a.Memory.examinations, key); ok && holds(e.from, e.until, a.Now()) {
		return e
	}

	e := a.examine(ctx, m)
	if ctx.Err() == nil {
		remember(a.Memory, a.Memory.examinations, key, e)
	}

	return e
}

// maxUnanswered is how many questions may stay unanswered before the rest are not
// asked: each costs the time after which it was given up.
const maxUnanswered = 3

// decide answers questions, several at a time, and starts what may run. It
// returns what runs, which the caller gives back.
func (a *Admitter) decide(ctx context.Context, questions []*decided) []*running {
	var unanswered atomic.Int32
	inParallel(questions, runtime.GOMAXPROCS(0), func(d *decided) {
		d.asking = a.recallJudgement(ctx, d, unanswered.Load() < maxUnanswered)
		d.judged = d.asking
		d.refused = d.judged.refused
		if d.refused != nil && d.refused.Undecided() {
			unanswered.Add(1)
			a.keepLast(d)
		}
	})

	s := starts{Admitter: a, all: map[startKey]*started{}}
	inParallel(questions, runtime.GOMAXPROCS(0), func(d *decided) { s.start(ctx, d) })
	for _, d := range questions {
		if d.running != nil && d.refused == nil {
			a.Memory.allow(d)
		}
	}

	return s.running()
}

// recallJudgement judges an examined package at a place, unless that was done
// and still holds. An answer that somebody owes is not remembered.
func (a *Admitter) recallJudgement(ctx context.Context, d *decided, ask bool) *judgement {
	if j, ok := recall(a.Memory, a.Memory.judgements, d.asked); ok && holds(j.from, j.keep, a.Now()) {
		return j
	}

	j := a.judge(ctx, d.exam, d.at, ask)
	if j.refused == nil || !j.refused.Undecided() {
		remember(a.Memory, a.Memory.judgements, d.asked, j)
	}
	return j
}

// keepLast lets the package go on that was let in last at this seat, if it is this
// one, approved as it was then: all that can be missing is a new answer of policy,
// and the old one still holds. Approvals and keys were looked at anew.
func (a *Admitter) keepLast(d *decided) {
	last, ok := a.Memory.last(d.seat)
	if !ok || last.exam.digest != d.exam.digest || last.exam.verified.GrantDigest != d.exam.verified.GrantDigest {
		return
	}
	if !holds(last.judged.from, earlier(last.judged.decision.ValidUntil, d.exam.verified.Grant.NotAfter), a.Now()) {
		return
	}

	kept := *last.judged
	kept.decision.ValidUntil = earlier(kept.decision.ValidUntil, d.exam.verified.Grant.NotAfter)
	kept.from = later(kept.from, d.exam.from)
	kept.until = earlier(kept.decision.ValidUntil, d.exam.until)
	d.judged = &kept
}

// starts are the modules that one Build starts: one for each examined package and
// what it was granted.
type starts struct {
	*Admitter
	mu  sync.Mutex
	all map[startKey]*started
}

type startKey struct {
	exam      *examination
	functions string
	limits    policy.Limits
	apart     bool
}

type started struct {
	once    sync.Once
	running *running
	refused *Refused
}

// start starts the module of a question that was answered with yes. Questions
// with the same package and grant share one start.
func (s *starts) start(ctx context.Context, d *decided) {
	if !d.judged.decision.Allow || d.judged.refused != nil {
		return
	}

	key := startKey{d.exam, strings.Join(d.judged.decision.HostFunctions, " "), d.judged.decision.Limits, d.at.Isolation == Apart}
	s.mu.Lock()
	one := s.all[key]
	if one == nil {
		one = &started{}
		s.all[key] = one
	}
	s.mu.Unlock()

	one.once.Do(func() { one.running, one.refused = s.Admitter.start(ctx, d.exam, d.at, d.judged.decision) })
	d.running = one.running
	if d.refused == nil {
		d.refused = one.refused
	}
}

func (s *starts) running() []*running {
	var all []*running
	for _, one := range s.all {
		if one.running != nil {
			all = append(all, one.running)
		}
	}
	return all
}

// maxRecording is how many entries wait for the log at a time: it commits what
// waits together.
const maxRecording = 512

// recordAll makes durable what was decided, each decision for each binding
// once. Nothing is served before it returns nil.
func (a *Admitter) recordAll(ctx context.Context, trials []trial) error {
	var fresh []trial
	for _, t := range trials {
		if !a.Memory.isNoted(t) {
			fresh = append(fresh, t)
		}
	}

	var mu sync.Mutex
	var failed error
	inParallel(fresh, maxRecording, func(t trial) {
		err := a.keep(t)
		if err == nil {
			err = a.record(ctx, a.entry(t))
		}
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
	})

	if failed != nil {
		return failed
	}

	for _, t := range fresh {
		a.Memory.note(t)
	}
	return nil
}

// keep keeps the approvals that let a module run, so that they can be shown later.
func (a *Admitter) keep(t trial) error {
	if a.Keep == nil || t.refused != nil {
		return nil
	}
	for i := range t.exam.verified.Counted {
		c := &t.exam.verified.Counted[i]
		if err := a.Keep(c.ID, c.KeyID, c.Bundle); err != nil {
			return fmt.Errorf("keeping the approval of module %s by %s: %w", t.exam.module.Name, c.Approver, err)
		}
	}
	return nil
}

// inParallel calls do for each of all, at most most at a time, and returns when all
// calls did.
func inParallel[T any](all []T, most int, do func(T)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(most, len(all)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				do(all[i])
			}
		})
	}

	wg.Wait()
}

var errNotAsked = errors.New("it did not answer other questions in time, and is asked again later")

// denialHolds is how long a no of the policy is not asked for again: it does not say
// itself how long it holds.
const denialHolds = time.Minute
