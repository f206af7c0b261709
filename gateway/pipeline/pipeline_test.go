package pipeline

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

func openLog(t *testing.T, linger time.Duration) *audit.Log {
	t.Helper()
	l, err := audit.Open(t.TempDir(), audit.Options{Linger: linger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// world is a pipeline with the ends that it needs, all in memory but the log.
type world struct {
	pipeline *Pipeline
	guard    Guard
	router   router
	most     int // max.message.bytes
	noEra    error
}

func newWorld(t testing.TB, l *audit.Log) *world {
	t.Helper()
	w := &world{most: 1 << 20}
	w.pipeline = New(Config{
		Cluster:      "main",
		Log:          l,
		Topics:       w,
		Eras:         w,
		Router:       &w.router,
		Workers:      NewWorkers(2, recordbatch.Limits{}),
		RouteTimeout: time.Minute,
	})

	return w
}

func (w *world) Settings(context.Context, string) TopicSettings {
	return TopicSettings{MaxMessage: w.most}
}

func (w *world) Begin(context.Context, Partition, [16]byte) error { return w.noEra }

func (w *world) Buffer(_ context.Context, capacity int) ([]byte, error) {
	return make([]byte, 0, capacity), nil
}

type router struct {
	err   error
	sent  int
	topic string
	from  Partition
}

func (r *router) Send(_ context.Context, topic string, from Partition, _ []byte) (int32, int64, error) {
	if r.err != nil {
		return 0, 0, r.err
	}
	r.sent++
	r.topic = topic
	r.from = from
	return 0, int64(r.sent), nil
}

func (w *world) input(records []byte, g *Grant) *Input {
	return &Input{
		Partition: Partition{Topic: "in", Number: 0},
		Records:   records,
		Client:    Client{Principal: "User:ada"},
		Grant:     g,
		Guard:     &w.guard,
		Memory:    w,
		Log:       zap.NewNop(),
	}
}

func (w *world) decide(t *testing.T, records []byte, g *Grant) Decided {
	t.Helper()
	d, err := w.pipeline.Decide(t.Context(), w.input(records, g))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func passing() *Grant {
	return &Grant{Binding: "b", RejectCode: kerr.InvalidRecord.Code, KeepCodec: true, Reasons: [][]string{{"m.reason"}}}
}

// rules is a Transformer that gives every record one verdict.
type rules record.Verdict

const (
	rejectAll = rules(record.Rejected)
	routeAll  = rules(record.Routed)
)

func (v rules) Run(_ context.Context, b *record.Batch, _ transforms.Origin) error {
	for i := range b.Records {
		b.Records[i].Verdict = record.Verdict(v)
	}
	b.Changed = true
	return nil
}

// failing is a Transformer that fails.
type failing struct{ err error }

func (f failing) Run(context.Context, *record.Batch, transforms.Origin) error { return f.err }

func plain(values ...string) []byte { return batchOf(-1, -1, values...) }

func sequenced(value string, producer int64, sequence int32) []byte {
	return batchOf(producer, sequence, value)
}

func batchOf(producer int64, sequence int32, values ...string) []byte {
	var records []byte
	for i, v := range values {
		body := []byte{0}
		body = binary.AppendVarint(body, 0)
		body = binary.AppendVarint(body, int64(i))
		body = binary.AppendVarint(body, -1)
		body = binary.AppendVarint(body, int64(len(v)))
		body = append(body, v...)
		body = binary.AppendVarint(body, 0)
		records = binary.AppendVarint(records, int64(len(body)))
		records = append(records, body...)
	}

	epoch := int16(-1)
	if producer >= 0 {
		epoch = 0
	}

	return recordbatch.Append(nil, recordbatch.Header{
		PartitionLeaderEpoch: -1,
		LastOffsetDelta:      int32(len(values) - 1),
		ProducerID:           producer,
		ProducerEpoch:        epoch,
		BaseSequence:         sequence,
		NumRecords:           int32(len(values)),
	}, records)
}

func TestUnchangedBatchIsForwardedAsTheSameBytes(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	in := plain("x")
	d := w.decide(t, in, passing())
	if d.Rebuilt || len(d.Out) != len(in) || &d.Out[0] != &in[0] {
		t.Error("the batch was written anew")
	}
}

func TestRefusedBatchLeavesNothingToForward(t *testing.T) {
	expired := passing()
	expired.ValidUntil = time.Now().Add(-time.Second)
	undecided := passing()
	undecided.Refusal = audit.OutcomeUnavailable
	undecided.Why = "policy_unavailable"
	rejecting := passing()
	rejecting.Chain = rejectAll
	rejecting.Modules = []audit.ModuleRef{{Name: "m"}}
	stopped := passing()
	stopped.Chain = failing{&transforms.Error{Kind: transforms.Timeout, Module: "m", Err: context.DeadlineExceeded}}
	modules := make([]*transforms.Module, 257)
	tooMany := passing()
	tooMany.Chain = transforms.NewChain(modules...)
	damaged := plain("x")
	damaged[len(damaged)-1] ^= 1

	for name, c := range map[string]struct {
		records []byte
		grant   *Grant
		code    int16
	}{
		"empty":            {nil, passing(), kerr.CorruptMessage.Code},
		"damaged":          {damaged, passing(), kerr.CorruptMessage.Code},
		"unbound":          {plain("x"), Unbound, kerr.PolicyViolation.Code},
		"unknown topic id": {plain("x"), UnknownTopicID, kerr.UnknownTopicID.Code},
		"expired":          {plain("x"), expired, kerr.NotEnoughReplicas.Code}, // it is judged anew
		"undecided":        {plain("x"), undecided, kerr.NotEnoughReplicas.Code},
		"rejected":         {plain("x"), rejecting, kerr.InvalidRecord.Code},
		"too many modules": {plain("x"), tooMany, kerr.PolicyViolation.Code},
		"timeout":          {plain("x"), stopped, kerr.RequestTimedOut.Code},
	} {
		w := newWorld(t, openLog(t, 0))
		d := w.decide(t, c.records, c.grant)
		answer, refused, err := w.pipeline.Settle(t.Context(), &d, &w.guard, zap.NewNop())
		if err != nil || !refused || d.Out != nil || answer.ErrorCode != c.code {
			t.Errorf("%s: refused: %v, %d bytes to forward, code %d, %v", name, refused, len(d.Out), answer.ErrorCode, err)
		}
		if counts := w.pipeline.LateRefusals(); counts["audit_unavailable"]+counts["route_failed"]+counts["out_of_order"] != 0 {
			t.Errorf("%s: counted as late: %v", name, counts)
		}
	}
}

// What follows a refused batch of a producer is refused, whatever it holds.
func TestGuardHoldsBackWhatFollowsARefusedBatch(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	w.decide(t, sequenced("x", 7, 10), Unbound)
	if d := w.decide(t, sequenced("y", 7, 11), passing()); d.Out != nil || d.why != refuseOutOfOrder {
		t.Errorf("forwarded %d bytes; why not: %v", len(d.Out), d.why)
	}
	if d := w.decide(t, sequenced("x", 7, 10), passing()); d.Out == nil {
		t.Errorf("the client that came back is refused: %v", d.why)
	}
}

// refusedText is the code and text of a refused batch's answer.
func (w *world) refusedText(t *testing.T, records []byte, g *Grant, log *zap.Logger) (int16, string) {
	t.Helper()
	d := w.decide(t, records, g)
	answer, refused, err := w.pipeline.Settle(t.Context(), &d, &w.guard, log)
	if !refused || err != nil {
		t.Fatal(refused, err)
	}
	return answer.ErrorCode, answer.Message
}

// Another attempt takes as much processor time: a batch that is sent again and
// again must not hold up its partition.
func TestBatchThatTimesOutAgainAndAgainIsRefusedForGood(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	slow := passing()
	slow.Chain = failing{&transforms.Error{Kind: transforms.Timeout, Module: "m", Err: context.DeadlineExceeded}}
	again := kerr.RequestTimedOut.Code
	final := kerr.InvalidRecord.Code
	for i, c := range []struct {
		value string
		code  int16
	}{{"x", again}, {"x", again}, {"y", again}, {"x", again}, {"x", again}, {"x", final}, {"x", again}} {
		if code, text := w.refusedText(t, plain(c.value), slow, zap.NewNop()); code != c.code {
			t.Errorf("attempt %d, at %s: code %d, want %d: %s", i, c.value, code, c.code, text)
		}
	}
}

// everySecond is a Transformer that gives each second record a verdict.
type everySecond record.Verdict

func (v everySecond) Run(_ context.Context, b *record.Batch, _ transforms.Origin) error {
	for i := 0; i < len(b.Records); i += 2 {
		b.Records[i].Verdict = record.Verdict(v)
	}
	b.Changed = true
	return nil
}

// A decision that no log takes would be no decision however often the batch is sent.
func TestBatchWhoseDecisionIsTooLargeIsRefusedForGood(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	records := plain(make([]string, 1_000_000)...)
	for name, verdict := range map[string]everySecond{
		"rejected": everySecond(record.Rejected),
		"routed":   everySecond(record.Routed),
		"modified": everySecond(record.Modified),
	} {
		g := passing()
		g.Chain = verdict
		g.Modules = []audit.ModuleRef{{Name: "m"}}
		g.Routes = [][]string{{"out"}}

		code, text := w.refusedText(t, records, g, zap.NewNop())
		if code != kerr.MessageTooLarge.Code || !strings.Contains(text, "(decision_too_large, decision gl-") {
			t.Errorf("%s: code %d: %s", name, code, text)
		}
	}
	if w.router.sent > 0 {
		t.Errorf("%d records of refused batches were routed", w.router.sent)
	}
}

// rejectSecond is a Transformer that rejects the second record.
type rejectSecond struct{}

func (rejectSecond) Run(_ context.Context, b *record.Batch, _ transforms.Origin) error {
	b.Records[1].Verdict = record.Rejected
	b.Changed = true
	return nil
}

func TestAnswerSaysWhichRecordIsAtFault(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	g := passing()
	g.Chain = rejectSecond{}
	g.Modules = []audit.ModuleRef{{Name: "m"}}

	_, text := w.refusedText(t, plain("a", "b", "c"), g, zap.NewNop())
	if want := "rejected by module m: record 1 of the batch; 2 that are not at fault are not stored because of it"; !strings.Contains(text, want) {
		t.Errorf("got %q, want %q in it", text, want)
	}
}

func TestRefusalsAreLoggedByDecisionAndSampled(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	core, lines := observer.New(zap.InfoLevel)
	for range linesPerSecond {
		w.refusedText(t, plain("secret"), Unbound, zap.New(core))
	}

	first := lines.All()[0].ContextMap()
	if first["decision"] == "" || first["topic"] != "in" || first["reason"] != "unbound_topic" || first["error"] != "POLICY_VIOLATION" {
		t.Errorf("the line says %v", first)
	}

	var s sample
	now := time.Now()
	taken := 0
	for range 1000 {
		if _, ok := s.take(now); ok {
			taken++
		}
	}

	skipped, ok := s.take(now.Add(time.Second))
	if taken != linesPerSecond || !ok || skipped != 990 {
		t.Errorf("%d lines in a second, then %v after %d that were left out", taken, ok, skipped)
	}
}

// What a consumer reads was stored before: no guard holds it back, the topic's
// limit does not bind it, and none of it can go elsewhere.
func TestReadingHasNoSequenceNoLimitAndNoRoutes(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	w.most = 1
	w.decide(t, sequenced("x", 7, 10), Unbound)

	read := w.input(sequenced("y", 7, 11), passing())
	read.Direction = Consume
	read.Guard = nil

	if d, err := w.pipeline.Decide(t.Context(), read); err != nil || d.Out == nil {
		t.Errorf("what was stored is not shown: %v, %v", d.why, err)
	}

	longer := passing()
	longer.Chain = lengthening{}
	longer.Modules = []audit.ModuleRef{{Name: "m"}}
	read = w.input(plain("y"), longer)
	read.Direction = Consume

	if d, err := w.pipeline.Decide(t.Context(), read); err != nil || d.Out == nil || !d.Rebuilt {
		t.Errorf("a batch that grew is not shown: %v, %v", d.why, err)
	}
	if d := w.decide(t, plain("y"), longer); d.why.code != kerr.MessageTooLarge.Code {
		t.Errorf("a batch that grew is produced: %v", d.why)
	}

	routes := passing()
	routes.Chain = routeAll
	routes.Modules = []audit.ModuleRef{{Name: "m"}}
	routes.Routes = [][]string{{"alerts"}}
	read = w.input(plain("y"), routes)
	read.Direction = Consume

	if d, err := w.pipeline.Decide(t.Context(), read); err != nil || d.why != refuseReadRoute {
		t.Errorf("a record that was read went elsewhere: %v, %v", d.why, err)
	}
}

// lengthening is a Transformer that puts a long value in place of each.
type lengthening struct{}

func (lengthening) Run(_ context.Context, b *record.Batch, _ transforms.Origin) error {
	long := make([]byte, 100)
	for i := range b.Records {
		binary.BigEndian.PutUint64(long, uint64(i)*0x9e3779b97f4a7c15)
		b.Records[i].Value = b.Append(long)
		b.Records[i].Verdict = record.Modified
	}

	b.Changed = true
	return nil
}

// The log is told once where a batch stands, and a code that leaves it open is
// said to be open.
func TestAnswerIsPlacedOnce(t *testing.T) {
	l := openLog(t, 0)
	w := newWorld(t, l)
	stored := w.decide(t, plain("x"), passing())
	unsure := w.decide(t, plain("y"), passing())
	for _, d := range []*Decided{&stored, &unsure} {
		if _, refused, err := w.pipeline.Settle(t.Context(), d, &w.guard, zap.NewNop()); refused || err != nil {
			t.Fatal(refused, err)
		}
	}

	if !w.pipeline.Answered(&stored, &wire.ProduceAnswer{BaseOffset: 5}, 0) || !w.pipeline.Answered(&stored, &wire.ProduceAnswer{BaseOffset: 6}, 0) {
		t.Error("a stored batch is to be looked for")
	}
	if w.pipeline.Answered(&unsure, &wire.ProduceAnswer{ErrorCode: kerr.RequestTimedOut.Code}, 0) {
		t.Error("a batch that may be stored is not looked for")
	}
	if open := l.Unplaced(); len(open) != 1 || open[0].Seq != unsure.Seq() {
		t.Errorf("open: %+v", open)
	}
	if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindConfig, Outcome: "applied"}); err != nil { // what is bound is written with it
		t.Fatal(err)
	}

	found, err := query.New(l.Reader()).Lookup(t.Context(), l.ID(stored.Seq(), 0).String())
	if err != nil || found.Batch.BaseOffset != 5 {
		t.Errorf("the log says offset %d, %v", found.Batch.BaseOffset, err)
	}
}

func TestDecidingAllocatesNothingPerRecord(t *testing.T) {
	l := openLog(t, 0)
	w := newWorld(t, l)
	allocs := func(records int) float64 {
		values := make([]string, records)
		for i := range values {
			values[i] = "value"
		}

		in := w.input(plain(values...), passing())
		return testing.AllocsPerRun(50, func() {
			if _, err := w.pipeline.Decide(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocs(10), allocs(1000); many > few+10 {
		t.Errorf("%v allocations for 10 records, %v for 1000", few, many)
	}
}
