package signing

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/problem"
)

func TestTrustRootReportsAllProblemsAtOnce(t *testing.T) {
	w := newWorld(t)
	raw := w.doc(0, func(d *rootDoc) {
		d.Authors[0].Identity = "a b"
		d.Authors[1].Key = "no key"
		d.Approvers[1].Identity = "BOB"
		d.Approvers[2].NotBefore = "2026-03-01T12:00:00Z"
		d.Approvers[2].NotAfter = "2026-03-01T12:00:00Z"
		d.Approvers[3] = d.Approvers[0]
		d.Revoked.Digests = []string{"xyz"}
		d.Revoked.Keys = []string{"xyz"}
		d.Revoked.Approvals = []string{"xyz"}
	})

	_, err := ParseTrustRoot(raw)
	var ps problem.List
	if !errors.As(err, &ps) {
		t.Fatalf("got %v", err)
	}

	var at []string
	for _, p := range ps {
		at = append(at, p.Path)
	}

	want := []string{
		"authors[0].identity", "authors[1].key", "approvers[1].identity", "approvers[2].not_after", "approvers[3].key",
		"threshold", "revoked.digests[0]", "revoked.keys[0]", "revoked.approvals[0]",
	}
	if !slices.Equal(at, want) {
		t.Errorf("got  %v\nwant %v\n%v", at, want, err)
	}
}

func TestTrustRootRefusals(t *testing.T) {
	w := newWorld(t)
	good := string(w.doc(1))
	for name, c := range map[string]struct{ raw, says string }{
		"empty":            {"", "empty"},
		"not YAML":         {"{", ""},
		"unknown field":    {strings.Replace(good, `"threshold"`, `"treshold"`, 1), "treshold"},
		"doubled field":    {strings.Replace(good, `"threshold":1`, `"threshold":1,"threshold":2`, 1), "threshold"},
		"two documents":    {good + "\n---\n" + good, "one YAML document"},
		"no authors":       {string(w.doc(1, func(d *rootDoc) { d.Authors = nil })), "authors: must list"},
		"no approvers":     {string(w.doc(1, func(d *rootDoc) { d.Approvers = nil })), "approvers: must list"},
		"too many needed":  {string(w.doc(4)), "asks for 4 people, but only 3"},
		"key of two":       {string(w.doc(1, func(d *rootDoc) { d.Approvers[2].Key = d.Authors[0].Key })), "same key"},
		"private key":      {string(w.doc(1, func(d *rootDoc) { d.Authors[0].Key = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----" })), "authors[0].key"},
		"threshold a text": {strings.Replace(good, `"threshold":1`, `"threshold":"many"`, 1), "want a whole number"},
		"too large":        {strings.Repeat(" ", MaxTrustRootBytes+1), "larger"},
	} {
		if _, err := ParseTrustRoot([]byte(c.raw)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", name, err)
		} else if strings.Contains(err.Error(), "trustFile") {
			t.Errorf("%s: speaks Go: %v", name, err)
		}
	}
}

func TestTrustRootInYAML(t *testing.T) {
	w := newWorld(t)
	indent := func(k *PrivateKey) string {
		return strings.ReplaceAll(strings.TrimSpace(listed(t, "", k).Key), "\n", "\n      ")
	}

	raw := "authors:\n  - identity: ada\n    key: |\n      " + indent(w.ada) +
		"\napprovers:\n  - identity: bob\n    not_after: 2026-04-01T00:00:00Z\n    key: |\n      " + indent(w.bob) + "\n"
	root, err := ParseTrustRoot([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if root.Threshold() != 1 || root.Digest() != sha256.Sum256([]byte(raw)) {
		t.Errorf("got %+v", root)
	}
	if !slices.Equal(root.Authors(), []Identity{"ada"}) || !slices.Equal(root.Approvers(), []Identity{"bob"}) {
		t.Errorf("got %v and %v", root.Authors(), root.Approvers())
	}
	if _, err := root.VerifyPackage(t.Context(), w.packaged(w.approved(w.bob)), noon()); err != nil {
		t.Error(err)
	}

	late := approval().NotBefore.AddDate(0, 2, 0)
	if _, err := root.VerifyPackage(t.Context(), w.packaged(w.approved(w.bob)), late); !errors.Is(err, ErrKeyExpired) {
		t.Errorf("got %v", err)
	}
}
