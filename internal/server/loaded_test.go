package server

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
)

// The last entry of a configuration says what is in force, file by file, and which
// file cannot be used.
func TestEntriesOfConfigurationsNameWhatWasLoadedAndTheFileAtFault(t *testing.T) {
	s := loaded(t, oneModule)
	_, digest := version("uppercase")
	digests := func() map[string]audit.Digest {
		found := map[string]audit.Digest{}
		for _, f := range s.record.lastConfig().Loaded.Files {
			found[f.Role+" "+f.Name] = f.Digest
		}
		return found
	}

	file := func(name string) audit.Digest { return sha256.Sum256(must(os.ReadFile(filepath.Join(s.dir, name)))) }

	first := digests()
	none := audit.Digest(sha256.Sum256(nil))
	if e := s.record.lastConfig(); e.Outcome != "applied" || e.Loaded.Fault != "" || len(first) != 4 || first["configuration guardlock.yaml"] != file("guardlock.yaml") ||
		first["trust_root trust.json"] != file("trust.json") || first["revocations trust.json"] != none || first["policy policy"].String() != "sha256:"+s.r.work.policy.Revision() {
		t.Errorf("what was applied: %+v", e.Loaded)
	}

	s.trust(digest)
	s.r.lookAtTrust(t.Context())
	s.look()

	second := digests()
	if e := s.record.lastOf(audit.KindAdmission, "*"); e.Admission == nil || e.Admission.TrustRoot != file("trust.json") || e.Admission.Config != none {
		t.Errorf("what was revoked, and by which trust root: %+v", e)
	}
	if second["revocations trust.json"] != sha256.Sum256([]byte("digest "+digest)) || second["trust_root trust.json"] != file("trust.json") ||
		second["policy policy"] != first["policy policy"] {
		t.Errorf("after a revocation: %+v", second)
	}

	for fault, spoil := range map[string]func(){
		"trust.json": func() {
			s.write("trust.json", []byte("oops: ["))
			s.r.lookAtTrust(t.Context())
		},
		"policy": func() {
			s.policy("oops(")
			s.look()
		},
		"guardlock.yaml": func() {
			s.write("guardlock.yaml", []byte("bindings: [broken"))
			if s.r.reread(t.Context()) == nil {
				t.Error("a broken configuration was taken")
			}
		},
	} {
		spoil()
		e := s.record.lastConfig()
		if e.Outcome != "refused" || e.Reason != "unreadable" || e.Loaded.Fault != fault || len(e.Loaded.Files) != 4 || e.Loaded.Files[0].Digest != first["configuration guardlock.yaml"] {
			t.Errorf("with %s broken: %+v %+v", fault, e, e.Loaded)
		}
		if len(e.Steps) != 1 || !strings.Contains(e.Steps[0].Detail, fault) {
			t.Errorf("with %s broken: %+v", fault, e.Steps)
		}
	}
}

// lastConfig is the last entry of a configuration.
func (r *recorder) lastConfig() audit.ControlEntry {
	return r.lastOf(audit.KindConfig, "guardlock.yaml")
}

func (r *recorder) lastOf(kind audit.Kind, subject string) (last audit.ControlEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.Kind == kind && e.Subject == subject {
			last = e
		}
	}
	return last
}
