package tree_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/audit/witness"
)

var module = audit.ModuleRef{Name: "gdpr", Digest: audit.Digest{0xaa}}

// site is a log with a tree over it.
type site struct {
	t    testing.TB
	log  *audit.Log
	dir  string
	opt  tree.Options
	tree *tree.Tree

	public string // key
}

func newSite(t testing.TB, o audit.Options) *site {
	t.Helper()
	return newSiteOf(t, "guardlock.test/gw", o)
}

// newSiteOf is newSite with another origin.
func newSiteOf(t testing.TB, origin string, o audit.Options) *site {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}

	s := &site{t: t, dir: t.TempDir(), public: vkey}
	s.opt = tree.Options{Dir: filepath.Join(s.dir, "tree"), Signer: signer, Verifier: verifier}
	o.Key = [32]byte{1}
	s.log = openLog(t, filepath.Join(s.dir, "audit"), o)
	s.reopen()
	return s
}

func openLog(t testing.TB, dir string, o audit.Options) *audit.Log {
	t.Helper()
	l, err := audit.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (s *site) reopen() {
	s.t.Helper()
	var err error
	if s.tree, err = tree.Open(s.t.Context(), s.log.Reader(), s.opt); err != nil {
		s.t.Fatal(err)
	}
}

// admit records that the module may run, and returns the entry's number.
func (s *site) admit() {
	s.t.Helper()
	err := s.log.Record(s.t.Context(), audit.ControlEntry{
		Kind: audit.KindAdmission, Subject: "customers", Module: module, Outcome: "allowed", Revision: "policy-1",
		Admission: &audit.Admission{
			Author:    audit.Signer{Identity: "ada@example.org", KeyID: "k1"},
			Approvals: []audit.Approval{{Approver: "grace@example.org", ID: "a1", KeyID: "k2"}, {Approver: "linus@example.org", ID: "a2", KeyID: "k3"}},
			Threshold: 2,
			Grant:     audit.Grant{Digest: audit.Digest{9}},
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// serve records what the gateway serves under, and returns the entry's number.
func (s *site) serve() uint64 {
	s.t.Helper()
	next := s.produce(0) + 1
	s.serveUnder(1)
	return next
}

// serveUnder records that the gateway serves under a configuration.
func (s *site) serveUnder(configuration byte) {
	s.t.Helper()
	err := s.log.Record(s.t.Context(), audit.ControlEntry{Kind: audit.KindAuthority, Subject: "guardlock.yaml", Outcome: "in_force", Revision: "policy-1", Loaded: &audit.Loaded{
		Files: []audit.File{
			{Role: "configuration", Name: "guardlock.yaml", Digest: audit.Digest{configuration}},
			{Role: "policy", Name: "built in", Digest: audit.Digest{2}},
			{Role: "trust_root", Name: "trust.json", Digest: audit.Digest{3}},
			{Role: "authority", Name: "gw", Digest: audit.Digest{4}},
		},
	}})
	if err != nil {
		s.t.Fatal(err)
	}
}

// produce stores a batch of three records at an offset, and returns the decision.
func (s *site) produce(offset int64) uint64 {
	s.t.Helper()
	return s.produceBy(audit.Caller{ConnID: 7, Principal: "User:alice", ClientID: "shop-1", Source: "10.0.0.9"}, offset)
}

// produceBy is produce of another client.
func (s *site) produceBy(who audit.Caller, offset int64) uint64 {
	s.t.Helper()
	e := &audit.BatchEntry{
		Caller:    who,
		Target:    audit.Target{Cluster: "main", Topic: "customers"},
		Authority: audit.Authority{Modules: []audit.ModuleRef{module}, PolicyRevision: "policy-1", GrantDigest: audit.Digest{9}},
		Producer:  audit.Producer{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1},
		Payload:   audit.Payload{Records: 3, BytesIn: 100, BytesOut: 90},
		Outcome:   audit.OutcomeModified,
	}
	e.Add(audit.Ruling{}, 1)
	e.Add(audit.Ruling{Verdict: audit.Modified, Reason: "gdpr.masked"}, 2)

	ticket := s.log.Append(e, []byte("batch"))
	if err := ticket.Wait(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.log.Place(ticket.Seq(), audit.Placement{BaseOffset: offset})
	return ticket.Seq()
}

// flush makes bindings durable.
func (s *site) flush() {
	s.t.Helper()
	if err := s.log.Record(s.t.Context(), audit.ControlEntry{Kind: audit.KindConfig, Subject: "flush", Outcome: "applied"}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) checkpoint() int64 {
	s.t.Helper()
	n, err := s.tree.Checkpoint(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *site) prover() *tree.Prover {
	s.t.Helper()
	p, err := tree.OpenProver(s.opt.Dir, s.log.Reader())
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *site) prove(w tree.Wanted) *evidence.File {
	s.t.Helper()
	f, err := s.prover().Prove(s.t.Context(), w)
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

func (s *site) keys() *evidence.Trust { return &evidence.Trust{Logs: []note.Verifier{s.opt.Verifier}} }

func wanted(seq uint64, offset int64) tree.Wanted {
	return tree.Wanted{
		Record:     evidence.Record{Cluster: "main", Topic: "customers", Offset: offset},
		Decision:   seq,
		Admissions: []uint64{2}, // entry 1 is the opening
		Names:      true,
		Approvals:  tree.ApprovalsOf("."),
	}
}

func TestEvidenceOfARecordIsVerifiedByTheLogsKeyAlone(t *testing.T) {
	s := newSite(t, audit.Options{SegmentBytes: 8 << 10})
	s.admit()
	var decisions []uint64
	for i := range 700 {
		decisions = append(decisions, s.produce(int64(3*i)))
	}
	s.flush()
	s.checkpoint()

	for _, i := range []int{0, 1, 83, 128, 255, 512, 699} {
		f := s.prove(wanted(decisions[i], int64(3*i+1)))
		b, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 10<<10 {
			t.Errorf("evidence of one record has %d bytes", len(b))
		}

		again, err := evidence.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		p, err := evidence.Verify(again, s.keys())
		if err != nil {
			t.Fatal(err)
		}
		if p.Place != 1 || p.Ruling.Reason != "gdpr.masked" || p.Names[p.Decision.Principal] != "User:alice" || p.Admissions[0].Fact("author") != "ada@example.org" {
			t.Errorf("record %d: %+v", i, p)
		}
	}
}

func TestNoBitOfEvidenceCanBeChanged(t *testing.T) {
	s := newSite(t, audit.Options{})
	s.admit()
	w := wanted(0, 4)
	w.Authority = s.serve()
	w.Decision = s.produce(3)
	s.flush()
	s.checkpoint()
	b, err := s.prove(w).Encode()
	if err != nil {
		t.Fatal(err)
	}

	for i := range b {
		for bit := range 8 {
			changed := append([]byte(nil), b...)
			changed[i] ^= 1 << bit
			f, err := evidence.Decode(changed)
			if err == nil {
				_, err = evidence.Verify(f, s.keys())
			}
			if err == nil && !strings.Contains(string(b[max(0, i-60):i]), `"offset"`) {
				t.Fatalf("bit %d of byte %d was changed unseen: %q", bit, i, changed[max(0, i-20):i+20])
			}
		}
	}
}

// What was in force is told where the file has it, and refused where it has no place: behind
// the decision, twice, or where the entry says nothing of a configuration.
func TestTheAuthorityOfADecisionIsEnclosed(t *testing.T) {
	s := newSite(t, audit.Options{})
	s.admit()
	w := wanted(0, 4)
	w.Authority = s.serve()
	w.Decision = s.produce(3)
	behind := w
	behind.Authority = s.serve()
	other := w
	other.Authority = w.Decision + 1
	s.flush()
	s.checkpoint()

	p, err := evidence.Verify(s.prove(w), s.keys())
	if err != nil {
		t.Fatal(err)
	}
	in := p.InForce
	if in == nil || in.Seq != w.Authority || in.File("configuration") != "01"+strings.Repeat("00", 31) || in.File("trust_root") != "03"+strings.Repeat("00", 31) || in.File("secrets") != "" {
		t.Errorf("in force was %+v", in)
	}

	twice := s.prove(w)
	twice.Entries = append(twice.Entries, s.prove(behind).Entries[0])
	for name, f := range map[string]*evidence.File{"behind": s.prove(behind), "twice": twice, "of another kind": s.prove(other)} {
		if _, err := evidence.Verify(f, s.keys()); !errors.Is(err, evidence.ErrUnproven) {
			t.Errorf("%s: %v", name, err)
		}
	}

	w.Authority = 0 // as older files are
	if p, err := evidence.Verify(s.prove(w), s.keys()); err != nil || p.InForce != nil {
		t.Errorf("without one: %v", err)
	}
}

func TestEvidenceOfAnotherLogIsRefused(t *testing.T) {
	a, b := newSite(t, audit.Options{}), newSite(t, audit.Options{})
	a.admit()
	seq := a.produce(0)
	a.flush()
	a.checkpoint()
	if _, err := evidence.Verify(a.prove(wanted(seq, 0)), b.keys()); !errors.Is(err, evidence.ErrUnproven) {
		t.Errorf("by another log's key: %v", err)
	}
}

func TestEntryBehindTheCheckpointIsNotCommitted(t *testing.T) {
	s := newSite(t, audit.Options{})
	s.admit()
	s.flush()
	s.checkpoint()
	seq := s.produce(0)
	s.flush()

	p, err := tree.OpenProver(s.opt.Dir, s.log.Reader())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Prove(t.Context(), wanted(seq, 0)); !errors.Is(err, tree.ErrNotCommitted) {
		t.Error(err)
	}
}

// TestSegmentBehindTheCheckpointIsNoFault: an auditor looks while the log begins a segment
// that the tree has not come to. Another audit key begins one.
func TestSegmentBehindTheCheckpointIsNoFault(t *testing.T) {
	s := newSite(t, audit.Options{})
	s.admit()
	s.produce(0)
	s.flush()
	size := s.checkpoint()
	if err := s.log.Close(); err != nil {
		t.Fatal(err)
	}

	s.log = openLog(t, filepath.Join(s.dir, "audit"), audit.Options{Key: [32]byte{2}, PreviousKey: &[32]byte{1}})
	s.flush()
	checked, err := s.prover().Check(t.Context())
	if err != nil || checked != size {
		t.Errorf("checked %d of %d: %v", checked, size, err)
	}
}

func TestTreeGoesOnAfterARestart(t *testing.T) {
	s := newSite(t, audit.Options{SegmentBytes: 8 << 10})
	s.admit()
	for i := range 40 {
		s.produce(int64(3 * i))
		if i%3 == 0 {
			s.checkpoint()
		}
		s.reopen() // what was not committed is made again
	}
	s.flush()
	size := s.checkpoint()

	again := *s
	again.opt.Dir = filepath.Join(s.dir, "another")
	again.reopen()
	if got := again.checkpoint(); got != size {
		t.Errorf("%d leaves, and %d from the beginning", size, got)
	}
}

// copyDir is a directory as it is now.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func TestLogThatWasPutBackIsFound(t *testing.T) {
	s := newSite(t, audit.Options{})
	copied := filepath.Join(t.TempDir(), "checkpoint")
	s.opt.Copies = []string{copied}
	s.reopen()
	s.produce(0)
	s.flush()
	s.checkpoint()

	log, trees := filepath.Join(s.dir, "audit"), s.opt.Dir
	old := t.TempDir()
	copyDir(t, log, filepath.Join(old, "audit"))
	copyDir(t, trees, filepath.Join(old, "tree"))
	s.produce(3)
	s.flush()
	s.checkpoint()
	if err := s.log.Close(); err != nil {
		t.Fatal(err)
	}

	for _, tc := range []struct {
		what string
		opt  tree.Options
		dir  string
		want error
	}{
		{"the log alone", tree.Options{Dir: trees}, filepath.Join(old, "audit"), tree.ErrRolledBack},
		{"log and tree, with a copy of the checkpoint elsewhere", tree.Options{Dir: filepath.Join(old, "tree"), Copies: []string{copied}}, filepath.Join(old, "audit"), tree.ErrRolledBack},
		{"log and tree, and nothing elsewhere", tree.Options{Dir: filepath.Join(old, "tree")}, filepath.Join(old, "audit"), nil},
	} {
		tc.opt.Signer, tc.opt.Verifier = s.opt.Signer, s.opt.Verifier
		dir := filepath.Join(t.TempDir(), "copy")
		copyDir(t, tc.dir, dir)
		copyDir(t, tc.opt.Dir, dir+".tree")
		tc.opt.Dir = dir + ".tree"

		r, err := audit.OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Open(t.Context(), r, tc.opt); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.what, err)
		}
	}
}

func TestCheckpointIsOfThisLogAlone(t *testing.T) {
	s := newSite(t, audit.Options{SegmentBytes: 16 << 10})
	s.admit()
	for i := range 600 {
		s.produce(int64(3 * i))
	}
	s.flush()
	size := s.checkpoint()
	kept := s.prover().Checkpoint()
	s.produce(9000)
	s.flush()
	s.checkpoint()
	if n, err := s.prover().Check(t.Context()); err != nil || n != size+3 {
		t.Fatalf("%d of %d entries, %v", n, size+3, err)
	}
	if err := s.prover().Contains(t.Context(), kept); err != nil {
		t.Errorf("the checkpoint before: %v", err)
	}
	kept.Root[0] ^= 1
	if err := s.prover().Contains(t.Context(), kept); !errors.Is(err, tree.ErrRolledBack) {
		t.Errorf("a checkpoint of another log: %v", err)
	}

	for _, batches := range []int{3, 602} {
		s := newSite(t, audit.Options{SegmentBytes: 16 << 10})
		other := newSite(t, audit.Options{SegmentBytes: 16 << 10}) // as long, under the same audit key
		for _, site := range []*site{s, other} {
			site.admit()
			for i := range batches {
				site.produce(int64(3 * i))
			}
			site.flush()
			site.checkpoint()
		}

		p, err := tree.OpenProver(s.opt.Dir, other.log.Reader())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Check(t.Context()); !errors.Is(err, tree.ErrRolledBack) {
			t.Errorf("another log of %d batches: %v", batches, err)
		}
	}
}

func TestDamagedTreeIsFound(t *testing.T) {
	for _, name := range []string{"edge", "checkpoint", "names-00000001"} {
		s := newSite(t, audit.Options{})
		s.produce(0)
		s.flush()
		s.checkpoint()
		path := filepath.Join(s.opt.Dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}

		for _, changed := range [][]byte{nil, b[:len(b)/2], append([]byte{b[0] ^ 1}, b[1:]...), append(append([]byte(nil), b[:len(b)-1]...), b[len(b)-1]^1)} {
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := tree.Open(t.Context(), s.log.Reader(), s.opt); !errors.Is(err, tree.ErrDamaged) && !errors.Is(err, tree.ErrRolledBack) {
				t.Errorf("%s of %d bytes: %v", name, len(changed), err)
			}
		}
	}
}

// TestWitnessedIsTheLastThatEveryWitnessCosigned: a checkpoint that one of them has not
// seen yet does not take its place, and what it says is held against the log.
func TestWitnessedIsTheLastThatEveryWitnessCosigned(t *testing.T) {
	s := newSite(t, audit.Options{})
	var down atomic.Bool
	for i := range 2 {
		signer := evidence.NewWitnessSigner(fmt.Sprintf("bank-%d.example/witness", i), [32]byte{byte(i)})
		w := witness.New(t.TempDir(), signer, []note.Verifier{s.opt.Verifier})
		server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
			if i == 1 && down.Load() {
				http.Error(out, "away", http.StatusServiceUnavailable)
				return
			}
			w.ServeHTTP(out, in)
		}))
		t.Cleanup(server.Close)
		s.opt.Witnesses = append(s.opt.Witnesses, witness.NewClient(server.URL, &signer.Witness))
	}
	s.reopen()

	grow := func() int64 {
		s.produce(0)
		s.flush()
		_, err := s.tree.Checkpoint(t.Context())
		if down.Load() != errors.Is(err, tree.ErrUnwitnessed) || !down.Load() && err != nil {
			t.Fatal(err)
		}
		return s.tree.Committed()
	}
	witnessed := func() int64 {
		p, err := tree.OpenWitnessedProver(s.opt.Dir, s.log.Reader())
		if err != nil {
			t.Fatal(err)
		}
		return p.Checkpoint().Size
	}

	if _, err := tree.OpenWitnessedProver(s.opt.Dir, s.log.Reader()); !errors.Is(err, tree.ErrNotWitnessed) {
		t.Errorf("before the first: %v", err)
	}
	first := grow()
	down.Store(true)
	second := grow()
	if got := witnessed(); got != first || second <= first {
		t.Errorf("%d entries were witnessed, %d are signed, and it says %d", first, second, got)
	}
	down.Store(false)
	if third := grow(); witnessed() != third {
		t.Errorf("%d entries are witnessed, and it says %d", third, witnessed())
	}

	if err := os.Remove(filepath.Join(s.opt.Dir, tree.CheckpointName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.opt.Dir, "edge")); err != nil {
		t.Fatal(err)
	}
	other := openLog(t, filepath.Join(t.TempDir(), "audit"), audit.Options{})
	if _, err := tree.Open(t.Context(), other.Reader(), s.opt); !errors.Is(err, tree.ErrRolledBack) {
		t.Errorf("a log in its place: %v", err)
	}
}
