package pipeline

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// The request ended before its decision was durable, and nothing was forwarded.
// The decision becomes durable all the same, and must then say so.
func TestBatchWhoseDecisionWasNotAwaitedIsNotLookedFor(t *testing.T) {
	l := openLog(t, 300*time.Millisecond)
	w := newWorld(t, l)
	d := w.decide(t, plain("x"), passing())

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	answer, refused, err := w.pipeline.Settle(ended, &d, &w.guard, zap.NewNop())
	if err != nil || !refused || answer.ErrorCode != refuseUnavailable.code || d.Out != nil {
		t.Fatalf("refused: %v, answered with code %d, %d bytes to forward, %v", refused, answer.ErrorCode, len(d.Out), err)
	}

	if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindConfig, Outcome: "applied"}); err != nil {
		t.Fatal(err)
	}
	if open := l.Unplaced(); len(open) != 0 {
		t.Errorf("still to be looked for: %+v", open)
	}

	found, err := query.New(l.Reader()).Lookup(t.Context(), l.ID(d.Seq(), 0).String())
	if err != nil || found.Offset != -1 || found.Batch.State != query.StateRefused || found.Batch.ErrorCode != refuseUnavailable.code {
		t.Errorf("the log says %+v, %v", found.Batch, err)
	}
}

// A full disk refuses what producers try again, and the next batch goes on once there is
// room.
func TestFullDiskRefusesUntilThereIsRoom(t *testing.T) {
	l := openLog(t, 0)
	w := newWorld(t, l)
	for _, c := range []struct {
		free    int64
		refused bool
	}{{1 << 30, false}, {0, true}, {1 << 30, false}} {
		l.SetFree(c.free)
		d := w.decide(t, plain("x"), passing())
		answer, refused, err := w.pipeline.Settle(t.Context(), &d, &w.guard, zap.NewNop())
		if err != nil || refused != c.refused || refused && (answer.ErrorCode != refuseUnavailable.code || d.Out != nil) {
			t.Errorf("%d bytes free: refused: %v, code %d, %v", c.free, refused, answer.ErrorCode, err)
		}
	}
}

// Each refusal that comes after the entry was written passes through one place,
// is counted there under its reason, and leaves no entry open.
func TestEveryLateRefusalIsCountedUnderItsReason(t *testing.T) {
	l := openLog(t, 0)
	w := newWorld(t, l)

	routes := passing()
	routes.Chain = routeAll
	routes.Modules = []audit.ModuleRef{{Name: "m"}}
	routes.Routes = [][]string{{"alerts"}}
	w.router.err = errors.New("the topic is away")
	first := w.decide(t, sequenced("x", 7, 10), routes)
	behind := w.decide(t, sequenced("y", 7, 11), passing())

	for _, c := range []struct {
		d    *Decided
		want refusal
	}{{&first, refuseRoute}, {&behind, refuseOutOfOrder}} {
		answer, refused, err := w.pipeline.Settle(t.Context(), c.d, &w.guard, zap.NewNop())
		if err != nil || !refused || answer.ErrorCode != c.want.code {
			t.Errorf("%s: refused: %v, code %d, %v", c.want.reason, refused, answer.ErrorCode, err)
		}
		if c.d.Open() {
			t.Errorf("%s: the log waits for an answer that will not come", c.want.reason)
		}
	}

	counts := w.pipeline.LateRefusals()
	if counts["route_failed"] != 1 || counts["out_of_order"] != 1 {
		t.Errorf("counted %v", counts)
	}
	if open := l.Unplaced(); len(open) != 0 {
		t.Errorf("still open: %+v", open)
	}
}

func TestRefusalByTheLogIsCounted(t *testing.T) {
	l := openLog(t, 0)
	w := newWorld(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	d := w.decide(t, plain("x"), passing())
	answer, refused, _ := w.pipeline.Settle(t.Context(), &d, &w.guard, zap.NewNop())
	if !refused || answer.ErrorCode != refuseUnavailable.code || w.pipeline.LateRefusals()["audit_unavailable"] != 1 {
		t.Errorf("refused: %v, code %d, counted %v", refused, answer.ErrorCode, w.pipeline.LateRefusals())
	}
}

// Copies stand in the log before the batch that they came with may go its way.
func TestCopiesAreStoredAndPlacedBeforeTheirBatch(t *testing.T) {
	l := openLog(t, 0)
	w := newWorld(t, l)
	g := passing()
	g.Chain = routeAll
	g.Modules = []audit.ModuleRef{{Name: "m"}}
	g.Routes = [][]string{{"alerts"}}

	d := w.decide(t, plain("x", "y"), g)
	if _, refused, err := w.pipeline.Settle(t.Context(), &d, &w.guard, zap.NewNop()); refused || err != nil {
		t.Fatalf("refused: %v, %v", refused, err)
	}
	if w.router.sent != 1 || w.router.topic != "alerts" || w.router.from != d.Partition {
		t.Errorf("sent %d batches, to %q, from %v", w.router.sent, w.router.topic, w.router.from)
	}
}
