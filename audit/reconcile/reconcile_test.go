package reconcile

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
)

var testKey = [32]byte{7}

var at = audit.Coord{Cluster: "main", Topic: "cards", Partition: 1}

// site is a log of one gateway.
type site struct {
	t     *testing.T
	dir   string
	log   *audit.Log
	topic [16]byte // id that decisions tell
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "audit")
	l, err := audit.Open(dir, audit.Options{Key: testKey, SegmentBytes: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &site{t: t, dir: dir, log: l}
}

// decide records a batch; evidence is what its MAC is made of.
func (s *site) decide(records int, p audit.Producer, evidence []byte) uint64 {
	s.t.Helper()
	e := &audit.BatchEntry{
		Target:   audit.Target{Cluster: at.Cluster, Topic: at.Topic, TopicID: s.topic, Partition: at.Partition},
		Producer: p,
		Payload:  audit.Payload{Records: records},
		Evidence: audit.EvidenceContent,
		Outcome:  audit.OutcomePassed,
	}
	e.Add(audit.Ruling{}, records)
	ticket := s.log.Append(e, evidence)
	if err := ticket.Wait(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return ticket.Seq()
}

var nobody = audit.Producer{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}

// store records a batch that the broker stored.
func (s *site) store(base int64, records int) {
	s.t.Helper()
	s.log.Place(s.decide(records, nobody, []byte("batch")), audit.Placement{BaseOffset: base})
}

func (s *site) flush() {
	s.t.Helper()
	if err := s.log.Record(s.t.Context(), audit.ControlEntry{Kind: audit.KindConfig, Subject: "flush", Outcome: "applied"}); err != nil {
		s.t.Fatal(err)
	}
}

// batch is one as a broker stores it.
func batch(base int64, records int32, attributes int16, p audit.Producer) []byte {
	var body []byte
	for i := range records {
		r := kmsg.Record{OffsetDelta: i, Value: []byte("value")}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		body = r.AppendTo(body)
	}
	return recordbatch.Append(nil, recordbatch.Header{
		BaseOffset:      base,
		Attributes:      attributes,
		LastOffsetDelta: records - 1,
		ProducerID:      p.ProducerID,
		ProducerEpoch:   p.ProducerEpoch,
		BaseSequence:    p.BaseSequence,
		NumRecords:      records,
	}, body)
}

// stored are the batches of a partition. Those that decisions name need not be there:
// nobody may look at them.
func stored(start, end int64, batches ...[]byte) *Partition {
	return &Partition{At: at, Start: start, End: end, Batch: func(_ context.Context, offset int64) ([]byte, error) {
		for _, b := range batches {
			h, err := recordbatch.ParseHeader(b)
			if err != nil || h.BaseOffset+int64(h.LastOffsetDelta) >= offset {
				return b, err
			}
		}
		return nil, nil
	}}
}

func judge(t *testing.T, p *Partition, keys [][32]byte, sites ...*site) []Finding {
	t.Helper()
	c := new(Coverage)
	for _, s := range sites {
		s.flush()
		if err := c.Read(t.Context(), s.log.Reader()); err != nil {
			t.Fatal(err)
		}
	}
	found, err := c.Judge(t.Context(), p, keys)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEachGapIsToldForWhatItIs(t *testing.T) {
	a, b := newSite(t), newSite(t)
	a.store(10, 5)
	b.store(15, 5) // two gateways
	a.store(22, 3)
	a.store(30, 10)
	mine := audit.Producer{ProducerID: 9, ProducerEpoch: 1, BaseSequence: 40}
	a.decide(2, mine, []byte("unanswered"))

	got := judge(t, stored(4, 52,
		batch(4, 6, 0, nobody),
		batch(20, 2, 0, nobody),
		batch(25, 1, 0x20|0x10, audit.Producer{ProducerID: 3, BaseSequence: -1}),
		batch(26, 2, 0, mine),
		batch(40, 1, 0, audit.Producer{ProducerID: 9, ProducerEpoch: 1, BaseSequence: 41}),
		batch(45, 5, 0, nobody),
	), nil, a, b)
	want := []Finding{
		{Kind: Before, First: 4, Last: 9, Records: 6, ProducerID: -1},
		{Kind: Bypass, First: 20, Last: 21, Records: 2, ProducerID: -1},
		{Kind: Marker, First: 25, Last: 25, Records: 1, ProducerID: 3},
		{Kind: Pending, First: 26, Last: 27, Records: 2, ProducerID: 9},
		{Kind: Nothing, First: 28, Last: 29},
		{Kind: Bypass, First: 40, Last: 40, Records: 1, ProducerID: 9},
		{Kind: Nothing, First: 41, Last: 44},
		{Kind: Bypass, First: 45, Last: 49, Records: 5, ProducerID: -1},
		{Kind: Nothing, First: 50, Last: 51},
	}

	for i := range got {
		if got[i].Kind == Pending && got[i].Decision != "" {
			got[i].Decision = ""
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// begin records that a gateway took its first batch for the partition.
func (s *site) begin(offset int64) {
	s.t.Helper()
	target := audit.Target{Cluster: at.Cluster, Topic: at.Topic, TopicID: s.topic, Partition: at.Partition}
	if err := s.log.Record(s.t.Context(), audit.NewEra(audit.Era{Target: target, Offset: offset})); err != nil {
		s.t.Fatal(err)
	}
}

// TestOffsetsThatTwoLeadersGaveOutAreTold: what a leader stored and lost has a decision,
// and so has what the next one stored in its place. A batch that was sent again has one
// place.
func TestOffsetsThatTwoLeadersGaveOutAreTold(t *testing.T) {
	a, b := newSite(t), newSite(t)
	put := func(s *site, base int64, records int, epoch int32, p audit.Producer) {
		s.log.Place(s.decide(records, p, []byte("batch")), audit.Placement{BaseOffset: base, Leader: audit.LeaderEpochOf(epoch)})
	}
	first := audit.Producer{} // as a cluster's very first producer is numbered
	put(a, 0, 10, 4, first)
	put(a, 10, 10, 4, nobody)
	put(a, 0, 10, 5, first) // sent again to the next leader
	put(b, 15, 10, 5, nobody)
	put(b, 25, 5, 5, nobody)
	put(a, 25, 5, -1, nobody)
	for i := range int32(3 * recently) { // each but the first was not sent before
		put(a, 30+int64(i), 1, 5, audit.Producer{ProducerID: 9, BaseSequence: i})
	}

	got := judge(t, stored(0, 30+3*recently), nil, a, b)
	want := []Finding{{Kind: Overlap, First: 15, Last: 19, Epochs: []int32{4, 5}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestDecisionsBeyondTheEndAreTold: the end is asked for again, since decisions that were
// read after it are about newer records.
func TestDecisionsBeyondTheEndAreTold(t *testing.T) {
	s := newSite(t)
	s.topic = [16]byte{1}
	s.store(100, 10) // of a topic that was deleted
	s.topic = [16]byte{2}
	s.store(0, 10)
	s.store(14, 4)
	s.store(20, 5)

	gone := errors.New("the broker is gone")
	reach := func(end int64, err error) func(context.Context, int64) (int64, error) {
		return func(_ context.Context, offset int64) (int64, error) {
			if offset != 25 {
				t.Errorf("asked for offset %d", offset)
			}
			return end, err
		}
	}
	for _, tc := range []struct {
		what  string
		end   int64
		reach func(context.Context, int64) (int64, error)
		want  []Finding
	}{
		{"a partition that was cut", 10, reach(10, nil), []Finding{{Kind: Beyond, First: 14, Last: 24}}},
		{"within a batch", 10, reach(16, nil), []Finding{{Kind: Beyond, First: 16, Last: 24}}},
		{"newer decisions", 10, reach(25, nil), nil},
		{"more than they know", 10, reach(40, nil), nil},
		{"nothing is left", 0, reach(0, nil), []Finding{{Kind: Beyond, First: 0, Last: 24}}},
		{"nobody to ask again", 10, nil, []Finding{{Kind: Beyond, First: 14, Last: 24}}},
	} {
		p := stored(0, tc.end)
		p.Topic, p.Reach = s.topic, tc.reach
		if got := judge(t, p, nil, s); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, want %+v", tc.what, got, tc.want)
		}
	}

	c := new(Coverage)
	if err := c.Read(t.Context(), s.log.Reader()); err != nil {
		t.Fatal(err)
	}
	p := stored(0, 10)
	p.Topic, p.Reach = s.topic, reach(10, gone)
	if _, err := c.Judge(t.Context(), p, nil); !errors.Is(err, gone) {
		t.Errorf("a broker that cannot be asked again: %v", err)
	}
}

// TestWhatLiesBeforeTheEraIsNoBypass: and everything behind it is, also where the first
// batches of the gateways were refused, so that no decision names an offset.
func TestWhatLiesBeforeTheEraIsNoBypass(t *testing.T) {
	p := stored(0, 40, batch(0, 10, 0, nobody), batch(10, 5, 0, nobody), batch(15, 5, 0, nobody), batch(30, 10, 0, nobody))
	kinds := func(found []Finding) (kinds []Kind) {
		for _, f := range found {
			kinds = append(kinds, f.Kind)
		}
		return kinds
	}

	for _, tc := range []struct {
		what string
		do   func(a, b *site)
		want []Kind
	}{
		{"an era", func(a, _ *site) { a.begin(10); a.store(20, 10) }, []Kind{BeforeEra, Bypass, Bypass, Bypass}},
		{"of two gateways the earliest", func(a, b *site) { a.begin(15); b.begin(10); a.store(20, 10) }, []Kind{BeforeEra, Bypass, Bypass, Bypass}},
		{"an era alone", func(a, _ *site) { a.begin(15) }, []Kind{BeforeEra, BeforeEra, Bypass, Nothing, Bypass}},
		{"an era from the first offset on", func(a, _ *site) { a.begin(0); a.store(20, 10) }, []Kind{Bypass, Bypass, Bypass, Bypass}},
		{"an era that began behind decisions", func(a, _ *site) { a.store(10, 5); a.begin(40); a.store(20, 10) }, []Kind{BeforeEra, Bypass, Bypass}},
		{"no era", func(a, _ *site) { a.store(20, 10) }, []Kind{Before, Before, Before, Bypass}},
	} {
		a, b := newSite(t), newSite(t)
		tc.do(a, b)
		if got := kinds(judge(t, p, nil, a, b)); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.what, got, tc.want)
		}
	}
}

// TestTopicMadeAnewHasAnotherEra: of a topic that was deleted it says that the gateway was
// there before the one which has the name now.
// TestKnownGapsAreNotReadAgain: what lies across the end of what is known is read from there.
func TestKnownGapsAreNotReadAgain(t *testing.T) {
	a := newSite(t)
	a.store(2, 2)
	a.flush()
	c := new(Coverage)
	if err := c.Read(t.Context(), a.log.Reader()); err != nil {
		t.Fatal(err)
	}

	p := stored(0, 10, batch(6, 4, 0, nobody))
	p.Known = 6
	p.Batch = func(_ context.Context, offset int64) ([]byte, error) {
		if offset < p.Known {
			t.Errorf("offset %d is read", offset)
		}
		return batch(6, 4, 0, nobody), nil
	}
	got, err := c.Judge(t.Context(), p, nil)
	want := []Finding{
		{Kind: Known, First: 0, Last: 1},
		{Kind: Known, First: 4, Last: 5},
		{Kind: Bypass, First: 6, Last: 9, Records: 4, ProducerID: -1},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPrunedLogCallsNothingBypassThatItMayHaveKnown: what was decided, and is kept longer
// by the topic than by the log. What the log would still have is a bypass all the same.
func TestPrunedLogCallsNothingBypassThatItMayHaveKnown(t *testing.T) {
	for name, tells := range map[string]bool{"decisions tell the topic's id": true, "they do not": false} {
		t.Run(name, func(t *testing.T) {
			a, b := newSite(t), newSite(t)
			topic := [16]byte{5}
			era := audit.NewEra(audit.Era{Target: audit.Target{Cluster: at.Cluster, Topic: at.Topic, TopicID: topic, Partition: at.Partition}})
			for _, s := range []*site{a, b} {
				if tells {
					s.topic = topic
				}
				if err := s.log.Record(t.Context(), era); err != nil {
					t.Fatal(err)
				}
			}
			const records = 400
			for i := range int64(records) {
				a.store(i, 1)
			}
			b.store(records, 5)
			b.store(records+7, 1)
			a.flush()

			p := stored(0, records+8, batch(0, 1, 0, nobody), batch(records+5, 2, 0, nobody))
			p.Topic = topic
			whole := judge(t, p, nil, a, b)
			if len(whole) != 1 || whole[0].Kind != Bypass || whole[0].First != records+5 {
				t.Fatalf("before anything was removed: %+v", whole)
			}

			done, err := audit.Prune(t.Context(), a.dir, audit.Pruning{Cut: audit.Cut{Segment: 3}, Keys: [][32]byte{testKey}})
			if err != nil || len(done.Segments) == 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			got := judge(t, p, nil, a, b)
			if len(got) != 3 || got[0].Kind != Before || got[0].First != 0 || got[1].Kind != Nothing || got[2].Kind != Bypass || got[2].First != records+5 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestTopicMadeAnewHasAnotherEra(t *testing.T) {
	s := newSite(t)
	s.topic = [16]byte{1}
	s.begin(8)
	s.topic = [16]byte{2}
	s.begin(4)
	p := stored(0, 8, batch(0, 4, 0, nobody), batch(4, 4, 0, nobody))

	p.Topic = [16]byte{1}
	if got := judge(t, p, nil, s); len(got) != 2 || got[0].Kind != Bypass || got[1].Kind != Bypass {
		t.Errorf("another topic was there: %+v", got)
	}
	alone := newSite(t)
	alone.topic = [16]byte{2}
	alone.begin(4)
	p.Topic = [16]byte{2}
	if got := judge(t, p, nil, alone); len(got) != 2 || got[0].Kind != BeforeEra || got[1].Kind != Bypass {
		t.Errorf("%+v", got)
	}
}

// TestTopicMadeAnewIsAnother: decisions about a topic that was deleted say nothing about
// the records of the next one with its name, which begins with the same offsets.
func TestTopicMadeAnewIsAnother(t *testing.T) {
	s := newSite(t)
	old, now := [16]byte{1}, [16]byte{2}
	s.topic = old
	s.store(0, 9)
	s.decide(2, audit.Producer{ProducerID: 9, BaseSequence: 4}, []byte("unanswered"))
	s.topic = now
	s.store(4, 3)

	p := stored(0, 9, batch(0, 4, 0, nobody), batch(7, 2, 0, audit.Producer{ProducerID: 9, BaseSequence: 4}))
	for _, tc := range []struct {
		what  string
		topic [16]byte
		want  []Finding
	}{
		{"the new topic", now, []Finding{{Kind: Bypass, First: 0, Last: 3, Records: 4, ProducerID: -1}, {Kind: Bypass, First: 7, Last: 8, Records: 2, ProducerID: 9}}},
		{"the old topic", old, nil},
		{"a third topic", [16]byte{3}, []Finding{
			{Kind: Bypass, First: 0, Last: 3, Records: 4, ProducerID: -1},
			{Kind: Nothing, First: 4, Last: 6},
			{Kind: Bypass, First: 7, Last: 8, Records: 2, ProducerID: 9},
		}},
	} {
		p.Topic = tc.topic
		if got := judge(t, p, nil, s); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", tc.what, got, tc.want)
		}
	}

	// A decision that tells no id counts for whatever topic is there.
	s.topic = [16]byte{}
	s.store(0, 4)
	p.Topic = now
	if got := judge(t, p, nil, s); len(got) != 1 || got[0].First != 7 {
		t.Errorf("%+v", got)
	}
}

func TestPendingBatchWithoutProducerIsKnownByItsMAC(t *testing.T) {
	s := newSite(t)
	s.store(0, 5)
	mine, other := batch(5, 2, 0, nobody), batch(5, 3, 0, nobody)
	produced, err := recordbatch.NewCodec(recordbatch.Limits{}).AsProduced(nil, mine)
	if err != nil {
		t.Fatal(err)
	}
	s.decide(2, nobody, recordbatch.ContentEvidence(produced))

	for _, tc := range []struct {
		what string
		raw  []byte
		keys [][32]byte
		want Kind
	}{
		{"the batch", mine, [][32]byte{testKey}, Pending},
		{"another batch", other, [][32]byte{testKey}, Bypass},
		{"the batch, without the key", mine, nil, Bypass},
		{"the batch, by another key", mine, [][32]byte{{1}}, Bypass},
	} {
		h, err := recordbatch.ParseHeader(tc.raw)
		if err != nil {
			t.Fatal(err)
		}
		got := judge(t, stored(0, 5+int64(h.NumRecords), tc.raw), tc.keys, s)
		if len(got) != 1 || got[0].Kind != tc.want {
			t.Errorf("%s: %+v", tc.what, got)
		}
	}
}

func TestForgedRecordAmongAMillionIsFoundWithoutReadingThem(t *testing.T) {
	s := newSite(t)
	for i := range 1000 {
		if i != 700 {
			s.log.Place(s.decide(1000, nobody, []byte("batch")), audit.Placement{BaseOffset: int64(i * 1000)})
		}
	}
	asked := 0
	p := stored(0, 1_000_000, batch(700_000, 1000, 0, nobody))
	inner := p.Batch
	p.Batch = func(ctx context.Context, offset int64) ([]byte, error) { asked++; return inner(ctx, offset) }
	got := judge(t, p, nil, s)
	if len(got) != 1 || got[0].Kind != Bypass || got[0].First != 700_000 || got[0].Records != 1000 || asked != 1 {
		t.Errorf("%d batches were read: %+v", asked, got)
	}
}

func TestPartitionThatCannotBeReadIsNotFine(t *testing.T) {
	s := newSite(t)
	s.store(0, 5)
	gone := errors.New("the broker is gone")
	p := &Partition{At: at, End: 6, Batch: func(context.Context, int64) ([]byte, error) { return nil, gone }}
	s.flush()
	c := new(Coverage)
	if err := c.Read(t.Context(), s.log.Reader()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Judge(t.Context(), p, nil); !errors.Is(err, gone) {
		t.Error(err)
	}
	p.Batch = func(context.Context, int64) ([]byte, error) { return []byte("garbage"), nil }
	if _, err := c.Judge(t.Context(), p, nil); err == nil {
		t.Error("garbage is fine")
	}
}
