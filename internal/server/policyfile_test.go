package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/config"
)

// signedPolicy is oneModule under a signed bundle.
func signedPolicy() string {
	return strings.Replace(oneModule, "policy: {path: policy}",
		"policy: {path: policy.tar.gz, keys: [{id: k1, file: policy.pub}]}", 1)
}

// bundle puts one of the policy's own test bundles in the place of the policy.
func (s *site) bundle(name string) {
	s.t.Helper()
	s.write("policy.tar.gz", must(os.ReadFile(filepath.Join("../../policy/testdata", name))))
}

// underBundle is a site with a signed policy, not loaded yet.
func underBundle(t *testing.T, name string) *site {
	s := newSite(t, signedPolicy())
	s.write("policy.pub", must(os.ReadFile("../../policy/testdata/policy.pub")))
	s.bundle(name)
	return s
}

func TestSignedPolicyIsVerifiedAndTheLastGoodOneStays(t *testing.T) {
	s := underBundle(t, "bundle-7.tar.gz")
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}

	_, runs := version("uppercase")
	s.expect("under revision 7", runs)

	s.bundle("changed-9.tar.gz")
	s.look()
	s.expect("after a bundle that was changed after it was signed", runs)

	if !strings.Contains(s.log.String(), "signature does not verify") {
		t.Errorf("nobody is told: %s", s.log)
	}

	s.bundle("bundle-8.tar.gz")
	s.look()
	s.expect("under revision 8, which denies", "not_today")

	s.bundle("bundle-7.tar.gz")
	s.look()
	s.expect("after somebody put revision 7 back", "not_today")

	if !strings.Contains(s.log.String(), "revision 7 after 8") {
		t.Errorf("nobody is told: %s", s.log)
	}
}

// A restart forgets nothing: neither which revision was reached, nor the bundle.
func TestSignedPolicyIsKeptOverARestart(t *testing.T) {
	s := underBundle(t, "bundle-8.tar.gz")
	if err := s.r.load(t.Context()); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"bundle-7.tar.gz", "changed-9.tar.gz"} {
		s.bundle(name)
		s.restart()
		if err := s.r.load(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.expect("started with "+name, "not_today")
	}
}

// A binding may name any class: whether there is such a one is for the policy.
func TestClassesOfDataAreThoseOfThePolicy(t *testing.T) {
	own := strings.ReplaceAll(oneModule, "modules: [m]}", "modules: [m], data_class: topsecret}")
	_, runs := version("uppercase")
	loaded(t, own).expect("where the policy has no classes", runs)

	builtIn := strings.Replace(own, "policy: {path: policy}", "", 1)
	loaded(t, builtIn).expect("where the built-in policy decides", "data_class_unknown")
}

func TestGatewayDoesNotStartOnAPolicyThatNobodySigned(t *testing.T) {
	s := underBundle(t, "changed-9.tar.gz")
	if err := s.r.load(t.Context()); err == nil || !strings.Contains(err.Error(), "signature does not verify") {
		t.Errorf("got %v", err)
	}
}

func TestKeysOfAPolicyWantABundle(t *testing.T) {
	yaml := strings.Replace(signedPolicy(), "policy.tar.gz", "policy", 1)
	if _, err := config.Parse([]byte(yaml), "guardlock.yaml"); err == nil || !strings.Contains(err.Error(), "must be a bundle") {
		t.Errorf("got %v", err)
	}
}
