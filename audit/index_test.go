package audit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/segment"
)

// withKey is what verification knows.
var withKey = audit.Known{Keys: [][32]byte{testKey}}

// manyFrames is a closed log with several blocks in each finished segment, and what
// makes places hard to find: bindings in later segments, offsets that come again,
// routes, batches that are stored nowhere. Its indexes are there.
func manyFrames(t testing.TB) *memFiles {
	t.Helper()
	d := newMemFiles()
	now := noon
	l := openMem(t, d, audit.Options{SegmentBytes: 300 << 10, Now: func() time.Time { return now }})
	r := rand.New(rand.NewPCG(7, 7))
	var open []uint64
	for i := range 1200 {
		now = now.Add(time.Second)
		e := batchOf(fmt.Sprintf("topic-%d", r.IntN(3)), int32(r.IntN(2)), 1+r.IntN(200))
		e.Time = now
		e.ClientID = fmt.Sprintf("%0900d", i) // segments fill fast
		e.Cluster = []string{"eu", "us"}[i%2]

		if i%7 == 0 {
			e.Outcome = audit.OutcomeRejected
			e.Reason = "score_high"
		}

		ticket := l.Append(e, nil)
		if i%20 == 0 {
			if err := ticket.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}

		if e.Awaits() {
			open = append(open, ticket.Seq())
		}
		for len(open) > 0 && r.IntN(40) != 0 {
			at := r.IntN(min(len(open), 60))
			place(l, r, open[at])
			open = slices.Delete(open, at, at+1)
		}
	}

	flushed(t, l)
	if err := l.IndexOnce(t.Context()); err != nil {
		t.Fatal(err)
	}

	mustClose(t, l)
	if n := len(segmentsOf(d)); n < 3 || n != len(indexesOf(d))+1 {
		t.Fatalf("%d segments, %d indexes", n, len(indexesOf(d)))
	}

	return d
}

func place(l *audit.Log, r *rand.Rand, seq uint64) {
	p := audit.Placement{BaseOffset: r.Int64N(5000)}
	if r.IntN(10) == 0 {
		p.ErrorCode = 87
	}

	route := p
	route.Route = "alerts"
	l.Place(seq, route)
	l.Place(seq, p)
}

func indexesOf(d *memFiles) (out []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := range d.live {
		if strings.HasSuffix(n, ".idx") {
			out = append(out, n)
		}
	}

	slices.Sort(out)
	return out
}

// withoutIndexes is the same log, all of which has to be read.
func withoutIndexes(d *memFiles) *memFiles {
	n := d.killed()
	for _, name := range indexesOf(n) {
		delete(n.live, name)
	}
	return n
}

// questions go every way through an index.
func questions() (all []query.Filter) {
	for _, reverse := range []bool{false, true} {
		all = append(all,
			query.Filter{Reverse: reverse, ByBatch: true},
			query.Filter{Reverse: reverse, ByBatch: true, Outcomes: []string{query.NotStored}},
			query.Filter{Reverse: reverse, Topics: []string{"topic-1"}, From: noon.Add(300 * time.Second), To: noon.Add(310 * time.Second)},
			query.Filter{Reverse: reverse, ByBatch: true, From: noon.Add(150 * time.Second), To: noon.Add(900 * time.Second)},
		)
	}

	for offset := int64(0); offset < 5200; offset += 331 {
		all = append(all, query.Filter{Topics: []string{"topic-2"}, Partition: ptr(int32(1)), Offset: &offset},
			query.Filter{Topics: []string{"alerts"}, Cluster: "eu", Partition: ptr(int32(0)), Offset: &offset})
	}

	return all
}

// few are enough where there are many indexes to ask.
func few(all []query.Filter) []query.Filter {
	return slices.Concat(all[1:3], all[6:7], all[8:20])
}

func answers(t testing.TB, d *memFiles, all []query.Filter) (out [][]query.Decision) {
	t.Helper()
	for _, f := range all {
		out = append(out, collect(t, query.New(readerOf(d)), f)) // each by a reader that knows nothing
	}
	return out
}

func TestAnIndexChangesNoAnswer(t *testing.T) {
	d := manyFrames(t)
	all := questions()
	want := answers(t, withoutIndexes(d), all)
	got := answers(t, d, all)
	found := 0
	for i := range all {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%+v: %d rows with the indexes, %d without", all[i], len(got[i]), len(want[i]))
		}
		if all[i].Offset != nil {
			found += len(got[i])
		}
	}

	if found == 0 {
		t.Error("no offset was found")
	}

	rep, err := audit.VerifyFiles(d, withKey)
	if err != nil {
		t.Fatal(err)
	}

	for i, s := range rep.Segments {
		if want := map[bool]string{true: audit.IndexFits}[s.Sealed]; s.Index != want {
			t.Errorf("index of segment %d: %q, want %q", i+1, s.Index, want)
		}
	}
}

// TestAnIndexSavesReading: a look-up and a window read blocks, not segments.
func TestAnIndexSavesReading(t *testing.T) {
	d := manyFrames(t)
	for name, f := range map[string]query.Filter{
		"offset": {Topics: []string{"topic-2"}, Partition: ptr(int32(1)), Offset: ptr(int64(1234))},
		"window": {From: noon.Add(200 * time.Second), To: noon.Add(201 * time.Second)},
	} {
		with := bytesRead(d, func() { collect(t, query.New(readerOf(d)), f) })
		bare := withoutIndexes(d)
		without := bytesRead(bare, func() { collect(t, query.New(readerOf(bare)), f) })
		if with > without*4/5 {
			t.Errorf("%s: read %d bytes with the indexes, %d without", name, with, without)
		}
	}
}

func bytesRead(d *memFiles, ask func()) int64 {
	before := d.read.Load()
	ask()
	return d.read.Load() - before
}

// TestSummariesBySealAreThoseOfTheRows: also where the broker refused batches, in
// later segments too.
func TestSummariesBySealAreThoseOfTheRows(t *testing.T) {
	d := manyFrames(t)
	for name, f := range map[string]query.Filter{
		"all":     {},
		"cluster": {Cluster: "us"},
		"topics":  {Topics: []string{"topic-1", "*-2"}},
		"batches": {Kinds: []audit.Kind{audit.KindBatch}},
		"control": {Kinds: []audit.Kind{audit.KindOpen, audit.KindConfig}},
		"time":    {From: noon.Add(100 * time.Second), To: noon.Add(1100 * time.Second)},
		"reason":  {Reasons: []string{"masked"}},
		"outcome": {Outcomes: []string{query.NotStored}},
	} {
		got, err := query.New(readerOf(d)).Summarize(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}

		want := totalsOf(collect(t, query.New(readerOf(d)), f))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
		if name == "all" && (got.Outcomes[query.NotStored] < 1000 || got.Controls < 2) {
			t.Errorf("counts %+v", got)
		}
	}
}

func totalsOf(rows []query.Decision) query.Totals {
	t := query.Totals{Outcomes: map[string]int64{}, Modules: map[string]int64{}, Reasons: map[string]int64{}, Topics: map[string]map[string]int64{}}
	batches := map[uint64]bool{}
	for _, d := range rows {
		if d.Control != nil {
			t.Controls++
			continue
		}

		batches[d.Batch.Seq] = true
		t.Decisions++
		t.Outcomes[d.Outcome]++

		if t.Topics[d.Cluster] == nil {
			t.Topics[d.Cluster] = map[string]int64{}
		}
		t.Topics[d.Cluster][d.Topic]++
		if d.Reason != "" {
			t.Reasons[d.Reason]++
		}

		module := ""
		if d.Module != nil {
			module = d.Module.Name
		}

		t.Modules[module]++
	}

	t.Batches = int64(len(batches))
	return t
}

// TestADamagedIndexIsMadeAgain: a flipped bit anywhere changes no answer, and the
// reader that may write leaves a whole one.
func TestADamagedIndexIsMadeAgain(t *testing.T) {
	d := manyFrames(t)
	name := indexesOf(d)[1]
	whole := bytes.Clone(d.live[name].cache)
	all := few(questions())[:8]
	want := answers(t, d, all)
	for pos := 0; pos < len(whole); pos += 1 + pos/30 {
		damaged := bytes.Clone(whole)
		damaged[pos] ^= 0x10
		d.live[name].cache = damaged
		if got := answers(t, d, all); !reflect.DeepEqual(got, want) {
			t.Fatalf("byte %d flipped: other answers", pos)
		}
	}

	for _, cut := range []int{0, 7, 71, 72, 100, len(whole) - 1} {
		d.live[name].cache = whole[:cut]
		if got := answers(t, d, all); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %d: other answers", cut)
		}
	}

	d.live[name].cache = append(whole[:len(whole)-1:len(whole)-1], whole[len(whole)-1]^1)
	if rep, err := audit.VerifyFiles(d, withKey); err != nil || rep.Segments[1].Index != audit.IndexDamaged {
		t.Fatalf("verifying: %v, %+v", err, rep.Segments[1])
	}

	d.live[name].cache = whole[:len(whole)-4096]
	keeping := audit.NewKeepingReader(d)
	collect(t, query.New(keeping), query.Filter{Reverse: true})

	if !bytes.Equal(d.live[name].cache, whole) {
		t.Fatal("the index was not written anew")
	}
}

// forge changes fields of an index and gives it the checksums of an honest one.
func forge(r *rand.Rand, whole []byte) []byte {
	b := bytes.Clone(whole)
	n := int(binary.LittleEndian.Uint32(b[12:]))
	blocks := b[72 : 72+48*n]
	pages := b[72+48*n:]
	for range 1 + r.IntN(3) {
		switch field := blocks[48*r.IntN(n)+8*r.IntN(6):]; r.IntN(4) {
		case 0:
			binary.LittleEndian.PutUint64(field, r.Uint64())
		case 1:
			binary.LittleEndian.PutUint64(field, binary.LittleEndian.Uint64(field)+8*r.Uint64N(1000))
		case 2:
			copy(field[:8], blocks[48*r.IntN(n)+8*r.IntN(6):])
		case 3:
			if len(pages) > 0 {
				pages[4+r.IntN(400)] ^= byte(1 << r.IntN(8))
			}
		}
	}

	for p := pages; len(p) > 0; p = p[4096:] {
		binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:4096], castagnoli))
	}
	binary.LittleEndian.PutUint32(b[64:], crc32.Checksum(blocks, castagnoli))
	binary.LittleEndian.PutUint32(b[68:], crc32.Checksum(b[:68], castagnoli))
	return b
}

// TestAnIndexThatLiesHidesAtMost: what a query gives is in the log, once, and
// verification tells.
func TestAnIndexThatLiesHidesAtMost(t *testing.T) {
	d := manyFrames(t)
	name := indexesOf(d)[0]
	whole := bytes.Clone(d.live[name].cache)
	all := few(questions())
	want := answers(t, d, all)
	hidden := 0
	disagree := 0
	for seed := range uint64(60) {
		d.live[name].cache = forge(rand.New(rand.NewPCG(seed, 1)), whole)
		got := answers(t, d, all)
		for i := range all {
			hidden += len(want[i]) - len(got[i])
			if all[i].Outcomes != nil {
				continue // a hidden answer of the broker makes "not stored" what was decided
			}
			if extra := beyond(got[i], want[i]); extra != "" {
				t.Fatalf("seed %d, %+v: %s", seed, all[i], extra)
			}
		}

		rep, err := audit.VerifyFiles(d, withKey)
		switch found := rep.Segments[0].Index; {
		case errors.Is(err, audit.ErrIndex) && found == audit.IndexDisagrees:
			disagree++
		case err != nil || found == audit.IndexFits != bytes.Equal(whole, d.live[name].cache):
			t.Fatalf("seed %d: verifying: %v, index %s", seed, err, found)
		}
	}

	if hidden == 0 || disagree < 20 {
		t.Errorf("%d rows hidden, %d indexes disagree: the lies were none", hidden, disagree)
	}
}

// beyond says what rows tell that the log does not.
func beyond(got, want []query.Decision) string {
	have := map[audit.DecisionID]query.Decision{}
	for _, d := range want {
		have[d.ID] = d
	}

	for _, d := range got {
		w, ok := have[d.ID]
		delete(have, d.ID)
		switch {
		case !ok:
			return fmt.Sprintf("%s is not there, or twice", d.ID)
		case d.Principal != w.Principal || d.Verdict != w.Verdict || d.Topic != w.Topic || d.Reason != w.Reason:
			return fmt.Sprintf("%s is another", d.ID)
		case d.Offset != w.Offset && d.Offset != -1:
			return fmt.Sprintf("%s is at %d, not at %d", d.ID, w.Offset, d.Offset)
		}
	}

	return ""
}

// writeProtected is a directory that takes no new file.
type writeProtected struct{ *memFiles }

func (writeProtected) Create(string) (segment.File, error) { return nil, fs.ErrPermission }

func TestAWriteProtectedDirectoryIsReadWithoutIndexes(t *testing.T) {
	d := withoutIndexes(manyFrames(t))
	r := query.New(audit.NewKeepingReader(writeProtected{d}))
	for range 2 {
		if n := len(collect(t, r, query.Filter{ByBatch: true, Kinds: []audit.Kind{audit.KindBatch}})); n != 1200 {
			t.Fatalf("%d batches", n)
		}
	}

	if len(indexesOf(d)) != 0 {
		t.Fatal("wrote an index")
	}
}

func TestIndexesAreMadeWhenSegmentsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := smallLog(t)
		l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.Index(ctx, func(err error) { t.Error(err) })
		}()

		for want := 2; want < 6; {
			synctest.Wait()
			segments := len(segmentsOf(d))
			if n := len(indexesOf(d)); n != segments-1 {
				t.Fatalf("%d indexes of %d finished segments", n, segments-1)
			}
			mustAppend(t, l, batchOf("cards", 0, 300+segments), nil)
			want = segments
		}

		cancel()
		<-ended
		mustClose(t, l)

		if rep, err := audit.VerifyFiles(d, withKey); err != nil || rep.Segments[3].Index != audit.IndexFits {
			t.Fatal(err, rep)
		}
	})
}

// TestNoFailureOfAnIndexReachesTheLog fails each operation by which an index comes
// to be, and looks at what it leaves, also after a power cut.
func TestNoFailureOfAnIndexReachesTheLog(t *testing.T) {
	base := withoutIndexes(manyFrames(t))
	l := openMem(t, base, audit.Options{})
	mustClose(t, l)
	want := answers(t, base, few(questions())[:5])
	failures := 0
	for _, fl := range []flavour{failed, persisted} {
		for at := 1; at <= 5*len(segmentsOf(base)); at++ { // open, open, create, write, rename
			d := base.killed()
			l := openMem(t, d, audit.Options{})
			d.mu.Lock()
			d.failAt = d.ops + at
			d.flavour = fl
			d.mu.Unlock()

			if l.IndexOnce(t.Context()) != nil {
				failures++
			}

			mustAppend(t, l, batchOf("after", 0, 3), nil)
			mustClose(t, l)
			for i, after := range []*memFiles{d.killed(), d.powerCut(nil), d.powerCut(rand.New(rand.NewPCG(uint64(at), 1)))} {
				checkIndexes(t, after, want, fmt.Sprintf("flavour %d, operation %d, crash %d", fl, at, i))
			}
		}
	}

	if failures < 20 {
		t.Errorf("%d of the operations failed", failures)
	}
}

func checkIndexes(t *testing.T, d *memFiles, want [][]query.Decision, name string) {
	t.Helper()
	if _, err := audit.VerifyFiles(d, withKey); err != nil {
		t.Fatalf("%s: %v", name, err)
	}

	for i, rows := range answers(t, d, few(questions())[:5]) {
		if missing := beyond(want[i], rows); missing != "" {
			t.Fatalf("%s: %s", name, missing)
		}
	}

	l := openMem(t, d, audit.Options{})
	if err := l.IndexOnce(t.Context()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}

	mustClose(t, l)
	for n := range d.live {
		if strings.HasSuffix(n, ".tmp") {
			t.Fatalf("%s: %s is left", name, n)
		}
	}
}

// FuzzIndex gives hostile indexes, with the checksums of honest ones, to queries.
func FuzzIndex(f *testing.F) {
	base := smallLog(f)
	l := openMem(f, base, audit.Options{})
	if err := l.IndexOnce(f.Context()); err != nil {
		f.Fatal(err)
	}

	mustClose(f, l)
	name := indexesOf(base)[0]
	whole := base.live[name].cache
	all := []query.Filter{{ByBatch: true}, {ByBatch: true, Reverse: true}, {Topics: []string{"cards"}, Partition: ptr(int32(0)), Offset: ptr(int64(1100))}}
	want := answers(f, base, all)
	f.Add(whole[12:16], whole[72:])
	f.Add([]byte{2, 0, 0, 0}, whole[72:])

	f.Fuzz(func(t *testing.T, blocks, rest []byte) {
		d := base.killed()
		b := append(bytes.Clone(whole[:72]), rest...)
		copy(b[12:16], blocks)
		refit(b)
		d.live[name].cache = b

		for i, rows := range answers(t, d, all) {
			if extra := beyond(rows, want[i]); extra != "" {
				t.Fatal(extra)
			}
		}
	})
}

// refit gives an index the lengths and checksums that its bytes should have.
func refit(b []byte) {
	n := int(min(int64(binary.LittleEndian.Uint32(b[12:])), int64(len(b)-72)/48))
	blocks := b[72 : 72+48*n]
	pages := b[72+48*n:]
	binary.LittleEndian.PutUint32(b[56:], uint32(len(pages)/4096))

	for ; len(pages) >= 4096; pages = pages[4096:] {
		binary.LittleEndian.PutUint32(pages, crc32.Checksum(pages[4:4096], castagnoli))
	}
	binary.LittleEndian.PutUint32(b[64:], crc32.Checksum(blocks, castagnoli))
	binary.LittleEndian.PutUint32(b[68:], crc32.Checksum(b[:68], castagnoli))
}
