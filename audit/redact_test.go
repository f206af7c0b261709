package audit

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit/evidence"
)

// redactedBatch is any batch, with some of its caller taken out.
func redactedBatch(r *rand.Rand) *BatchEntry {
	b := randomBatch(r)
	for p := PlacePrincipal; p < PlaceDetail; p++ {
		if r.IntN(2) == 0 {
			continue
		}
		b.Redacted = append(b.Redacted, Redacted{p, evidence.Name{byte(r.IntN(9)), 1}, Digest{byte(r.IntN(3)), 2}})
		switch p {
		case PlacePrincipal:
			b.Principal = ""
		case PlaceClientID:
			b.ClientID = ""
		case PlaceSource:
			b.Source = ""
		case PlaceCertificate:
			b.TLS.Fingerprint = Fingerprint{}
		}
	}
	return b
}

// entriesOf reads entries as of a rewritten segment.
func entriesOf(entries []byte, strs []string, fn func(*Entry) error) error {
	f := Frame{strs: strs, memory: new(frameMemory), payload: payload{firstSeq: 1, base: 77, entries: entries, redacts: true}}
	return f.Each(fn)
}

func TestRedactedEntriesReadBackAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	d := newDict()
	for range 500 {
		want := redactedBatch(r)
		enc := encoder{dict: d}
		enc.batch(want, 77)
		err := entriesOf(appendEntry(nil, enc.out), d.strs, func(e *Entry) error {
			if e.Seq != 1 || !reflect.DeepEqual(e.Batch, want) {
				t.Fatalf("got %+v\nwant %+v", e.Batch, want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzRedactedEntry: what is taken is in its one form, and nothing stands where it says
// that something was taken out.
func FuzzRedactedEntry(f *testing.F) {
	d := newDict()
	for i := range 20 {
		enc := encoder{dict: d}
		enc.batch(redactedBatch(rand.New(rand.NewPCG(uint64(i), 3))), 77)
		f.Add(appendEntry(nil, enc.out))
		enc.out = nil
		enc.control(&ControlEntry{Kind: KindAdmin, Steps: []Step{{Name: "a"}, {Name: "b", Detail: "c"}}, Redacted: Redactions{
			{PlacePrincipal, evidence.Name{1}, Digest{2}}, {PlaceDetail, evidence.Name{3}, Digest{2}}}}, 77)
		f.Add(appendEntry(nil, enc.out))
	}

	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		dict := newDict()
		n := 0
		name := func(value string) evidence.Name { return evidence.NameOf(evidence.Salt{1}, value) }
		var leaves []string
		err := entriesOf(b, d.strs, func(e *Entry) error {
			enc := encoder{dict: dict}
			rs := Redactions(nil)
			switch {
			case e.Batch != nil:
				enc.batch(e.Batch, 77)
				rs = e.Batch.Redacted
			case e.Control != nil:
				enc.control(e.Control, 77)
				rs = e.Control.Redacted
			default:
				enc.bind(e.Bind, 77)
			}

			for i := range rs {
				if rs[i].Name == (evidence.Name{}) || i > 0 && rs[i].Place <= rs[i-1].Place {
					t.Fatalf("took %+v", rs)
				}
			}
			l := e.Leaf(name)
			leaves = append(leaves, string(l.Append(nil)))
			again = appendEntry(again, enc.out)
			n++
			return nil
		})
		if err != nil {
			return
		}

		err = entriesOf(again, dict.strs, func(e *Entry) error {
			l := e.Leaf(name)
			if leaves[0] != string(l.Append(nil)) {
				t.Fatal("written again it is another")
			}
			leaves = leaves[1:]
			return nil
		})
		if err != nil || len(leaves) != 0 {
			t.Fatalf("%v, %d entries are left", err, len(leaves))
		}
	})
}

func TestWhatIsRedactedIsOfRewrittenSegmentsAlone(t *testing.T) {
	enc := encoder{dict: newDict()}
	enc.batch(&BatchEntry{Caller: Caller{Redacted: Redactions{{PlacePrincipal, evidence.Name{1}, Digest{2}}}}}, 0)
	p := payload{firstSeq: 1, entries: appendEntry(nil, enc.out)}
	if err := p.each(func(rawEntry) error { return nil }); err == nil || !strings.Contains(err.Error(), "kind 18") {
		t.Errorf("got %v", err)
	}

	p.redacts = true
	p.entries = appendEntry(nil, []byte{byte(kindRedacted), byte(kindBind), 1, 0, 0})
	if err := p.each(func(rawEntry) error { return nil }); err == nil {
		t.Error("took a redacted binding")
	}

	// The writer takes none: only an erasure writes them.
	redacted := Redactions{{PlacePrincipal, evidence.Name{1}, Digest{2}}}
	if err := (&BatchEntry{Caller: Caller{Redacted: redacted}}).validate(); err == nil {
		t.Error("a batch passed")
	}
	if err := (&ControlEntry{Kind: KindStart, Redacted: redacted}).validate(); err == nil {
		t.Error("a control entry passed")
	}
}
