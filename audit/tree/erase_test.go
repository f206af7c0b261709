package tree_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/internal/disk/disktest"
)

var (
	eve = audit.Personal{
		Principals:   []string{"User:eve"},
		ClientIDs:    []string{"eves-laptop"},
		Sources:      []string{"192.0.2.77"},
		Certificates: []audit.Digest{{0xee, 0xbb, 0xcc, 0xdd}},
	}
	gdpr17 = audit.Digest{0x17}
	auKey  = [][32]byte{{1}}
)

// produceOfEve stores a batch of hers, and returns the decision.
func (s *site) produceOfEve(offset int64) uint64 {
	s.t.Helper()
	return s.produceBy(audit.Caller{ConnID: 8, Principal: "User:eve", ClientID: "eves-laptop", Source: "192.0.2.77",
		TLS: audit.TLS{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", Fingerprint: audit.Fingerprint(eve.Certificates[0])}}, offset)
}

// newErasable is a site with its log in a directory, and its tree in that, as a gateway has
// them.
func newErasable(t *testing.T) (s *site, dir string) {
	s = newSite(t, audit.Options{SegmentBytes: 8 << 10})
	dir = filepath.Join(s.dir, "audit")
	s.opt.Dir = filepath.Join(dir, tree.DirName)
	s.reopen()
	return s, dir
}

// holding lists what files of a directory hold of Eve.
func holding(t *testing.T, dir string, values ...string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, v := range values {
			if bytes.Contains(b, []byte(v)) || bytes.Contains([]byte(path), []byte(v)) {
				found = append(found, fmt.Sprintf("%s: %q", path, v))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// finishedBefore are the segments before the one that the tree is in.
func finishedBefore(t *testing.T, s *site) []uint32 {
	t.Helper()
	all, err := s.log.Reader().Segments()
	if err != nil || len(all) < 4 {
		t.Fatal(all, err)
	}
	return all[:len(all)-1]
}

// A person is erased beside a gateway that goes on: nothing in the log's directory has
// her any more, the salts that confirm a guess are gone, and every proof holds: those
// from before, and new ones of the same records.
func TestErasedPersonIsNowhereAndEveryProofHolds(t *testing.T) {
	s, dir := newErasable(t)
	s.admit()
	var hers, others []uint64
	for i := range 280 {
		if i%2 == 0 && i < 200 { // the last segment is not hers
			hers = append(hers, s.produceOfEve(int64(3*i)))
		} else {
			others = append(others, s.produce(int64(3*i)))
		}
	}
	s.flush()
	s.checkpoint()
	r, err := audit.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range append(hers, others...) { // leaves indexes beside the segments
		if err := r.At(seq, func(*audit.Item) {}); err != nil {
			t.Fatal(err)
		}
	}

	values := []string{"User:eve", "eves-laptop", "192.0.2.77", string(eve.Certificates[0][:]), hex.EncodeToString(eve.Certificates[0][:])}
	if found := holding(t, dir, values...); len(found) < 4 {
		t.Fatalf("there is nothing to erase: %v", found)
	}

	before := s.prove(wanted(hers[3], 3*6+1))
	beforeOther := s.prove(wanted(others[3], 3*7+1))
	kept := s.prover().Checkpoint()
	secrets := secretsOf(t, dir)
	salts := before.Entries[1].Names

	if erased := eraseEve(t, s, dir); erased != len(hers) {
		t.Errorf("%d entries of %d were redacted", erased, len(hers))
	}

	if found := holding(t, dir, values...); len(found) != 0 {
		t.Errorf("she is still there:\n%s", strings.Join(found, "\n"))
	}

	nothingConfirms(t, dir, r, salts, secrets)
	for name, f := range map[string]*evidence.File{"hers": before, "of another": beforeOther} {
		if _, err := evidence.Verify(f, s.keys()); err != nil {
			t.Errorf("evidence from before, %s: %v", name, err)
		}
	}

	s.checkpoint()
	again := s.prove(wanted(hers[3], 3*6+1))
	p, err := evidence.Verify(again, s.keys())
	if err != nil {
		t.Fatal(err)
	}
	was, _ := evidence.Verify(before, s.keys())
	if p.Decision.Caller != was.Decision.Caller || p.Names[p.Decision.Principal] != "" {
		t.Errorf("new evidence of hers: %+v", p.Decision.Caller)
	}
	if p, err := evidence.Verify(s.prove(wanted(others[3], 3*7+1)), s.keys()); err != nil || p.Names[p.Decision.Principal] != "User:alice" {
		t.Errorf("new evidence of another's: %+v, %v", p, err)
	}

	checkErased(t, s, dir, kept)
}

// eraseEve erases her from each finished segment, has the log say so, and counts entries.
func eraseEve(t *testing.T, s *site, dir string) (erased int) {
	t.Helper()
	segments := finishedBefore(t, s)
	for _, n := range segments {
		done, err := tree.EraseSegment(dir, n, auKey, gdpr17, eve)
		if err != nil {
			t.Fatal(err)
		}
		if done.Entries == 0 {
			continue
		}
		erased += done.Entries
		if err := s.log.RecordErasure(t.Context(), audit.Erasure{Request: gdpr17, Redaction: done, By: "dana", Reason: "GDPR-17"}); err != nil {
			t.Fatal(err)
		}
	}
	return erased
}

// nothingConfirms demands that what would confirm a guess is gone: her salts, and the
// secrets that those of rewritten segments followed from.
func nothingConfirms(t *testing.T, dir string, r *audit.Reader, salts []evidence.Opened, secrets map[uint32][]byte) {
	t.Helper()
	var confirming []string
	for _, n := range salts {
		salt, err := hex.DecodeString(n.Salt)
		if err != nil {
			t.Fatal(err)
		}
		confirming = append(confirming, string(salt), n.Salt)
	}
	rewritten, err := r.Rewritten()
	if err != nil || len(rewritten) == 0 {
		t.Fatal(rewritten, err)
	}
	for _, n := range rewritten {
		confirming = append(confirming, string(secrets[n]))
	}
	if found := holding(t, dir, confirming...); len(found) != 0 {
		t.Errorf("salts are still there:\n%s", strings.Join(found, "\n"))
	}
}

// checkErased holds the whole log against its tree, and starts a gateway on it.
func checkErased(t *testing.T, s *site, dir string, kept evidence.Checkpoint) {
	t.Helper()
	if n, err := s.prover().Check(t.Context()); err != nil || n != s.tree.Committed() {
		t.Errorf("%d leaves were checked, %v", n, err)
	}
	if err := s.prover().Contains(t.Context(), kept); err != nil {
		t.Errorf("the checkpoint from before: %v", err)
	}

	s.log.Close()
	if report, err := audit.VerifyWith(t.Context(), dir, audit.Known{Keys: auKey}); err != nil || !report.Proven {
		t.Errorf("proven %v, %v", report.Proven, err)
	}
	s.log = openLog(t, dir, audit.Options{Key: auKey[0], SegmentBytes: 8 << 10})
	s.reopen()
	s.produce(100_000)
	s.flush()
	s.checkpoint()
	if _, err := s.prover().Check(t.Context()); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if changed, err := tree.Forget(dir); err != nil || changed != 0 {
		t.Errorf("%d tables were changed again, %v", changed, err)
	}
}

// secretsOf are what the salts of each segment follow from.
func secretsOf(t *testing.T, dir string) map[uint32][]byte {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, tree.DirName, "names-*"))
	if err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}

	secrets := make(map[uint32][]byte)
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err != nil || string(b[:8]) != "GLNAMES1" {
			t.Fatalf("%s: %q, %v", path, b[:8], err)
		}
		var n uint32
		fmt.Sscanf(filepath.Base(path), "names-%d", &n)
		secrets[n] = b[16:48]
	}
	return secrets
}

// A second erasure takes the rest, and a table of salts is read as the page says.
func TestSecondErasureForgetsMore(t *testing.T) {
	s, dir := newErasable(t)
	s.admit()
	for i := range 120 {
		s.produceOfEve(int64(6 * i))
		s.produce(int64(6*i + 3))
	}
	s.flush()
	s.checkpoint()

	if _, err := tree.EraseSegment(dir, 1, auKey, gdpr17, eve); err != nil {
		t.Fatal(err)
	}
	one := saltsByPage(t, dir, 1)
	if _, err := tree.EraseSegment(dir, 1, auKey, audit.Digest{0x18}, audit.Personal{Principals: []string{"User:alice"}}); err != nil {
		t.Fatal(err)
	}
	two := saltsByPage(t, dir, 1)
	if len(two) != len(one)-1 {
		t.Errorf("%d salts, then %d", len(one), len(two))
	}
	if _, err := s.prover().Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// saltsByPage reads a table by docs/evidence.md.
func saltsByPage(t *testing.T, dir string, n uint32) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, tree.DirName, fmt.Sprintf("names-%08d", n)))
	if err != nil || string(b[:8]) != "GLNAMES2" {
		t.Fatalf("%q, %v", b[:8], err)
	}

	salts := make(map[string]string)
	for rows := b[48 : len(b)-4]; len(rows) > 0; rows = rows[32:] {
		salts[string(rows[:16])] = string(rows[16:32])
	}
	h := hmac.New(sha256.New, b[16:48])
	h.Write([]byte("shop-1"))
	if salts[string(h.Sum(nil)[:16])] == "" {
		t.Error("there is no salt of what is still there")
	}
	return salts
}

// Nothing is erased before the tree has leaves of all of it: it could make them no more.
func TestNothingIsErasedThatTheTreeHasNotPassed(t *testing.T) {
	s, dir := newErasable(t)
	s.admit()
	for i := range 120 {
		s.produceOfEve(int64(3 * i))
	}
	s.flush()
	if _, err := tree.EraseSegment(dir, 1, auKey, gdpr17, eve); !errors.Is(err, tree.ErrNotCommitted) {
		t.Errorf("got %v", err)
	}
	s.checkpoint()
	if _, err := tree.EraseSegment(dir, 1, auKey, gdpr17, eve); err != nil {
		t.Error(err)
	}
}

// Wherever forgetting fails or ends, the tables prove what they proved, and the salts are
// gone once it says so.
func TestForgettingThatEndsAnywhere(t *testing.T) {
	c := newCrash(t)
	c.admit()
	for i := range 120 {
		c.produceOfEve(int64(3 * i))
	}
	c.flush()
	g := c.start(c.base)
	if err := c.commit(g); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(c.dir, "audit")

	// The segment is rewritten, and the disk of the tree fails behind that.
	dead := c.base.Killed()
	dead.Inject(disktest.Fault{At: dead.Ops() + 3, Onwards: true})
	e := audit.Erasing{Keys: auKey, Request: gdpr17, Personal: eve}
	if _, err := tree.EraseOn(dead, crashTree, dir, 1, e); !errors.Is(err, disktest.ErrInjected) {
		t.Fatalf("got %v", err)
	}

	old, err := c.base.Read(crashTree+"/names-00000001", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	secret := old[16:48]
	proves := func(name string, d *disktest.Disk, gone bool) {
		t.Helper()
		b, err := d.Read(crashTree+"/names-00000001", 1<<20)
		if err != nil || gone && bytes.Contains(b, secret) {
			t.Errorf("%s: the secret is there, %v", name, err)
		}
		p, err := tree.OpenProverOn(d, crashTree, c.log.Reader())
		if err == nil {
			_, err = p.Check(t.Context())
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	for at := 1; ; at++ {
		ended := false
		for _, f := range []disktest.Fault{{At: at}, {At: at, Flavour: disktest.Persisted}, {At: at, Onwards: true}} {
			d := c.base.Killed()
			before := d.Ops()
			f.At += before
			d.Inject(f)
			_, err := tree.ForgetOn(d, crashTree, c.log.Reader())
			ended = d.Ops() < f.At
			d.Inject(disktest.Fault{})
			name := fmt.Sprintf("%+v", f)
			proves(name+", alive", d, err == nil)
			proves(name+", killed", d.Killed(), err == nil)
			proves(name+", power cut", d.PowerCut(nil), err == nil)

			left := d.PowerCut(nil)
			if _, err := tree.ForgetOn(left, crashTree, c.log.Reader()); err != nil {
				t.Errorf("%s, again: %v", name, err)
			}
			proves(name+", again, power cut", left.PowerCut(nil), true)
		}
		if ended {
			break
		}
	}
}
