package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
)

// authorities are the authority entries so far.
func (r *recorder) authorities() (all []audit.ControlEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.Kind == audit.KindAuthority {
			all = append(all, e)
		}
	}
	return all
}

// snapshotOf reads the snapshot that an authority entry names.
func (s *site) snapshotOf(e *audit.ControlEntry) *objects.Snapshot {
	s.t.Helper()
	for _, f := range e.Loaded.Files {
		if f.Role == objects.RoleSnapshot {
			raw := must(s.store().Read(f.Digest, objects.MaxSnapshot))
			return must(objects.ParseSnapshot(raw))
		}
	}
	s.t.Fatal("the entry names no snapshot")
	return nil
}

// store is the site's object store, as another process sees it.
func (s *site) store() *objects.Store { return objects.Of(s.r.cfg.File(s.r.cfg.Audit.Dir)) }

func (s *site) content(name string) []byte {
	s.t.Helper()
	return must(os.ReadFile(filepath.Join(s.dir, name)))
}

func TestAnAuthorityNamesAllThatIsServedUnder(t *testing.T) {
	s := loaded(t, oneModule)
	all := s.record.authorities()
	if len(all) != 1 || all[0].Outcome != "in_force" || all[0].Subject != "guardlock.yaml" {
		t.Fatalf("the entries are %+v", all)
	}

	got := s.snapshotOf(&all[0])
	if len(got.Modules) != 1 || len(got.Bindings) != 3 || got.Bindings[2].Topics[0] != "three*" || got.Bindings[2].Modules[0] != 0 {
		t.Errorf("the snapshot is %+v", got)
	}
	m := &got.Modules[0]
	for d, want := range map[audit.Digest][]byte{
		m.Wasm:                s.content("m/m.wasm"),
		m.Config:              nil,
		m.Signature:           s.content("m/m.sigstore.json"),
		m.Approvals[0].Bundle: s.content("m/approval.sigstore.json"),
		got.Files[0].Digest:   []byte(oneModule),
		got.Files[1].Digest:   s.content("trust.json"),
	} {
		if b, err := s.store().Read(d, objects.MaxBytes); err != nil || !bytes.Equal(b, want) {
			t.Errorf("object %s: %d bytes, want %d; %v", d, len(b), len(want), err)
		}
	}
	for _, o := range got.Named() {
		if state, err := s.store().Look(o.Digest); state != objects.Kept || err != nil {
			t.Errorf("%s is %s, %v", o.Role, state, err)
		}
	}

	policy := string(must(s.store().Read(got.Files[3].Digest, objects.MaxBytes)))
	if got.Files[3].Role != rolePolicy || !strings.Contains(policy, "module.rego") || !strings.Contains(policy, "not_today") {
		t.Errorf("the policy is kept as %q", policy)
	}
}

// Each entry is one that something changed for: a reload that changes nothing writes none.
func TestAnAuthorityIsRecordedWhenItChanges(t *testing.T) {
	s := loaded(t, oneModule)
	step := func(what string, want int) {
		t.Helper()
		s.look()
		if got := len(s.record.authorities()); got != want {
			t.Errorf("%s: %d authorities, want %d", what, got, want)
		}
	}

	step("nothing changed", 1)
	s.write("m/m.wasm", s.content("m/m.wasm"))
	step("a file was written again", 1)

	s.policy("true != false")
	step("another policy", 2)
	s.policy("true")
	step("the first policy again", 3)
	if err := s.r.loadTrust(t.Context()); err != nil {
		t.Fatal(err)
	}
	step("the trust root was read again", 3)

	_, digest := version("uppercase")
	s.trust(digest)
	if err := s.r.loadTrust(t.Context()); err != nil {
		t.Fatal(err)
	}
	step("the module was revoked", 4)

	all := s.record.authorities()
	last := s.snapshotOf(&all[3])
	if len(last.Modules) != 0 || last.Bindings[0].Refused != "revoked" {
		t.Errorf("after the revocation it is %+v", last)
	}
}

// refusing refuses entries of one kind.
type refusingRecorder struct {
	*recorder
	kind audit.Kind
}

var errRefusing = errors.New("the disk is full")

func (r refusingRecorder) Record(ctx context.Context, e audit.ControlEntry) error {
	if e.Kind == r.kind {
		return errRefusing
	}
	return r.recorder.Record(ctx, e)
}

func TestNothingIsServedUnderAnAuthorityThatIsNotRecorded(t *testing.T) {
	s := newSite(t, oneModule)
	s.r.record = refusingRecorder{s.record, audit.KindAuthority}
	if err := s.r.load(t.Context()); !errors.Is(err, errRefusing) || s.served["main"] != nil {
		t.Errorf("the load ended with %v, and serves %v", err, s.served)
	}

	s.r.record = s.record
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, before := version("uppercase")
	s.expect("at first", before)

	s.r.record = refusingRecorder{s.record, audit.KindAuthority}
	s.policy("false")
	s.look()
	s.expect("while the new authority cannot be recorded", before)

	s.r.record = s.record
	s.look()
	s.expect("once it is recorded", "not_today")
}

func TestNothingIsServedUnderAnAuthorityThatCannotBeKept(t *testing.T) {
	s := newSite(t, oneModule)
	dir := filepath.Dir(s.store().Path(audit.Digest{}))
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("in-the-way", nil)
	if err := os.Rename(filepath.Join(s.dir, "in-the-way"), dir); err != nil {
		t.Fatal(err)
	}

	if err := s.r.load(t.Context()); err == nil || s.served["main"] != nil || len(s.record.authorities()) != 0 {
		t.Errorf("the load ended with %v, and serves %v", err, s.served)
	}
}

// An object that somebody changed is put right by the gateway, which has the content.
func TestADamagedObjectIsRepairedAtTheNextStart(t *testing.T) {
	s := loaded(t, oneModule)
	digest := audit.Digest(sha256.Sum256(s.content("m/m.wasm")))
	path := s.store().Path(digest)
	if err := os.WriteFile(path, []byte("another module"), 0o600); err != nil {
		t.Fatal(err)
	}

	s.restart()
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state, err := s.store().Look(digest); state != objects.Kept || err != nil {
		t.Errorf("then it is %s, %v", state, err)
	}
	if !strings.Contains(s.log.String(), "was damaged") {
		t.Errorf("nobody is told: %s", s.log)
	}
}

// A thousand bindings are one entry, of the size of any other, and each module is kept
// once.
func TestManyBindingsAreOneAuthority(t *testing.T) {
	var yaml strings.Builder
	yaml.WriteString(strings.Split(oneModule, "bindings:")[0] + "bindings:\n")
	for n := range 1000 {
		fmt.Fprintf(&yaml, "  - {topics: [topic-%d], modules: [m]}\n", n)
	}

	s := loaded(t, yaml.String())
	all := s.record.authorities()
	if len(all) != 1 {
		t.Fatalf("%d authorities", len(all))
	}
	if n := len(fmt.Sprintf("%+v", *all[0].Loaded)); n > 2000 || len(all[0].Loaded.Files) != 5 {
		t.Errorf("the entry has %d files, in %d characters", len(all[0].Loaded.Files), n)
	}
	if got := s.snapshotOf(&all[0]); len(got.Bindings) != 1000 || len(got.Modules) != 1 {
		t.Errorf("the snapshot has %d bindings and %d modules", len(got.Bindings), len(got.Modules))
	}

	kept := must(os.ReadDir(filepath.Dir(s.store().Path(audit.Digest{}))))
	sums := 0
	for _, f := range kept {
		if strings.HasPrefix(f.Name(), "sha256-") {
			sums++
		}
	}
	if sums != 8 { // module, signature, approval; configuration, trust root, policy; snapshot; and what is empty
		t.Errorf("%d objects are kept", sums)
	}
}
