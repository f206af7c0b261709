package audit

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// briefly writes entries as a frame of a log has them, and reads them back.
func briefly(t testing.TB, c *chunk, d *dict, fn func(*Entry)) {
	t.Helper()
	f := Frame{strs: d.strs, memory: new(frameMemory), payload: payload{firstSeq: c.seq, base: c.base, entries: c.entries}}
	err := f.Each(func(e *Entry) error {
		fn(e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBriefBatchesReadBackAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	d := newDict()
	kinds := []*BatchEntry{randomBatch(r), randomBatch(r), randomBatch(r), randomBatch(r), randomBatch(r)}
	kinds[4].Direction = Consume
	brief := 0
	for range 200 {
		c := &chunk{seq: 1 + r.Uint64N(1000), base: 77}
		var want []BatchEntry
		for range 1 + r.IntN(9) {
			e := *kinds[r.IntN(len(kinds))]
			e.BytesIn = r.IntN(1 << 20)
			e.BytesOut = r.IntN(1 << 20)
			if r.IntN(2) == 0 {
				e.BytesOut = e.BytesIn
			}
			e.BaseSequence += min(r.Int32N(3), 1<<31-1-e.BaseSequence)
			if e.ProducerID < 0 {
				e.BaseSequence = -1
			}
			if e.nonce != 0 && r.IntN(2) == 0 {
				e.nonce = 1 + r.Uint64()>>1
			} else if e.nonce != 0 {
				e.nonce = c.nonce + 1
			}

			enc := c.encoder(d, nil)
			enc.batch(&e, c.base)
			if k := Kind(enc.out[0]); k == kindBriefBatch || k == kindBriefNext {
				brief++
			}
			c.add(&enc)
			want = append(want, e)
		}

		i := 0
		briefly(t, c, d, func(e *Entry) {
			got, written := fmt.Sprintf("%+v", *e.Batch), fmt.Sprintf("%+v", want[i])
			if e.Seq != c.seq+uint64(i) || got != written {
				t.Fatalf("got %d %s\nwant %s", e.Seq, got, written)
			}
			i++
		})
		if i != len(want) {
			t.Fatalf("read %d of %d", i, len(want))
		}
	}

	if brief < 300 {
		t.Errorf("%d batches were brief; want most", brief)
	}
}

func TestBriefBindingsReadBackAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	d := newDict()
	brief := 0
	for range 2000 {
		c := &chunk{seq: 1 + r.Uint64N(1<<40), base: 1_000_000}
		want := Bind{
			Seq:       r.Uint64(),
			Coord:     Coord{"c", "t", r.Int32N(3)},
			Base:      int64(r.Uint64N(1<<40)) - 1,
			count:     r.IntN(3),
			Recovered: r.IntN(2) == 0,
			ErrorCode: int16(r.IntN(3)) - 1,
			Leader:    LeaderEpochOf(r.Int32N(2) - 1),
		}
		if r.IntN(2) == 0 {
			want.AppendTime = 1 + r.Int64N(1<<50)
		}
		if r.IntN(4) == 0 {
			want.Route = "elsewhere"
		}

		enc := c.encoder(d, nil)
		enc.bind(&want, c.base)
		if enc.out[0] == byte(kindBriefBind) {
			brief++
			// What a chart reads of it is what is in it.
			read := cursor{b: enc.out[1:], strs: d.strs, brief: true, first: c.seq}
			w, ok := read.whereabouts(c.base)
			whole := want.whereabouts()
			whole.refs = w.refs
			if !ok || !reflect.DeepEqual(w, whole) || d.named(w.refs.topic) != want.Topic || w.refs.partition != uint32(want.Partition) {
				t.Fatalf("a chart reads %+v, %v of %+v", w, ok, want)
			}
		}

		c.add(&enc)
		briefly(t, c, d, func(e *Entry) {
			if *e.Bind != want {
				t.Fatalf("got %+v\nwant %+v", *e.Bind, want)
			}
		})
	}

	if brief < 1500 {
		t.Errorf("%d bindings were brief; want most", brief)
	}
}

// A chart, which an index is made of, takes just the bindings that a verifier takes.
func TestChartsRefuseTheBriefBindingsThatVerifiersRefuse(t *testing.T) {
	d := newDict()
	enc := encoder{dict: d}
	template := func(flags byte, more ...byte) byte {
		text := slices.Concat([]byte{flags, 0, refFirst, refFirst, 0, refEmpty}, more)
		return byte(enc.define(string(text)))
	}
	d.define("c")
	timed := template(bindHasTime | bindOne)
	led := template(bindHasLeader|bindOne, 0xff, 0xff, 0xff, 0xff, 0x7f)
	fine := template(bindHasLeader|bindHasTime, 5)

	for name, body := range map[string][]byte{
		"an append time of 0":             {timed, 0, 1, 2},
		"a leader epoch of over 31 bits":  {led, 0, 1},
		"fine":                            {fine, 0, 1, 1, 4},
		"bytes behind":                    {fine, 0, 1, 1, 4, 0},
		"a template that is a plain name": {0, 0, 1, 1},
		"a template that is not there":    {77, 0, 1, 1},
		"no template":                     {},
	} {
		var b Bind
		verified := cursor{b: body, strs: d.strs, brief: true, first: 5}
		err := verified.bind(&b, -1)
		charted := cursor{b: body, strs: d.strs, brief: true, first: 5}
		if _, ok := charted.whereabouts(-1); ok != (err == nil) || ok != (name == "fine") {
			t.Errorf("%s: a chart takes it: %v; a verifier: %v", name, ok, err)
		}
	}
}

// Whoever connects anew for each batch must not fill the dictionary, which others need.
func TestConnectionsOfOneBatchMakeNoTemplates(t *testing.T) {
	d := newDict()
	c := &chunk{seq: 1}
	e := tenRecords()
	for i := range 20_000 {
		e.ConnID = uint64(i)
		enc := c.encoder(d, nil)
		enc.batch(e, 0)
	}
	if len(d.templates) > 0 {
		t.Errorf("%d templates", len(d.templates))
	}

	// Of two batches each, they take half of it at most.
	for i := range maxDictStrings {
		e.ConnID = uint64(i) << 32
		for range 2 {
			enc := c.encoder(d, nil)
			enc.batch(e, 0)
		}
	}
	if len(d.templates) > maxTemplates || d.templateBytes > maxTemplateBytes || len(d.templates) < 1000 {
		t.Errorf("%d templates of %d bytes", len(d.templates), d.templateBytes)
	}
	if !d.fits("client-7") {
		t.Error("the dictionary has no room for a client id any more")
	}
}

// A writer that goes on with a segment counts the templates that are in it.
func TestTemplatesAreCountedWhenALogIsOpenedAgain(t *testing.T) {
	dir := t.TempDir()
	var before int
	for range 2 {
		l, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		found := len(l.w.dict.templates)
		if found != before {
			t.Errorf("%d templates were found; there are %d", found, before)
		}

		for range 5 {
			ticket := l.Append(tenRecords(), []byte("x"))
			l.Place(ticket.Seq(), Placement{BaseOffset: 5})
			if err := ticket.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		before = len(l.w.dict.templates)
		if before < 2 {
			t.Errorf("%d templates; want those of a batch and of a binding", before)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What a decision takes where five share a frame, as they do at full load over few
// connections: its entry, its binding, and its part of the frame.
func TestADecisionTakesFewBytes(t *testing.T) {
	const each = 5
	for _, test := range []struct{ records, most int }{{1, 50}, {16, 4 * 16}, {1000, 700}} {
		e := tenRecords()
		e.Rulings, e.Runs = nil, nil
		e.Add(Ruling{Verdict: Modified, Reason: "gdpr.masked"}, test.records)
		e.Records = test.records
		e.BytesIn = 1100 * test.records
		e.BytesOut = e.BytesIn

		d := newDict()
		size := 0
		const frames = 200
		for n := range frames {
			first := uint64(1_000_000 + each*n)
			c := &chunk{seq: first, base: 1_790_000_000_000_000 + int64(n)*1000}
			for i := range each {
				e.nonce = first + uint64(i)
				e.BaseSequence = int32(int(first+uint64(i)) * test.records % (1 << 30))
				e.Time = TimeOf(c.base + int64(i)*90)
				enc := c.encoder(d, nil)
				enc.batch(e, c.base)
				c.add(&enc)

				before := first + uint64(i) - each
				enc = c.encoder(d, nil)
				enc.bind(&Bind{Seq: before, Coord: Coord{e.Cluster, e.Topic, e.Partition}, Base: int64(before) * int64(test.records), count: test.records}, c.base)
				c.add(&enc)
			}
			c.close(first + each)
			size += int(c.size())
		}

		if got := size / (frames * each); got > test.most {
			t.Errorf("a decision about %d records took %d bytes, and %d at most", test.records, got, test.most)
		} else {
			t.Logf("a decision about %d records took %d bytes", test.records, got)
		}
	}
}

// A nonce where there is no MAC would be one that says nothing.
func TestBriefBatchWithoutMACHasNoNonce(t *testing.T) {
	d := newDict()
	c := &chunk{seq: 5, base: 77}
	e := tenRecords()
	e.nonce = 0
	for range 2 {
		enc := c.encoder(d, nil)
		enc.batch(e, c.base)
		c.add(&enc)
	}

	written := c.entries
	last := bytes.LastIndexByte(written, byte(kindBriefBatch))
	for _, other := range []func(){
		func() { written[last] = byte(kindBriefNext) },
		func() { written[last] = byte(kindBriefBatch); written[last+1] = 2 },
	} {
		other()
		f := Frame{strs: d.strs, memory: new(frameMemory), payload: payload{firstSeq: c.seq, base: c.base, entries: written}}
		if err := f.Each(func(*Entry) error { return nil }); !errors.Is(err, errEntry) {
			t.Errorf("it was read: %v", err)
		}
	}
}

// FuzzBrief: what is read by a template is what the same entry is without one.
func FuzzBrief(f *testing.F) {
	d := newDict()
	r := rand.New(rand.NewPCG(15, 16))
	for range 20 {
		e := randomBatch(r)
		c := &chunk{seq: 5, base: 77}
		for range 3 {
			enc := c.encoder(d, nil)
			enc.batch(e, c.base)
			bind := Bind{Seq: 5, Coord: Coord{e.Cluster, e.Topic, e.Partition}, Base: 7, count: e.Records}
			c.add(&enc)
			enc = c.encoder(d, nil)
			enc.bind(&bind, c.base)
			c.add(&enc)
		}
		f.Add(c.entries)
	}

	f.Fuzz(func(t *testing.T, entries []byte) {
		read := Frame{strs: d.strs, memory: new(frameMemory), payload: payload{firstSeq: 5, base: 77, entries: entries}}
		again := &chunk{seq: 5, base: 77}
		plain := newDict()
		var first [][]byte
		_ = read.payload.each(func(r rawEntry) error {
			if r.kind != kindBind {
				return nil
			}

			var b Bind
			verified, charted := r.read(d.strs), r.read(d.strs)
			err := verified.bind(&b, 77)
			if w, ok := charted.whereabouts(77); ok && (err != nil || w.seq != b.Seq || w.place.base != b.Base || w.place.count != uint32(b.count)) {
				t.Fatalf("a chart reads %+v, a verifier %+v, %v", w, b, err)
			}
			return nil
		})

		err := read.Each(func(e *Entry) error {
			enc := encoder{dict: plain}
			switch {
			case e.Batch != nil && e.Batch.Records <= 1000:
				enc.batch(e.Batch, 77)
			case e.Bind != nil:
				enc.bind(e.Bind, 77)
			default:
				return errors.New("another entry")
			}
			again.add(&enc)
			first = append(first, fmt.Appendf(nil, "%d %+v %+v", e.Seq, e.Batch, e.Bind))
			return nil
		})
		if err != nil {
			return
		}

		i := 0
		briefly(t, again, plain, func(e *Entry) {
			if got := fmt.Appendf(nil, "%d %+v %+v", e.Seq, e.Batch, e.Bind); !bytes.Equal(got, first[i]) {
				t.Fatalf("got %s\nwant %s", got, first[i])
			}
			i++
		})
	})
}
