package server

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/adopt"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/stamp/stamptest"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/audit/witness"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
)

// committed is the configuration of a gateway that keeps a copy of each checkpoint.
func committed(t *testing.T) (*config.Config, string) {
	t.Helper()
	return configured(t, "copies: [elsewhere/checkpoint]")
}

func configured(t *testing.T, evidence string) (*config.Config, string) {
	t.Helper()
	dir := t.TempDir()
	yaml := "broker: {embedded: {}}\naudit: {evidence: {" + evidence + "}}\n"
	cfg, err := config.Parse([]byte(yaml), filepath.Join(dir, "guardlock.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "elsewhere"), 0o700); err != nil {
		t.Fatal(err)
	}
	return cfg, dir
}

// opened is a server with the least configuration, and its log.
func opened(t *testing.T) (*Server, *config.Config, *lockedBuffer) {
	t.Helper()
	cfg, _ := configured(t, "")
	log := new(lockedBuffer)
	s, err := Open(t.Context(), cfg, NewLogger(config.Log{}, log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(t.Context()) })
	return s, cfg, log
}

// served opens a gateway, records an entry, and closes it in order.
func served(t *testing.T, cfg *config.Config) error {
	t.Helper()
	s, err := Open(t.Context(), cfg, NewLogger(config.Log{}, new(lockedBuffer)))
	if err != nil {
		return err
	}
	if err := s.journal.Record(t.Context(), audit.ControlEntry{Kind: audit.KindStart, Subject: "gateway", Outcome: "started"}); err != nil {
		t.Fatal(err)
	}
	return s.Close(t.Context())
}

func TestGatewayOnYesterdaysLogDoesNotServe(t *testing.T) {
	cfg, dir := committed(t)
	putBack(t, cfg, dir)
	if err := served(t, cfg); !errors.Is(err, tree.ErrRolledBack) || !strings.Contains(err.Error(), "elsewhere/checkpoint") {
		t.Errorf("yesterday's log and tree: %v", err)
	}
}

// TestGatewayServesAgainBehindAnAdoption: the log is lost, and its copy is of yesterday.
func TestGatewayServesAgainBehindAnAdoption(t *testing.T) {
	cfg, dir := committed(t)
	putBack(t, cfg, dir)
	if err := served(t, cfg); !errors.Is(err, tree.ErrRolledBack) {
		t.Fatalf("yesterday's log: %v", err)
	}
	key, err := disk.ReadKey(cfg.File(cfg.Audit.KeyFile))
	if err != nil {
		t.Fatal(err)
	}

	log := cfg.File(cfg.Audit.Dir)
	_, err = adopt.Begin(t.Context(), adopt.Options{
		Dir:    log,
		LogKey: cfg.File(cfg.Audit.Evidence.KeyFile),
		Copies: []string{cfg.File(cfg.Audit.Evidence.Copies[0])},
		Log:    audit.Options{Key: key, Node: cfg.Node},
		Reason: "INC-812",
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := served(t, cfg); err != nil {
			t.Fatalf("behind the adoption: %v", err)
		}
	}

	report, err := audit.VerifyWith(t.Context(), log, audit.Known{Keys: [][32]byte{key}})
	if err != nil || len(report.Adoptions) != 1 {
		t.Fatalf("%+v, %v", report.Adoptions, err)
	}
	copied, err := os.ReadFile(cfg.File(cfg.Audit.Evidence.Copies[0]) + ".1")
	if err != nil {
		t.Fatal(err)
	}

	a := &report.Adoptions[0]
	want := strings.Join([]string{a.Fact(audit.FactFromOrigin), a.Fact(audit.FactFromEntries), a.Fact(audit.FactFromRoot), ""}, "\n")
	if !strings.HasPrefix(string(copied), want) {
		t.Errorf("the link is to %q, and the last checkpoint was %q", want, copied)
	}

	// Had the adoption been cut short, no log would be made in the place of the old one.
	if err := os.Rename(log, log+".adopting"); err != nil {
		t.Fatal(err)
	}
	if err := served(t, cfg); err == nil || !strings.Contains(err.Error(), "not finished") {
		t.Errorf("an adoption that was cut short: %v", err)
	}
}

// putBack serves twice, and puts the data directory back to what it was between.
func putBack(t *testing.T, cfg *config.Config, dir string) {
	t.Helper()
	if err := served(t, cfg); err != nil {
		t.Fatal(err)
	}
	data, yesterday := filepath.Join(dir, "data"), filepath.Join(dir, "yesterday")
	if err := os.CopyFS(yesterday, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	if err := served(t, cfg); err != nil {
		t.Fatalf("going on: %v", err)
	}

	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(yesterday)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"audit.key", "log.key"} {
		if err := os.Chmod(filepath.Join(data, key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// witnessed is a gateway with a witness, which knows its log from the first start on.
func witnessed(t *testing.T) (*config.Config, string, *httptest.Server) {
	t.Helper()
	signer := evidence.NewWitnessSigner("bank.example/witness", [32]byte{7})
	var handler http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	cfg, dir := configured(t, fmt.Sprintf("witnesses: [{url: %q, key: %q}]", s.URL, signer.Witness.String()))
	_, public, err := loadLogKey(cfg.File(cfg.Audit.Evidence.KeyFile), cfg.Node)
	if err != nil {
		t.Fatal(err)
	}
	handler = witness.New(filepath.Join(dir, "seen"), signer, []note.Verifier{public})
	return cfg, dir, s
}

func TestWitnessFindsYesterdaysLog(t *testing.T) {
	cfg, dir, _ := witnessed(t)
	putBack(t, cfg, dir)
	if err := served(t, cfg); !errors.Is(err, tree.ErrRolledBack) || !strings.Contains(err.Error(), "bank.example/witness") {
		t.Errorf("yesterday's log and tree: %v", err)
	}
}

func TestGatewayServesWhileItsWitnessIsDown(t *testing.T) {
	cfg, dir, s := witnessed(t)
	s.Close()
	if err := served(t, cfg); !errors.Is(err, tree.ErrUnwitnessed) {
		t.Errorf("the end says nothing of the witness: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "data", "audit", "tree", "checkpoint"))
	if err != nil || strings.Contains(string(b), "bank.example") {
		t.Errorf("%q, %v", b, err)
	}
}

// The tree has leaves for placements, too: it has more of them than the log has entries.
func TestLagIsCountedInWhatItSays(t *testing.T) {
	cfg, _, witness := witnessed(t)
	s, err := Open(t.Context(), cfg, NewLogger(config.Log{}, new(lockedBuffer)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(t.Context()) })
	store := func(offset int64) {
		t.Helper()
		ticket := s.journal.Append(&audit.BatchEntry{
			Target:   audit.Target{Topic: "t"},
			Producer: audit.Producer{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1},
			Payload:  audit.Payload{Records: 1},
		}, nil)
		if err := ticket.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.journal.Place(ticket.Seq(), audit.Placement{BaseOffset: offset})
	}

	for i := range int64(5) {
		store(i)
	}
	now := &view{s}
	if l := now.logStatus(); l.Entries != 6 || l.Committed != 1 || l.Witnesses[0].Behind != 0 {
		t.Errorf("before the checkpoint: %+v", l)
	}
	if err := s.commits.commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := now.logStatus(); l.Entries != 6 || l.Committed != 6 || l.Witnesses[0].Behind != 0 {
		t.Errorf("after it: %+v", l)
	}

	witness.Close()
	store(5)
	if err := s.commits.commit(t.Context()); !errors.Is(err, tree.ErrUnwitnessed) {
		t.Fatal(err)
	}
	if l := now.logStatus(); l.Committed != 7 || l.Witnesses[0].Behind < 1 {
		t.Errorf("without its witness: %+v", l)
	}
}

// stamped is a gateway with a time-stamping authority.
func stamped(t *testing.T, trusted []byte) (cfg *config.Config, dir string, s *httptest.Server) {
	t.Helper()
	a, err := stamptest.New("time.example")
	if err != nil {
		t.Fatal(err)
	}
	s = httptest.NewServer(a)
	t.Cleanup(s.Close)
	cfg, dir = configured(t, fmt.Sprintf("timestamp: {url: %q, ca_file: tsa.pem}", s.URL))
	if trusted == nil {
		trusted = a.Root
	}
	if err := os.WriteFile(filepath.Join(dir, "tsa.pem"), trusted, 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg, dir, s
}

func TestGatewayHasItsCheckpointsStamped(t *testing.T) {
	cfg, dir, _ := stamped(t, nil)
	if err := served(t, cfg); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "data", "audit", "tree", "stamped"))
	if err != nil || !strings.Contains(string(b), "\n— rfc3161 ") {
		t.Errorf("%q, %v", b, err)
	}

	// A log that was put back with its checkpoint does not contain what was stamped.
	for _, name := range []string{"checkpoint", "edge"} {
		if err := os.Remove(filepath.Join(dir, "data", "audit", "tree", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "data", "audit", "audit-00000001.wal")); err != nil {
		t.Fatal(err)
	}
	if err := served(t, cfg); err == nil {
		t.Error("it serves without what was stamped")
	}
}

func TestGatewayServesWithoutItsTimestampAuthority(t *testing.T) {
	stranger, err := stamptest.New("time.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		trusted []byte
		down    bool
	}{"down": {nil, true}, "another's certificate": {stranger.Root, false}} {
		t.Run(name, func(t *testing.T) {
			cfg, dir, s := stamped(t, c.trusted)
			if c.down {
				s.Close()
			}
			if err := served(t, cfg); !errors.Is(err, tree.ErrUnstamped) {
				t.Errorf("the end says nothing of the authority: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "data", "audit", "tree", "stamped")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what no authority stamped is kept as stamped: %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, "data", "audit", "tree", "checkpoint")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCertificatesOfTheTimestampAuthorityAreChecked(t *testing.T) {
	cfg, _, _ := stamped(t, []byte("no certificate"))
	if err := served(t, cfg); err == nil || !strings.Contains(err.Error(), "audit.evidence.timestamp.ca_file: tsa.pem: no certificates") {
		t.Errorf("served: %v", err)
	}
}

// TestGatewayStopsOnceAWitnessSawAnotherHistory: somebody serves the same log elsewhere.
func TestGatewayStopsOnceAWitnessSawAnotherHistory(t *testing.T) {
	for _, tc := range []struct {
		what string
		seen evidence.Checkpoint
		want error
	}{
		{"a longer one (409)", evidence.Checkpoint{Size: 1000}, witness.ErrAhead},
		{"another beginning (422)", evidence.Checkpoint{Size: 1, Root: evidence.Hash{1}}, witness.ErrForked},
	} {
		t.Run(tc.what, func(t *testing.T) {
			cfg, dir, _ := witnessed(t)
			s := growing(t, cfg, func() {
				tc.seen.Origin = origin(t, cfg)
				seen(t, dir, &tc.seen)
			})
			s.commits.every = time.Millisecond
			if err := s.commits.run(t.Context()); !errors.Is(err, tree.ErrRolledBack) || !errors.Is(err, tc.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestGatewayGoesOnWithAWitnessThatLags: it was put back to what it saw before, or lost
// its last answer, and is shown what is new.
func TestGatewayGoesOnWithAWitnessThatLags(t *testing.T) {
	cfg, dir, _ := witnessed(t)
	if err := served(t, cfg); err != nil {
		t.Fatal(err)
	}
	before := filepath.Join(t.TempDir(), "seen")
	if err := os.CopyFS(before, os.DirFS(filepath.Join(dir, "seen"))); err != nil {
		t.Fatal(err)
	}

	s := growing(t, cfg, func() {
		if err := os.RemoveAll(filepath.Join(dir, "seen")); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(dir, "seen"), os.DirFS(before)); err != nil {
			t.Fatal(err)
		}
	})
	if err := s.commits.commit(t.Context()); err != nil {
		t.Error(err)
	}
}

// growing is a gateway whose log has grown since the witness saw it, and since something
// happened to the witness.
func growing(t *testing.T, cfg *config.Config, happens func()) *Server {
	t.Helper()
	if err := served(t, cfg); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), cfg, NewLogger(config.Log{}, new(lockedBuffer)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(t.Context()) })

	happens()
	if err := s.journal.Record(t.Context(), audit.ControlEntry{Kind: audit.KindStart, Subject: "gateway", Outcome: "started"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// origin is the name of a gateway's log.
func origin(t *testing.T, cfg *config.Config) string {
	t.Helper()
	signer, _, err := loadLogKey(cfg.File(cfg.Audit.Evidence.KeyFile), cfg.Node)
	if err != nil {
		t.Fatal(err)
	}
	return signer.Name()
}

// seen has the witness keep another checkpoint than the one that it saw.
func seen(t *testing.T, dir string, c *evidence.Checkpoint) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "seen", "*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := os.WriteFile(names[0], []byte(c.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGatewayMakesNoKeyForALogThatAnotherSigned: a new one would take the place of the
// public half that auditors have.
func TestGatewayMakesNoKeyForALogThatAnotherSigned(t *testing.T) {
	cfg, dir := committed(t)
	if err := served(t, cfg); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "data", "log.key")
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}

	if err := served(t, cfg); err == nil || !strings.Contains(err.Error(), "log.key is missing") {
		t.Errorf("without its key: %v", err)
	}
	if now, err := os.ReadFile(key + ".pub"); err != nil || !bytes.Equal(now, public) {
		t.Errorf("the public half became %q, %v", now, err)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	if err := served(t, cfg); err != nil {
		t.Errorf("with its key again: %v", err)
	}
}

func TestGatewayNeedsBothHalvesOfItsLogKey(t *testing.T) {
	cfg, dir := committed(t)
	if err := served(t, cfg); err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(dir, "data", "log.key.pub")
	for _, content := range []string{"", "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n"} {
		if err := os.WriteFile(public, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := served(t, cfg); err == nil || !strings.Contains(err.Error(), "audit.evidence.key_file") {
			t.Errorf("public half %q: %v", content, err)
		}
	}
}

// TestCommittingGoesOnAfterAFailure: whatever was in the way, nothing is missing from
// the checkpoint that comes after it.
func TestCommittingGoesOnAfterAFailure(t *testing.T) {
	cfg, dir := committed(t)
	s, err := Open(t.Context(), cfg, NewLogger(config.Log{}, new(lockedBuffer)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(t.Context()) })
	record := func() {
		t.Helper()
		if err := s.journal.Record(t.Context(), audit.ControlEntry{Kind: audit.KindStart, Subject: "gateway", Outcome: "started"}); err != nil {
			t.Fatal(err)
		}
	}

	record()
	elsewhere := filepath.Join(dir, "elsewhere")
	if err := os.Rename(elsewhere, elsewhere+"-gone"); err != nil {
		t.Fatal(err)
	}
	if err := s.commits.commit(t.Context()); err == nil {
		t.Fatal("a copy that could not be made is no failure")
	}

	if err := os.Rename(elsewhere+"-gone", elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := s.commits.commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.commits.tree.Committed(); got != 2 { // the opening and that
		t.Errorf("the checkpoint speaks for %d entries", got)
	}

	own, err := os.ReadFile(filepath.Join(dir, "data", "audit", "tree", "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if copied, err := os.ReadFile(filepath.Join(elsewhere, "checkpoint")); err != nil || string(copied) != string(own) {
		t.Errorf("the copy is %q, %v", copied, err)
	}
}
