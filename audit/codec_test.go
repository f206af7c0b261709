package audit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

func TestClientsCannotOutgrowTheDictionary(t *testing.T) {
	d := newDict()
	e := encoder{dict: d}
	for i := range maxDictStrings + 100 {
		e.out = e.out[:0]
		e.defs = e.defs[:0]
		e.str(RoleClient, fmt.Sprintf("client-%d", i))
	}

	if len(d.strs) > maxDictStrings || d.bytes > maxDictBytes || d.overflow&RoleClient == 0 {
		t.Fatalf("%d strings, %d bytes, overflow %b", len(d.strs), d.bytes, d.overflow)
	}
	if s := newSummary(1, d); !s.Has(RoleClient, "never seen") || s.Has(RolePrincipal, "never seen") {
		t.Fatal("a seal must not deny strings that it does not list")
	}

	c := cursor{b: e.out, strs: d.strs}
	if got := c.str(RoleClient); got != fmt.Sprintf("client-%d", maxDictStrings+99) {
		t.Fatalf("got %q", got)
	}
}

// TestKnownTLSFactsCostAReferenceEach: the strings are written once for each
// segment.
func TestKnownTLSFactsCostAReferenceEach(t *testing.T) {
	enc := encoder{dict: newDict()}
	size := func(e *BatchEntry) int {
		enc.out = enc.out[:0]
		enc.defs = enc.defs[:0]
		enc.batch(e, 0)
		return len(enc.out) + len(enc.defs)
	}

	plain := tenRecords()
	secure := tenRecords()
	plain.Time, secure.Time = time.UnixMicro(1), time.UnixMicro(1)
	carol := Fingerprint{0xca, 0x01}
	secure.TLS = TLS{"TLS 1.3", "TLS_AES_128_GCM_SHA256", carol}
	size(plain)
	without := size(plain)
	first := size(secure)
	if again := size(secure); again != without+3 || first < again+len(carol) {
		t.Errorf("%d bytes without, %d at first, then %d", without, first, again)
	}
	if n := testing.AllocsPerRun(100, func() { size(secure) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFlagOfTLSFactsWithoutAnyIsMalformed(t *testing.T) {
	enc := encoder{dict: newDict()}
	e := tenRecords()
	e.TLS = TLS{Version: "TLS 1.3"}
	enc.batch(e, 0)
	strs := slices.Clone(enc.dict.strs)
	var got BatchEntry
	read := cursor{b: enc.out[1:], strs: strs}
	if err := read.batch(&got, 0); err != nil || got.TLS != e.TLS {
		t.Fatalf("got %+v, %v", got.TLS, err)
	}

	version := slices.Index(enc.out, byte(slices.Index(strs, "TLS 1.3")+refFirst))
	enc.out[version] = refEmpty
	read = cursor{b: enc.out[1:], strs: strs}
	if err := read.batch(&got, 0); err == nil {
		t.Errorf("took %+v", got.TLS)
	}
}

func BenchmarkMAC(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			m, err := newMACer([32]byte{1, 2, 3}, segment.Epoch{1})
			if err != nil {
				b.Fatal(err)
			}

			batch := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()

			for b.Loop() {
				m.next(batch)
			}
		})
	}
}

// tenRecords is an entry with a string in every place.
func tenRecords() *BatchEntry {
	e := &BatchEntry{
		Caller:    Caller{ConnID: 7, Principal: "User:alice", ClientID: "payments-1", Source: "10.0.0.9"},
		Target:    Target{Cluster: "main", Topic: "cards", TopicID: [16]byte{9, 8, 7}},
		Authority: Authority{Modules: []ModuleRef{{Name: "gdpr", Digest: Digest{0xaa, 1}}}, PolicyRevision: "sha256:00ff", GrantDigest: Digest{5}},
		Producer:  Producer{ProducerID: 4000, ProducerEpoch: 1, BaseSequence: 17},
		Payload:   Payload{Records: 10, Codec: 3, BytesIn: 1000, BytesOut: 900},
		Outcome:   OutcomeModified,
	}

	e.Add(Ruling{}, 9)
	e.Add(Ruling{Verdict: Modified, Reason: "masked"}, 1)
	return e
}

// TestSealsReadBackAsWritten, also those from before they counted.
func TestSealsReadBackAsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := newState(1)
	for i := range 300 {
		e := randomBatch(r)
		enc := encoder{dict: s.dict}
		enc.batch(e, 0)
		s.noteBatch(e)

		if ref := s.open[uint64(i+1)]; ref != nil && i%3 > 0 {
			b, _ := ref.bind(Placement{BaseOffset: int64(i), ErrorCode: int16(i % 2)})
			s.noteBind(&b)
		}
	}

	s.noteControl(&ControlEntry{Kind: KindOpen, Time: time.UnixMicro(5), Opening: Opening{Epoch: [16]byte{1}}})

	for _, older := range []bool{false, true} {
		want := s.sum.seal(older)
		got, err := parseSeal(want)
		if err != nil {
			t.Fatal(err)
		}
		if again := got.seal(older); !bytes.Equal(again, want) {
			t.Fatalf("older %v: written again it is another", older)
		}

		list, ok := got.Tallies()
		if ok == older || older != (len(list) == 0) || older != (len(got.opened) == 0) || older != (len(got.refused) == 0) {
			t.Errorf("older %v: %d counts, %d openings, %d refused", older, len(list), len(got.opened), len(got.refused))
		}
	}
}

// TestClientsCannotOutgrowTheCounts: a seal without them is read all the same.
func TestClientsCannotOutgrowTheCounts(t *testing.T) {
	s := newSummary(1, newDict())
	for i := range maxTallyCells {
		s.noteBatch(&BatchEntry{Target: Target{Topic: fmt.Sprint(i)}, Outcome: OutcomePolicyDenied, Reason: "denied"})
	}

	got, err := parseSeal(s.seal(false))
	if err != nil {
		t.Fatal(err)
	}
	if list, ok := got.Tallies(); ok || len(list) != 0 {
		t.Errorf("%d counts are kept", len(list))
	}
}
