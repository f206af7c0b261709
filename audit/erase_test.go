package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/segment"
)

// The person who asks to be forgotten, as entries know her.
var (
	eve = audit.Personal{
		Principals:   []string{"User:eve"},
		ClientIDs:    []string{"eves-laptop"},
		Sources:      []string{"192.0.2.77"},
		Certificates: []audit.Digest{{0xee, 1}},
	}
	eveValues = []string{"User:eve", "eves-laptop", "192.0.2.77", string(bytes.Repeat([]byte{0xee}, 1)) + "\x01" + strings.Repeat("\x00", 30)}
	gdpr17    = audit.Digest{0x17, 0xab, 0xcd, 0xef}
)

// nameOf are the names of every segment in these tests.
func nameOf(value string) evidence.Name { return evidence.NameOf(evidence.Salt{7}, value) }

func erasing() audit.Erasing {
	return audit.Erasing{Keys: [][32]byte{testKey}, Request: gdpr17, Personal: eve, Names: nameOf}
}

func ofEve(topic string, partition int32, n int) *audit.BatchEntry {
	e := batchOf(topic, partition, n)
	e.Principal, e.ClientID, e.Source = "User:eve", "eves-laptop", "192.0.2.77"
	e.TLS = audit.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Fingerprint: audit.Fingerprint{0xee, 1}}
	return e
}

// withEve is a closed log in memory of several segments, in which every kind of entry
// that somebody asked for is Eve's once.
func withEve(t testing.TB, more int) *memFiles {
	t.Helper()
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: 2 * audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	for _, c := range controlsOf("User:eve") {
		if err := l.Record(t.Context(), c); err != nil {
			t.Fatal(c.Kind, err)
		}
	}

	for i := range more {
		e := batchOf("cards", int32(i), 40)
		if i%2 == 0 {
			e = ofEve("cards", int32(i), 40)
		}
		if i%3 == 0 {
			e.TLS = audit.TLS{Fingerprint: e.TLS.Fingerprint} // no more of TLS than that
		}
		e.Time = noon.Add(time.Duration(i) * time.Minute)
		seq := mustAppend(t, l, e, []byte{byte(i)})
		if i%3 != 0 {
			l.Place(seq, audit.Placement{BaseOffset: int64(i)})
		}
	}

	mustClose(t, l)
	return d
}

// controlsOf is an entry of each kind that Record takes.
func controlsOf(who string) (all []audit.ControlEntry) {
	for k := audit.KindAdmission; k < 32; k++ {
		if k.String() == "unknown" || k == audit.KindOpen || k == audit.KindStanding {
			continue
		}

		c := audit.ControlEntry{
			Kind:      k,
			Subject:   "cards",
			Principal: who,
			Outcome:   "allowed",
			Reason:    "asked",
			Module:    gdpr,
			Steps:     []audit.Step{{Name: "AlterUser", Verdict: "allowed", Detail: "user " + who + ": secret"}, {Name: "x", Verdict: "y"}},
		}
		switch k {
		case audit.KindEra:
			c.Era = &audit.Era{Target: audit.Target{Cluster: "main", Topic: "cards"}, Began: noon}
		case audit.KindAdmission:
			c.Admission = &audit.Admission{Author: audit.Signer{Identity: "ada"}, Grant: audit.Grant{Digest: audit.Digest{9}}}
		case audit.KindConfig, audit.KindAuthority:
			c.Loaded = &audit.Loaded{Files: []audit.File{{Role: "policy", Name: "built in"}}}
		case audit.KindAdoption, audit.KindHold, audit.KindErasure:
			c.Facts = []audit.Fact{{Key: "hold", Value: "1"}}
		}
		all = append(all, c)
	}
	return all
}

// leavesOf are all leaves of a log.
func leavesOf(t testing.TB, d segment.Files) (leaves []string, kinds uint64) {
	t.Helper()
	r := audit.NewReader(d, func() (*segment.Mark, error) { return audit.CommittedMark(d) })
	err := r.Cursor(audit.Position{}).Read(t.Context(), func(f *audit.Frame) error {
		return f.Each(func(e *audit.Entry) error {
			l := e.Leaf(nameOf)
			b := l.Append(nil)
			kinds |= 1 << b[len("guardlock leaf v1\n")]
			leaves = append(leaves, string(b))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return leaves, kinds
}

// eraseAll erases from every finished segment.
func eraseAll(t testing.TB, d segment.Files, e audit.Erasing) (done []audit.Redaction) {
	t.Helper()
	all, _, err := segment.Numbers(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all[:len(all)-1] {
		r, err := audit.EraseIn(d, n, e)
		if err != nil {
			t.Fatalf("segment %d: %v", n, err)
		}
		done = append(done, r)
	}
	return done
}

// heldValues are those of Eve's that files of a log hold.
func heldValues(d *memFiles) (found []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.live {
		for _, v := range eveValues {
			if bytes.Contains(f.cache, []byte(v)) {
				found = append(found, fmt.Sprintf("%s: %q", name, v))
			}
		}
	}
	return found
}

// Every leaf stays what it was, whatever the kind of its entry, and the log goes on.
func TestErasureKeepsEveryLeafAndTakesEveryValue(t *testing.T) {
	d := withEve(t, 80)
	before, kinds := leavesOf(t, d)
	for k := audit.KindBatch; k < 32; k++ {
		if k.String() != "unknown" && kinds>>k&1 == 0 {
			t.Errorf("no leaf is of kind %s", k)
		}
	}
	if len(heldValues(d)) == 0 {
		t.Fatal("there is nothing to erase")
	}

	for _, r := range eraseAll(t, d, erasing()) {
		if r.Entries == 0 || r.Chain == "" {
			t.Errorf("segment %d: %+v", r.Segment, r)
		}
	}

	after, _ := leavesOf(t, d)
	if !slices.Equal(before, after) {
		t.Fatalf("%d leaves before, %d after, and they differ", len(before), len(after))
	}

	all, _, _ := segment.Numbers(d)
	last := segment.Name(all[len(all)-1])
	for _, found := range heldValues(d) {
		if !strings.HasPrefix(found, last) {
			t.Errorf("it is still there: %s", found)
		}
	}

	if err := reopens(d); err != nil {
		t.Fatal(err)
	}
	again, _ := leavesOf(t, d)
	if !slices.Equal(again[:len(before)], before) {
		t.Error("a restart changed leaves")
	}
}

// What was erased is shown as that, and no question finds it by its value.
func TestErasedFieldsAreShownAsRedactedAndMatchNothing(t *testing.T) {
	d := withEve(t, 80)
	r := query.New(readerOf(d))
	ask := func(c query.Client) int {
		return len(collect(t, r, query.Filter{Client: c, ByBatch: true, Kinds: []audit.Kind{audit.KindBatch}}))
	}
	wasAll, wasAlice := ask(query.Client{}), ask(query.Client{Principals: []string{"User:alice"}})
	eraseAll(t, d, erasing())

	// The reader had listed the segments before they were rewritten.
	if got := ask(query.Client{}); got != wasAll {
		t.Errorf("%d batches of %d are left", got, wasAll)
	}
	if got := ask(query.Client{Principals: []string{"User:alice"}}); got != wasAlice {
		t.Errorf("%d batches of %d of somebody else are left", got, wasAlice)
	}

	r = query.New(readerOf(d))
	first := audit.DecisionID{}
	for _, row := range collect(t, r, query.Filter{}) {
		red := row.Redacted.Of(audit.PlacePrincipal)
		if red == nil {
			continue
		}
		first = row.ID
		if row.Principal != "redacted:17abcdef" || red.Request != gdpr17 {
			t.Fatalf("shown as %q, %+v", row.Principal, red)
		}
		out, err := row.MarshalJSON()
		if err != nil || !bytes.Contains(out, []byte(`"principal":"sha256:17abcdef`)) || bytes.Contains(out, []byte("User:eve")) {
			t.Fatalf("%s, %v", out, err)
		}
	}
	if first == (audit.DecisionID{}) {
		t.Fatal("nothing is shown as redacted")
	}

	for _, c := range []query.Client{
		{Principals: []string{"User:eve"}}, {Principals: []string{""}}, {Principals: []string{"redacted:17abcdef"}},
		{IDs: []string{"eves-laptop"}}, {IDs: []string{""}}, {IDs: []string{"redacted:17abcdef"}}, {Fingerprint: audit.Fingerprint{0xee, 1}},
	} {
		for _, row := range collect(t, r, query.Filter{Client: c}) {
			if row.Redacted != nil {
				t.Errorf("%+v finds entry %d, which is redacted", c, row.ID.Seq)
			}
		}
	}
}

func TestErasingAgainChangesNothing(t *testing.T) {
	d := withEve(t, 80)
	one := eraseAll(t, d, erasing())
	was := d.content()
	if again := eraseAll(t, d, erasing()); fmt.Sprint(again) != fmt.Sprint(one) {
		t.Errorf("told %v, then %v", one, again)
	}
	if !slices.Equal(was, d.content()) {
		t.Error("files changed")
	}

	// Another request takes more out of the same entries, and each is told.
	leaves, _ := leavesOf(t, d)
	e := erasing()
	e.Request = audit.Digest{0x18}
	e.Personal = audit.Personal{Principals: []string{"User:alice"}, Sources: []string{"10.0.0.9"}}
	for _, r := range eraseAll(t, d, e) {
		if r.Places["principal"] == 0 {
			t.Errorf("segment %d: %+v", r.Segment, r)
		}
	}
	if after, _ := leavesOf(t, d); !slices.Equal(leaves, after) {
		t.Error("leaves changed")
	}
	if err := reopens(d); err != nil {
		t.Error(err)
	}
}

// content is every file, by its name.
func (d *memFiles) content() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.live {
		all = append(all, name+" "+string(f.cache))
	}
	slices.Sort(all)
	return all
}

func TestNothingIsErasedFromWhatIsNotFinishedOrNotWhole(t *testing.T) {
	d := withEve(t, 80)
	all, _, _ := segment.Numbers(d)
	last := all[len(all)-1]
	if _, err := audit.EraseIn(d, last, erasing()); !errors.Is(err, audit.ErrNotFinished) {
		t.Errorf("the last segment: %v", err)
	}
	if _, err := audit.EraseIn(d, last+1, erasing()); !errors.Is(err, audit.ErrNotFinished) {
		t.Errorf("none: %v", err)
	}

	other := erasing()
	other.Keys = [][32]byte{{9}}
	if _, err := audit.EraseIn(d, 1, other); !errors.Is(err, audit.ErrForeign) {
		t.Errorf("another key: %v", err)
	}

	was := d.content()
	found, err := audit.EraseIn(d, 1, audit.Erasing{Keys: [][32]byte{testKey}, Personal: eve, DryRun: true})
	if err != nil || found.Entries == 0 || !slices.Equal(was, d.content()) {
		t.Errorf("looking found %+v, %v", found, err)
	}

	harmed := d.killed()
	harmed.live[segment.Name(1)].cache[segment.HeaderSize+100] ^= 1
	was = harmed.content()
	if _, err := audit.EraseIn(harmed, 1, erasing()); !errors.Is(err, audit.ErrCorrupt) || !slices.Equal(was, harmed.content()) {
		t.Errorf("a damaged segment: %v", err)
	}
}

// Wherever an erasure ends, by a fault, a kill or a power cut, each segment is the old
// one or the new one, whole, and it can be done again.
func TestErasureThatEndsAnywhereLeavesAWholeSegment(t *testing.T) {
	base := withEve(t, 80)
	want, _ := leavesOf(t, base)
	random := rand.New(rand.NewPCG(8, 3))
	for _, how := range []flavour{failed, persisted, gated} {
		for at := 1; ; at++ {
			d := base.killed()
			d.failAt = at
			d.flavour = how

			_, err := audit.EraseIn(d, 1, erasing())
			if d.ops < at {
				if err != nil {
					t.Fatal(err)
				}
				break
			}

			for name, left := range map[string]*memFiles{"killed": d.killed(), "power cut": d.powerCut(random), "power cut at once": d.powerCut(nil)} {
				if got, _ := leavesOf(t, left); !slices.Equal(got, want) {
					t.Fatalf("flavour %d, operation %d, %s: leaves changed", how, at, name)
				}
				if _, err := verifyMem(left); err != nil && !errors.Is(err, audit.ErrUntold) {
					t.Fatalf("flavour %d, operation %d, %s: %v", how, at, name, err)
				}
				if err := reopens(left); err != nil {
					t.Fatalf("flavour %d, operation %d, %s: opening: %v", how, at, name, err)
				}
				if r, err := audit.EraseIn(left, 1, erasing()); err != nil || r.Entries == 0 || r.Chain == "" {
					t.Fatalf("flavour %d, operation %d, %s: erasing again: %+v, %v", how, at, name, r, err)
				}
				for _, found := range heldValues(left) {
					if strings.HasPrefix(found, segment.Name(1)) || strings.Contains(found, ".tmp") {
						t.Fatalf("flavour %d, operation %d, %s: %s", how, at, name, found)
					}
				}
			}
		}
	}
}

// A cursor behind what was rewritten goes on, one within it says so.
func TestCursorsGoOnBehindWhatWasRewritten(t *testing.T) {
	d := withEve(t, 80)
	r := readerOf(d)
	var places []audit.Position
	c := r.Cursor(audit.Position{})
	err := c.Read(t.Context(), func(f *audit.Frame) error {
		places = append(places, c.Position())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	places = append(places, c.Position())
	eraseAll(t, d, erasing())

	for _, at := range places {
		inside := at.Segment != 0 && at.Segment < places[len(places)-1].Segment
		n := 0
		err := r.Cursor(at).Read(context.Background(), func(f *audit.Frame) error {
			return f.Each(func(*audit.Entry) error { n++; return nil })
		})
		if inside && err != nil && !errors.Is(err, audit.ErrNoPosition) || !inside && err != nil {
			t.Errorf("from %+v: %v", at, err)
		}
	}

	// Each segment's end is such a place.
	for i := 1; i < len(places); i++ {
		if at := places[i-1]; places[i].Segment == at.Segment+1 && at.Segment > 0 {
			if err := r.Cursor(at).Check(t.Context()); err != nil && !errors.Is(err, audit.ErrNoPosition) {
				t.Errorf("at the end of segment %d: %v", at.Segment, err)
			}
		}
	}
}

// A redacted entry where nothing was rewritten is damage, and so is one that still has
// what it says was taken out.
func TestRedactedEntryOutsideOfARewrittenSegmentIsDamage(t *testing.T) {
	d := withEve(t, 80)
	eraseAll(t, d, erasing())
	raw := d.live[segment.Name(1)].cache
	h, err := segment.ParseHeader(raw)
	if err != nil || h.Version != segment.Rewritten {
		t.Fatal(h.Version, err)
	}

	key, err := audit.ChainKey(testKey)
	if err != nil {
		t.Fatal(err)
	}

	plain := h
	plain.Version = segment.Current
	plain.Erasure = segment.Erasure{}
	out, chain := plain.Encode(), plain.Chain()
	w := segment.NewWindow(bytes.NewReader(raw), int64(len(raw)))
	for at := int64(segment.HeaderSize); ; {
		f, err := segment.ReadFrame(w, &h, at)
		if err != nil {
			break
		}
		at = f.End()
		if f.Sealed() {
			out, _ = segment.AppendSeal(out, &plain, key, chain, f.Payload)
		} else {
			out, chain = segment.AppendFrame(out, &plain, key, chain, 0, f.Payload)
		}
	}

	d.live[segment.Name(1)].cache = out
	err = readerOf(d).Cursor(audit.Position{}).Read(t.Context(), func(f *audit.Frame) error {
		return f.Each(func(*audit.Entry) error { return nil })
	})
	if !errors.Is(err, audit.ErrCorrupt) || !strings.Contains(err.Error(), "kind 18") {
		t.Errorf("got %v", err)
	}
}

// A query beside an erasure finds every decision, as it was or redacted.
func TestQueriesBesideAnErasureMissNothing(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, audit.Options{SegmentBytes: 2 * audit.MinSegmentBytes})
	for i := range 300 {
		mustAppend(t, l, ofEve("cards", int32(i), 40), nil)
	}
	if err := l.IndexOnce(t.Context()); err != nil {
		t.Fatal(err)
	}

	reader, err := audit.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := query.New(reader)
	ended := make(chan error)
	go func() {
		all, err := reader.Segments()
		for _, n := range all[:len(all)-1] {
			if err == nil {
				_, err = audit.EraseSegment(dir, n, erasing())
			}
		}
		ended <- err
	}()

	for done := false; !done; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
		if got := len(collect(t, r, query.Filter{ByBatch: true, Topics: []string{"cards"}})); got != 300 {
			t.Fatalf("%d batches of 300", got)
		}
	}
}

// What is before a rewritten segment can be pruned, and so can the segment itself.
func TestRewrittenLogIsPruned(t *testing.T) {
	for _, first := range []uint32{2, 3} {
		d := newMemFiles()
		l := openMem(t, d, audit.Options{SegmentBytes: 2 * audit.MinSegmentBytes, Now: func() time.Time { return noon }})
		for i := range 160 {
			mustAppend(t, l, ofEve("cards", int32(i), 40), nil)
		}
		mustClose(t, l)

		done := eraseAll(t, d, erasing())
		tell(t, d, gdpr17, done...)
		if _, err := audit.PruneFiles(d, pruning(audit.Cut{Segment: first})); err != nil {
			t.Fatal(err)
		}
		if err := reopens(d); err != nil {
			t.Errorf("from segment %d on: %v", first, err)
		}
		if report, err := verifyMem(d); err != nil || !report.Proven {
			t.Errorf("from segment %d on: proven %v, %v", first, report.Proven, err)
		}
	}
}

// Segments from before there were tags cannot be rewritten, and it says so.
func TestUntaggedSegmentIsNotRewritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/without-tls")); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.EraseSegment(dir, 1, erasing()); !errors.Is(err, audit.ErrNotErasable) || !errors.Is(err, audit.ErrUntagged) {
		t.Errorf("got %v", err)
	}
}

// A segment that a legal hold keeps is told before anybody erases from it, and still is
// where somebody was erased from it before.
func TestHoldsOnWhatIsToBeErasedAreTold(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, audit.Options{SegmentBytes: audit.MinSegmentBytes})
	for i := range 60 {
		mustAppend(t, l, ofEve("cards", int32(i), 40), nil)
	}
	mustClose(t, l)
	keys := [][32]byte{testKey}
	if by, err := audit.KeptBy(dir, 1, keys); err != nil || len(by) != 0 {
		t.Errorf("without holds: %v, %v", by, err)
	}
	if _, err := audit.EraseSegment(dir, 1, erasing()); err != nil {
		t.Fatal(err)
	}

	if _, err := audit.AddHold(audit.FilesIn(dir), keys, audit.Hold{Topic: "cards", Reason: "case 7", Added: noon}); err != nil {
		t.Fatal(err)
	}
	for n := uint32(1); n <= 2; n++ {
		if by, err := audit.KeptBy(dir, n, keys); err != nil || len(by) != 1 || by[0].Reason != "case 7" {
			t.Errorf("segment %d: %v, %v", n, by, err)
		}
	}
	if _, err := audit.KeptBy(dir, 1, [][32]byte{{9}}); !errors.Is(err, audit.ErrHolds) {
		t.Errorf("another key: %v", err)
	}
}
