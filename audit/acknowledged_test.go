package audit_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
)

// lookedAt is a look that found two stretches of bypass, and one that is acknowledged.
func lookedAt() audit.Reconciliation {
	id := [16]byte{7, 1}
	return audit.Reconciliation{
		Cluster:    "main",
		Outcome:    audit.ReconciledBypass,
		Asked:      noon,
		Ended:      noon.Add(1500 * time.Microsecond),
		Partitions: 3,
		Gone:       1,
		Offsets:    110,
		Classes:    []audit.ReconciledClass{{Class: "bypass", Offsets: 4}, {Class: "acknowledged", Offsets: 1}, {Class: "marker", Offsets: 9}},
		Places: []audit.ReconciledPlace{
			{Class: "bypass", Topic: "cards", TopicID: id, Partition: 2, First: 108, Last: 110},
			{Class: "bypass", Topic: "cards", Partition: 0, First: 3, Last: 3},
			{Class: "gone", Topic: "a.b-c_d", Partition: 1, First: 0, Last: -1},
			{Class: "acknowledged", Topic: "cards", TopicID: id, Partition: 2, First: 5, Last: 5},
		},
		Logs:    []audit.ReconciledLog{{ID: [8]byte{1}, Next: 44}, {ID: [8]byte{2}, Next: 7}},
		Problem: "a broker did not answer",
	}
}

// TestReconciliationsAreReadBackAsTheyWere, the last first.
func TestReconciliationsAreReadBackAsTheyWere(t *testing.T) {
	l := openMem(t, newMemFiles(), audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	defer l.Close()
	first, second := lookedAt(), audit.Reconciliation{Cluster: "eu", Outcome: audit.NotReconciled, Asked: noon, Ended: noon, Problem: "x"}
	for _, r := range []audit.Reconciliation{first, second} {
		if err := l.Record(t.Context(), r.Entry()); err != nil {
			t.Fatal(err)
		}
		decide(t, l, 0, 200) // some segments
	}

	var read []audit.Reconciliation
	if err := l.Reader().Reconciliations(t.Context(), func(r audit.Reconciliation) bool { read = append(read, r); return true }); err != nil {
		t.Fatal(err)
	}
	if want := []audit.Reconciliation{second, first}; !reflect.DeepEqual(read, want) {
		t.Errorf("%+v, want %+v", read, want)
	}
}

// TestOnlyWhatWasFoundIsAcknowledged: no other offsets, no other topic, nothing beforehand,
// and nothing by whoever lacks the audit key.
func TestOnlyWhatWasFoundIsAcknowledged(t *testing.T) {
	d := newMemFiles()
	l := openMem(t, d, audit.Options{Now: func() time.Time { return noon }})
	defer func() { mustClose(t, l) }()
	ack := audit.Acknowledgement{Cluster: "main", Topic: "cards", Partition: 2, First: 108, Last: 109, By: "ada", Reason: "INC-812", Given: noon}
	if _, err := audit.Acknowledge(t.Context(), d, held, ack); !errors.Is(err, audit.ErrNoBypass) {
		t.Errorf("before any look: %v", err)
	}
	found := lookedAt()
	later := audit.Reconciliation{Cluster: "main", Outcome: audit.NotReconciled, Asked: noon, Ended: noon, Problem: "x"}
	for _, e := range []audit.ControlEntry{found.Entry(), later.Entry()} {
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}

	for name, change := range map[string]func(*audit.Acknowledgement){
		"more than was found":   func(a *audit.Acknowledgement) { a.Last = 111 },
		"before what was found": func(a *audit.Acknowledgement) { a.First = 107 },
		"another partition":     func(a *audit.Acknowledgement) { a.Partition = 1 },
		"another topic":         func(a *audit.Acknowledgement) { a.Topic = "card" },
		"another cluster":       func(a *audit.Acknowledgement) { a.Cluster = "eu" },
		"no bypass":             func(a *audit.Acknowledgement) { a.First, a.Last = 6, 6 },
	} {
		other := ack
		change(&other)
		if _, err := audit.Acknowledge(t.Context(), d, held, other); !errors.Is(err, audit.ErrNoBypass) {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := l.TellAcknowledgements(t.Context(), []audit.Acknowledgement{other}); n != 0 || !errors.Is(err, audit.ErrNoBypass) {
			t.Errorf("%s: the log takes %d, %v", name, n, err)
		}
	}
	before := ack
	before.First, before.Last = 5, 5
	if _, err := audit.Acknowledge(t.Context(), d, held, before); !errors.Is(err, audit.ErrAcknowledged) {
		t.Errorf("what the last look found acknowledged: %v", err)
	}
	for name, change := range map[string]func(*audit.Acknowledgement){
		"no reason":    func(a *audit.Acknowledgement) { a.Reason = "" },
		"nobody":       func(a *audit.Acknowledgement) { a.By = "" },
		"a long story": func(a *audit.Acknowledgement) { a.Reason = strings.Repeat("x", 1001) },
	} {
		other := ack
		change(&other)
		if _, err := audit.Acknowledge(t.Context(), d, held, other); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if _, err := audit.Acknowledge(t.Context(), d, [][32]byte{{1}}, ack); !errors.Is(err, audit.ErrForeign) {
		t.Errorf("without the key: %v", err)
	}

	done, err := audit.Acknowledge(t.Context(), d, held, ack)
	if err != nil || done.TopicID != found.Places[0].TopicID {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := audit.Acknowledge(t.Context(), d, held, ack); !errors.Is(err, audit.ErrAcknowledged) {
		t.Errorf("twice: %v", err)
	}
	anew := done
	anew.TopicID[0]++
	if n, err := l.TellAcknowledgements(t.Context(), []audit.Acknowledgement{anew, done}); n != 1 || !errors.Is(err, audit.ErrNoBypass) {
		t.Errorf("of a topic of another id, and the one that was found, %d are told: %v", n, err)
	}
}

// TestFileOfAcknowledgementsThatAnybodyChangedIsRefused, as a whole.
func TestFileOfAcknowledgementsThatAnybodyChangedIsRefused(t *testing.T) {
	d := acknowledgedMem(t)
	file := d.live[audit.AcknowledgementsName]
	whole := slices.Clone(file.cache)
	if all, err := audit.ReadAcknowledgements(d, held); err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}

	for at := range whole {
		file.cache = slices.Clone(whole)
		file.cache[at] ^= 0x20
		if _, err := audit.ReadAcknowledgements(d, held); !errors.Is(err, audit.ErrAcknowledgements) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
	file.cache = whole
	if _, err := audit.ReadAcknowledgements(d, [][32]byte{{1}}); !errors.Is(err, audit.ErrAcknowledgements) {
		t.Errorf("under another key: %v", err)
	}

	other := spread(t, 4)
	other.live[audit.AcknowledgementsName] = file
	if _, err := audit.ReadAcknowledgements(other, held); !errors.Is(err, audit.ErrAcknowledgements) {
		t.Errorf("beside another log: %v", err)
	}
}

// acknowledgedMem is a log that found something, and has a file that acknowledges it.
func acknowledgedMem(t *testing.T) *memFiles {
	t.Helper()
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }})
	found := lookedAt()
	if err := l.Record(t.Context(), found.Entry()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	ack := audit.Acknowledgement{Cluster: "main", Topic: "cards", Partition: 2, First: 108, Last: 110, By: "ada", Reason: "INC-812", Given: noon}
	if _, err := audit.Acknowledge(t.Context(), d, held, ack); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestAcknowledgementStaysInTheLog: it is told once, and is there over segments, restarts
// and prunings, and where its file is gone.
func TestAcknowledgementStaysInTheLog(t *testing.T) {
	d := acknowledgedMem(t)
	opts := audit.Options{SegmentBytes: audit.MinSegmentBytes, Now: func() time.Time { return noon }}
	all, err := audit.ReadAcknowledgements(d, held)
	if err != nil {
		t.Fatal(err)
	}

	l := openMem(t, d, opts)
	if n, err := l.TellAcknowledgements(t.Context(), all); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	for from := 10; from < 460; from += 150 {
		decide(t, l, from, 150)
		mustClose(t, l)
		l = openMem(t, d, opts)
		if n, err := l.TellAcknowledgements(t.Context(), all); n != 0 || err != nil {
			t.Fatalf("told again: %d, %v", n, err)
		}
	}
	mustClose(t, l)

	delete(d.live, audit.AcknowledgementsName)
	if done, err := audit.PruneFiles(d, pruning(audit.Cut{Before: noon.Add(4 * time.Hour)})); err != nil || len(done.Segments) < 2 {
		t.Fatalf("pruning: %+v, %v", done, err)
	}
	l = openMem(t, d, opts)
	defer l.Close()
	if n, err := l.TellAcknowledgements(t.Context(), all); n != 0 || err != nil {
		t.Errorf("told again behind a pruning: %d, %v", n, err)
	}

	kept := map[audit.Acknowledgement]bool{}
	err = l.Reader().Cursor(audit.Position{}).Read(t.Context(), func(f *audit.Frame) error {
		return f.Each(func(e *audit.Entry) error {
			if e.Control != nil && e.Control.Kind == audit.KindAcknowledgement {
				a, ok := audit.AcknowledgementOf(e.Control)
				kept[a] = ok
			}
			return nil
		})
	})
	if err != nil || len(kept) != 1 || !kept[all[0]] {
		t.Errorf("the log has %+v, want %+v; %v", kept, all, err)
	}
}

// TestThousandsAreToldSoon: meanwhile the log is not told of legal holds. For each of them
// the log was read back to the last look, which took a minute.
func TestThousandsAreToldSoon(t *testing.T) {
	l := mustOpen(t, t.TempDir(), audit.Options{InsecureNoSync: true})
	found := lookedAt()
	place := &found.Places[0]
	place.First, place.Last = 0, 9999
	if err := l.Record(t.Context(), found.Entry()); err != nil {
		t.Fatal(err)
	}

	var all []audit.Acknowledgement
	for i := range int64(10_000) {
		all = append(all, audit.Acknowledgement{Cluster: "main", Topic: "cards", TopicID: place.TopicID, Partition: 2, First: i, Last: i, By: "ada", Reason: "INC-812", Given: noon})
	}
	begun := time.Now()
	if n, err := l.TellAcknowledgements(t.Context(), all); n != len(all) || err != nil {
		t.Errorf("%d are told: %v", n, err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it takes %s", took)
	}
}
