package reconciling

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/reconcile"
)

// lookOnce looks at the one cluster that a client is of, with logs as open gives them.
func lookOnce(t *testing.T, client *kgo.Client, open func() (*Logs, error)) audit.Reconciliation {
	t.Helper()
	return lookWith(t, client, open, nil)
}

func lookWith(t *testing.T, client *kgo.Client, open func() (*Logs, error), memory *Memory) audit.Reconciliation {
	t.Helper()
	seeds, ok := client.OptValue(kgo.SeedBrokers).([]string)
	if !ok {
		t.Fatal("the client has no brokers")
	}
	look := &Look{
		Clusters: []Cluster{{Name: "main", Connect: func() (*kgo.Client, error) { return kgo.NewClient(kgo.SeedBrokers(seeds...)) }}},
		Open:     open,
		Now:      time.Now,
		Memory:   memory,
	}
	all := look.Run(t.Context())
	if len(all) != 1 || all[0].Cluster != "main" {
		t.Fatalf("%+v", all)
	}
	return all[0]
}

func opening(logs ...*audit.Log) func() (*Logs, error) {
	return func() (*Logs, error) {
		all := &Logs{Close: func() {}}
		for _, l := range logs {
			all.All = append(all.All, Log{Name: "a log", Reader: l.Reader()})
		}
		return all, nil
	}
}

var there = audit.Coord{Cluster: "main", Topic: "t"}

func send(t *testing.T, client *kgo.Client, records int) {
	t.Helper()
	for range records {
		transact(t, client)
	}
}

// TestAnswerThatWasOnItsWayIsNoBypass: what looks like one is looked for in the logs once
// more, and is told when it is still there.
func TestAnswerThatWasOnItsWayIsNoBypass(t *testing.T) {
	_, client := brokers(t, "t")
	send(t, client, 2) // records at 0 and 2, markers at 1 and 3
	l := decided(t, there)

	opened := 0
	late := func() (*Logs, error) {
		if opened++; opened == 2 {
			decide(t, l, there, 2)
		}
		return opening(l)()
	}
	if r := lookOnce(t, client, late); r.Outcome != audit.ReconciledComplete || opened != 2 || r.ByClass()["marker"] != 2 || r.Offsets != 4 {
		t.Errorf("%+v, by %d looks", r, opened)
	}
	if r := lookOnce(t, client, opening(decided(t, there))); r.Outcome != audit.ReconciledBypass || strings.Join(r.PlaceTexts(), ", ") != "bypass t/0 2-2" {
		t.Errorf("nobody answered: %+v", r)
	}
}

// TestLookThatMayLackALogConcludesNothing, and tells what it found all the same.
func TestLookThatMayLackALogConcludesNothing(t *testing.T) {
	_, client := brokers(t, "t")
	send(t, client, 2)
	doubting := func(l *audit.Log) func() (*Logs, error) {
		return func() (*Logs, error) {
			all, err := opening(l)()
			all.Doubt = errors.New("who knows")
			return all, err
		}
	}

	l := decided(t, there)
	if r := lookOnce(t, client, doubting(l)); r.Outcome != audit.ReconciledBypass || r.Problem != "who knows" {
		t.Errorf("with a bypass: %+v", r)
	}
	decide(t, l, there, 2)
	if r := lookOnce(t, client, doubting(l)); r.Outcome != audit.NotReconciled || r.Problem != "who knows" || r.Offsets != 4 {
		t.Errorf("without one: %+v", r)
	}
}

// TestLookSaysWhatItCouldNotLookAt, and what it found all the same.
func TestLookSaysWhatItCouldNotLookAt(t *testing.T) {
	_, client := brokers(t, "t")
	send(t, client, 1)
	away := errors.New("the disk is away")
	refusing := func() (*Logs, error) { return nil, away }
	if r := lookOnce(t, client, refusing); r.Outcome != audit.NotReconciled || r.Problem != away.Error() {
		t.Errorf("%+v", r)
	}
	l := decided(t, there)
	if r := lookOnce(t, client, opening(l, l)); r.Outcome != audit.NotReconciled || !strings.Contains(r.Problem, "same") {
		t.Errorf("%+v", r)
	}

	var all tally
	all.offsets = map[reconcile.Kind]int64{reconcile.Bypass: 1}
	all.fail(errors.New(strings.Repeat("ä", maxProblem)))
	all.fail(away)
	all.fail(away)
	r := all.end(time.Now())
	if r.Outcome != audit.ReconciledBypass || len(r.Problem) > maxProblem+20 || !strings.HasSuffix(r.Problem, "ä…; and more") {
		t.Errorf("%+v", r)
	}
}

// TestLookAsksOnlySoOften: gaps without end are said to be too many.
func TestLookAsksOnlySoOften(t *testing.T) {
	ask := bounded(&pacer{})
	for range maxReads {
		if err := ask(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(t.Context()); !errors.Is(err, errReads) {
		t.Error(err)
	}
}

// TestLookRests between pieces of work, and ends while it does.
func TestLookRests(t *testing.T) {
	p := &pacer{since: time.Now().Add(-time.Second)}
	began := time.Now()
	if err := p.rest(t.Context()); err != nil || time.Since(began) < longRest {
		t.Errorf("%s, %v", time.Since(began), err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.since = time.Now().Add(-time.Second)
	if err := p.rest(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p.since = time.Now()
	if err := p.rest(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestWhatIsKnownIsLookedAtAgainWhenItMayHaveChanged: when another leads, or after many
// looks; a bypass is never known.
func TestWhatIsKnownIsLookedAtAgainWhenItMayHaveChanged(t *testing.T) {
	k, client := brokers(t, "t")
	send(t, client, 2) // records at 0 and 2, markers at 1 and 3
	l := decided(t, there)
	memory := new(Memory)
	look := func(outcome string, marker, known, bypass int64) {
		t.Helper()
		r := lookWith(t, client, opening(l), memory)
		if n := r.ByClass(); r.Outcome != outcome || n["marker"] != marker || n["known"] != known || n["bypass"] != bypass {
			t.Errorf("%s %v, want %s with %d markers, %d known, %d around", r.Outcome, n, outcome, marker, known, bypass)
		}
	}

	look(audit.ReconciledBypass, 2, 0, 1)
	look(audit.ReconciledBypass, 1, 1, 1) // behind it nothing is known
	decide(t, l, there, 2)
	look(audit.ReconciledComplete, 1, 1, 0)
	look(audit.ReconciledComplete, 0, 2, 0)
	send(t, client, 1)
	look(audit.ReconciledBypass, 1, 2, 1)
	decide(t, l, there, 4)
	look(audit.ReconciledComplete, 1, 2, 0)

	r := memory.of[there]
	for name, change := range map[string]func(*remembered){
		"another leader": func(r *remembered) { r.epoch++ },
		"another topic":  func(r *remembered) { r.topic[0]++ },
		"beyond the end": func(r *remembered) { r.upTo++ },
		"many looks":     func(r *remembered) { r.looks = wholeEvery },
		"nobody told it": func(r *remembered) { r.topic = [16]byte{} },
	} {
		was := r
		change(&was)
		memory.of[there] = was
		t.Log(name)
		look(audit.ReconciledComplete, 3, 0, 0)
	}
	if memory.of[there].looks != 0 {
		t.Errorf("%+v", memory.of[there])
	}
	k.Close()
}

// TestLookThatEndsEarlyLearnsWhatItRead, so that the next goes on from there.
func TestLookThatEndsEarlyLearnsWhatItRead(t *testing.T) {
	_, client := brokers(t, "t")
	send(t, client, 3) // records at 0, 2 and 4, markers at 1, 3 and 5
	l := decided(t, there)
	decide(t, l, there, 2)
	decide(t, l, there, 4)
	c := new(reconcile.Coverage)
	if err := c.Read(t.Context(), l.Reader()); err != nil {
		t.Fatal(err)
	}

	enough := errors.New("enough")
	e := ask(t, client)
	e.piece = 1 // byte: a batch at a time
	left := 2
	e.Before = func(context.Context) error {
		if left--; left < 0 {
			return enough
		}
		return nil
	}
	memory := new(Memory)
	early := tally{offsets: make(map[reconcile.Kind]int64), memory: memory}
	if err := early.partition(t.Context(), e, c, there, nil); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	memory.end()
	if r := memory.of[there]; r.upTo != 4 {
		t.Errorf("%+v", r)
	}
}
