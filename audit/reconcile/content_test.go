package reconcile

import (
	"context"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// forward decides a batch and says that it is stored. What is stored in truth is the
// caller's.
func (s *site) forward(raw []byte, kind audit.Evidence) {
	s.t.Helper()
	h, err := recordbatch.ParseHeader(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	e := &audit.BatchEntry{
		Target:   audit.Target{Cluster: at.Cluster, Topic: at.Topic, TopicID: s.topic, Partition: at.Partition},
		Producer: nobody,
		Payload:  audit.Payload{Records: int(h.NumRecords)},
		Evidence: kind,
		Outcome:  audit.OutcomePassed,
	}
	e.Add(audit.Ruling{}, int(h.NumRecords))
	ticket := s.log.Append(e, partOf(raw, kind))
	s.log.Place(ticket.Seq(), audit.Placement{BaseOffset: h.BaseOffset})
}

func compareContent(t *testing.T, p *Partition, by Rewrites, keys [][32]byte, sites ...*site) Compared {
	t.Helper()
	c := &Coverage{Contents: &Contents{Keys: keys, Of: func(c audit.Coord) bool { return c == at }}}
	for _, s := range sites {
		s.flush()
		if err := c.Read(t.Context(), s.log.Reader()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := c.Compare(t.Context(), p, by)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// touched is a batch with another byte in its last record, and the checksum of that.
func touched(raw []byte) []byte {
	out := slices.Clone(raw)
	out[len(out)-2] ^= 1
	return summed(out)
}

// summed gives a batch the checksum of its content.
func summed(raw []byte) []byte {
	h, err := recordbatch.ParseHeader(raw)
	if err != nil {
		panic(err)
	}
	return recordbatch.Append(nil, h, raw[61:])
}

// thinned is a batch as a cleaner leaves it that took a record out of it.
func thinned(raw []byte) []byte {
	out := slices.Clone(raw)
	binary.BigEndian.PutUint32(out[57:], binary.BigEndian.Uint32(out[57:])-1)
	return summed(out)
}

// TestEachBatchIsComparedWithItsDecision: whatever was changed shows, whichever part is
// evidence; and what a broker does to its batches is told from that.
func TestEachBatchIsComparedWithItsDecision(t *testing.T) {
	a, b := newSite(t), newSite(t)
	var was [][]byte
	for i := range int64(9) {
		was = append(was, batch(10*i, 10, 0, nobody))
		[]*site{a, b}[i%2].forward(was[i], audit.Evidence(i%2))
	}
	a.store(90, 10) // with a MAC of something else
	keys := [][32]byte{{1}, testKey}

	whole := stored(0, 90, was...)
	if r := compareContent(t, whole, Rewrites{}, keys, a, b); !reflect.DeepEqual(r, Compared{Same: 9}) {
		t.Errorf("nothing was changed: %+v", r)
	}
	if r := compareContent(t, stored(45, 90, was[4:]...), Rewrites{}, keys, a, b); !reflect.DeepEqual(r, Compared{Same: 5, Removed: 4}) {
		t.Errorf("the first are not kept: %+v", r)
	}
	if r := compareContent(t, whole, Rewrites{}, keys[:1], a, b); !reflect.DeepEqual(r, Compared{Unkeyed: 9}) {
		t.Errorf("by another key: %+v", r)
	}

	for i := range was {
		for name, change := range map[string]func([]byte) []byte{"touched": touched, "thinned": thinned, "missing": func([]byte) []byte { return nil }} {
			now := slices.Clone(was)
			if now[i] = change(was[i]); now[i] == nil {
				now = slices.Delete(now, i, i+1)
			}
			p := stored(0, 90, now...)

			for _, by := range []Rewrites{{}, {Compacts: true}, {Compresses: true}} {
				r := compareContent(t, p, by, keys, a, b)
				excused := by.Compacts && name != "touched" || by.Compresses && name != "missing"
				if excused && r.Rewritten == 1 && r.Different == 0 && r.Same == 8 {
					continue
				}
				if excused || r.Different != 1 || r.Same != 8 || len(r.Examples) != 1 {
					t.Errorf("batch %d %s, %+v: %+v", i, name, by, r)
					continue
				}
				d := r.Examples[0]
				if d.First != int64(10*i) || d.Last != d.First+9 || d.Missing != (name == "missing") || d.Decision == "" {
					t.Errorf("batch %d %s: %+v", i, name, d)
				}
			}
		}
	}
}

// TestBatchThatWasSentAgainIsComparedWithEachDecision: only one of them was stored.
func TestBatchThatWasSentAgainIsComparedWithEachDecision(t *testing.T) {
	a := newSite(t)
	raw := batch(0, 3, 0, nobody)
	a.forward(raw, audit.EvidenceContent)
	a.forward(touched(raw), audit.EvidenceContent)
	for _, one := range [][]byte{raw, touched(raw)} {
		if r := compareContent(t, stored(0, 3, one), Rewrites{}, [][32]byte{testKey}, a); !reflect.DeepEqual(r, Compared{Same: 1}) {
			t.Errorf("%+v", r)
		}
	}
	if r := compareContent(t, stored(0, 3, thinned(raw)), Rewrites{}, [][32]byte{testKey}, a); r.Different != 1 {
		t.Errorf("%+v", r)
	}
}

// TestContentOfAnotherTopicIsNotCompared, nor what has no MAC, or is not there yet.
func TestContentOfAnotherTopicIsNotCompared(t *testing.T) {
	a := newSite(t)
	a.topic = [16]byte{1}
	a.forward(batch(0, 3, 0, nobody), audit.EvidenceContent)
	a.topic = [16]byte{2}
	a.log.Place(a.decide(2, nobody, nil), audit.Placement{BaseOffset: 0})
	a.forward(batch(7, 3, 0, nobody), audit.EvidenceContent)

	p := stored(0, 7, batch(0, 2, 0, nobody))
	p.Topic = [16]byte{2}
	if r := compareContent(t, p, Rewrites{}, [][32]byte{testKey}, a); !reflect.DeepEqual(r, Compared{Unmarked: 1}) {
		t.Errorf("%+v", r)
	}
}

// TestExamplesOfDifferencesAreBounded, and their number is not.
func TestExamplesOfDifferencesAreBounded(t *testing.T) {
	a := newSite(t)
	for i := range int64(maxExamples + 5) {
		a.forward(batch(i, 1, 0, nobody), audit.EvidenceHeader)
	}
	r := compareContent(t, stored(0, maxExamples+5), Rewrites{}, [][32]byte{testKey}, a)
	if r.Different != maxExamples+5 || len(r.Examples) != maxExamples {
		t.Errorf("%d, of which %d are told", r.Different, len(r.Examples))
	}
}

func TestContentThatCannotBeReadIsNotFine(t *testing.T) {
	a := newSite(t)
	a.forward(batch(0, 1, 0, nobody), audit.EvidenceHeader)
	a.flush()
	c := &Coverage{Contents: &Contents{Keys: [][32]byte{testKey}, Of: func(audit.Coord) bool { return true }}}
	if err := c.Read(t.Context(), a.log.Reader()); err != nil {
		t.Fatal(err)
	}

	p := stored(0, 1)
	gone := errors.New("the broker is gone")
	p.Batch = func(context.Context, int64) ([]byte, error) { return nil, gone }
	if _, err := c.Compare(t.Context(), p, Rewrites{}); !errors.Is(err, gone) {
		t.Error(err)
	}
	p.Batch = func(context.Context, int64) ([]byte, error) {
		return []byte("no batch at all, and long enough to be a header of one: 1234567"), nil
	}
	if _, err := c.Compare(t.Context(), p, Rewrites{}); err == nil {
		t.Error("what is no batch is fine")
	}
}
