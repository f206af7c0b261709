package audit

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// randomBatch is any entry that validate takes.
func randomBatch(r *rand.Rand) *BatchEntry {
	text := func(n int) string { return strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(n)) }
	e := &BatchEntry{Time: time.UnixMicro(r.Int64N(1 << 52)).UTC(), Direction: Direction(r.IntN(2)),
		Caller:  Caller{ConnID: r.Uint64(), Principal: text(400), ClientID: text(20), Source: text(20)},
		Target:  Target{Cluster: text(3), Topic: text(9), TopicID: [16]byte{byte(r.IntN(2))}, Partition: r.Int32()},
		Outcome: Outcome(r.IntN(12)), Reason: text(5), nonce: r.Uint64N(3),
		Payload:  Payload{Codec: uint8(r.IntN(5)), BytesIn: int(r.Int32()), BytesOut: int(r.Int32())},
		Producer: Producer{ProducerID: r.Int64(), ProducerEpoch: int16(r.Uint32()), BaseSequence: int32(r.Uint32())}}

	if r.IntN(3) == 0 {
		e.Producer = Producer{-1, -1, -1}
	}
	if r.IntN(2) == 0 {
		e.TLS = TLS{Version: text(9), Cipher: text(40), Fingerprint: Fingerprint{byte(r.IntN(2))}}
	}
	if e.nonce != 0 {
		e.mac, e.Evidence = [16]byte{byte(r.Uint32())}, Evidence(r.IntN(2))
	}

	for range r.IntN(4) {
		e.Modules = append(e.Modules, ModuleRef{text(12), Digest{byte(r.Uint32()), 1}})
	}
	for range r.IntN(60) {
		n := 1 + r.IntN(1<<r.IntN(20))
		g := Ruling{Verdict: Verdict(r.IntN(5)), Reason: text(6), Route: text(3)}
		if len(e.Modules) == 0 {
			g.Verdict = Passed
		} else {
			g.Module = uint8(r.IntN(len(e.Modules)))
		}

		e.Add(g, n)
		e.Records += n
	}

	return e
}

func TestEntriesReadBackAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	d := newDict()
	for i := range 1000 {
		want := randomBatch(r)
		if err := want.validate(); err != nil {
			t.Fatal(err)
		}

		base := r.Int64N(1 << 52)
		e := encoder{dict: d}
		e.batch(want, base)

		if n := len(e.out) + len(e.defs) + 10; n > want.sizeBound() {
			t.Fatalf("entry %d takes %d bytes, over its bound %d", i, n, want.sizeBound())
		}
		var got BatchEntry
		c := cursor{b: e.out[1:], strs: d.strs}
		if err := c.batch(&got, base); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if !reflect.DeepEqual(&got, want) {
			t.Fatalf("entry %d:\n got %+v\nwant %+v", i, got, *want)
		}
	}
}

func TestBindingsReadBackAsWritten(t *testing.T) {
	d := newDict()
	for _, want := range []Bind{
		{Seq: 1, Coord: Coord{"main", "a", 0}, Base: 0, count: 1},
		{Seq: 1 << 40, Coord: Coord{"eu", "a", 1 << 30}, Base: 1 << 50, count: 1 << 30, AppendTime: 1 << 51, Recovered: true, Leader: LeaderEpochOf(0)},
		{Seq: 2, Coord: Coord{"main", "a", 0}, Base: 0, count: 1, Leader: LeaderEpochOf(math.MaxInt32)},
		{Seq: 7, Coord: Coord{Topic: "b"}, Base: -1, ErrorCode: -1},
		{Seq: 7, Coord: Coord{Topic: "c"}, Route: "c", Base: 9, count: 2, ErrorCode: 87, AppendTime: 5},
	} {
		e := encoder{dict: d}
		e.bind(&want, 1000)
		var got Bind
		c := cursor{b: e.out[1:], strs: d.strs}
		if err := c.bind(&got, 1000); err != nil || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func FuzzBatchEntry(f *testing.F) {
	d := newDict()
	for i := range 20 {
		e := encoder{dict: d}
		e.batch(randomBatch(rand.New(rand.NewPCG(uint64(i), 3))), 77)
		f.Add(e.out[1:])
	}

	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again BatchEntry
		c := cursor{b: b, strs: d.strs}
		if c.batch(&e, 77) != nil {
			return
		}

		enc := encoder{dict: newDict()}
		enc.batch(&e, 77)
		c = cursor{b: enc.out[1:], strs: enc.dict.strs}
		if err := c.batch(&again, 77); err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%v:\n got %+v\nwant %+v", err, again, e)
		}

		few := e.bounded()
		few.Spans(few.RuledOutcomes())
	})
}

// bounded keeps a fuzzed entry from making millions of rows.
func (e *BatchEntry) bounded() *BatchEntry {
	if e.Records > 1000 {
		return &BatchEntry{}
	}
	return e
}

// FuzzPayload goes past checksum and chain, which a fuzzer does not guess.
func FuzzPayload(f *testing.F) {
	for _, payload := range payloads(f) {
		f.Add(payload)
	}

	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePayload(b)
		if err != nil {
			return
		}
		if _, err := parseSeal(b); err == nil {
			return
		}

		x := newChart(segment.Header{FirstSeq: p.firstSeq})
		if err := x.add(&segment.Frame{Payload: b, Raw: b}); err != nil {
			return
		}

		s := newState(p.firstSeq)
		if err := s.apply(&segment.Frame{Payload: b, Raw: b}); err == nil && s.seq != x.next {
			t.Fatalf("replay comes to %d, reader to %d", s.seq, x.next)
		}
	})
}

// payloads are those of all frames of a small log.
func payloads(f *testing.F) (out [][]byte) {
	dir := f.TempDir()
	l, err := Open(dir, Options{SegmentBytes: minSegmentBytes})
	if err != nil {
		f.Fatal(err)
	}

	for range 300 {
		l.Place(l.Append(tenRecords(), nil).Seq(), Placement{BaseOffset: 5})
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}

	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(names) < 2 {
		f.Fatalf("%d segments, %v", len(names), err)
	}

	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}

		h, _ := segment.ParseHeader(raw)
		w := segment.NewWindow(bytes.NewReader(raw), int64(len(raw)))
		for off := int64(segment.HeaderSize); ; {
			fr, err := segment.ReadFrame(w, &h, off)
			if err != nil {
				break
			}
			out = append(out, bytes.Clone(fr.Payload))
			off = fr.End()
		}
	}

	return out
}

func FuzzDecisionID(f *testing.F) {
	f.Add("gl-0000beef-1z-17")
	f.Add("gl-ffffffff-fzzzzzzzzzzzz")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseDecisionID(s)
		if err == nil && id.String() != s {
			t.Fatalf("%q reads as %q", s, id)
		}
	})
}

func TestDecisionIDsReadBack(t *testing.T) {
	for _, id := range []DecisionID{{0, 1, -1}, {0xffffffff, 1<<64 - 1, 0}, {0xdeadbeef, 31, 499}, {1, 32, 1 << 30}} {
		if got, err := ParseDecisionID(id.String()); err != nil || got != id {
			t.Errorf("%s: got %+v, %v", id, got, err)
		}
	}
	for _, bad := range []string{"", "gl-1-1-1", "gl-00000001-I-1", "gl-00000001-01-1", "gl-00000001-1-01", "gl-00000001-1--1",
		"gl-00000001-gzzzzzzzzzzzz-1", "GL-00000001-1-1", "gl-0000000G-1"} {
		if id, err := ParseDecisionID(bad); err == nil {
			t.Errorf("%q reads as %+v", bad, id)
		}
	}
}
