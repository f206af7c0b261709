package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/internal/exit"
)

// listedPair is the directory of two logs, with a manifest that two approvers signed.
type listedPair struct {
	t   *testing.T
	dir string
}

func newListedPair(t *testing.T) *listedPair {
	t.Helper()
	p := &listedPair{t, t.TempDir()}
	if err := writePairLogs(p.dir); err != nil {
		t.Fatal(err)
	}
	guardlock(t, exit.OK, "audit", "manifest", "make", "--cluster", "payments", "--dir", p.path("a/audit"), "-o", p.path("one.yaml"))
	guardlock(t, exit.OK, "audit", "manifest", "make", "--from", p.path("one.yaml"), "--dir", p.path("b/audit"), "-o", p.path("two.yaml"))
	for _, file := range []string{"one.yaml", "two.yaml"} {
		p.sign(file)
	}
	return p
}

func (p *listedPair) path(name string) string { return filepath.Join(p.dir, name) }

func (p *listedPair) sign(file string) {
	p.t.Helper()
	for _, key := range []string{"a/grace.key", "a/linus.key"} {
		guardlock(p.t, exit.OK, "audit", "manifest", "sign", p.path(file), "--key", p.path(key))
	}
}

// proves makes a certificate of offsets 108 to 111, which are in the first log.
func (p *listedPair) proves(listed string, dirs ...string) *evidence.Certificate {
	p.t.Helper()
	out := filepath.Join(p.t.TempDir(), "certificate.json")
	args := []string{"audit", "prove", "payments/0", "--offsets", "108-111", "--manifest", p.path(listed), "--trust-root", p.path("a/trust.json"), "-o", out}
	for _, dir := range dirs {
		args = append(args, "--dir", p.path(dir))
	}
	guardlock(p.t, exit.OK, args...)
	raw, err := os.ReadFile(out)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := evidence.DecodeCertificate(raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *listedPair) verify(want int, c *evidence.Certificate) string {
	p.t.Helper()
	raw, err := c.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	path := filepath.Join(p.t.TempDir(), "certificate.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return guardlock(p.t, want, "audit", "verify", path, "--log-key", p.path("a/log.key.pub"), "--log-key", p.path("b/log.key.pub"), "--trust-root", p.path("a/trust.json"))
}

// TestCertificateThatLeavesALogOfItsManifestOutIsRefused, whatever is put in its place.
func TestCertificateThatLeavesALogOfItsManifestOutIsRefused(t *testing.T) {
	p := newListedPair(t)
	c := p.proves("two.yaml", "a/audit", "b/audit")
	saysAll(t, p.verify(exit.OK, c), "manifest", "revision 2 of cluster payments", "2 logs", "that the log of guardlock/gw-b/0011, of which a checkpoint and no entry is in it")

	for want, change := range map[string]func(*evidence.Certificate){
		"lists the log guardlock/gw-b/0011 of gw-b, which was left out": func(c *evidence.Certificate) { c.Logs = c.Logs[:1] },
		"the log guardlock/gw-b/0011 is not in the manifest": func(c *evidence.Certificate) {
			c.Manifest = p.proves("one.yaml", "a/audit").Manifest
		},
		"a signature of the manifest in it does not count": func(c *evidence.Certificate) {
			c.Manifest = evidence.NewManifest(c.Manifest.File, append(c.Manifest.Signatures, c.Manifest.Signatures[0]))
		},
		"1 of 2 needed": func(c *evidence.Certificate) {
			c.Manifest = evidence.NewManifest(c.Manifest.File, c.Manifest.Signatures[:1])
		},
		"0 of 2 needed": func(c *evidence.Certificate) {
			c.Manifest = evidence.NewManifest(bytes.Replace(c.Manifest.File, []byte("revision: 2"), []byte("revision: 3"), 1), c.Manifest.Signatures)
		},
		"the manifest in it is not the one that it was written with": func(c *evidence.Certificate) { c.Manifest.File = append(c.Manifest.File, '\n') },
	} {
		changed := *c
		enclosed := *c.Manifest
		enclosed.File = bytes.Clone(enclosed.File)
		changed.Manifest = &enclosed
		change(&changed)
		saysAll(t, p.verify(exit.Refused, &changed), want)
	}

	// The revision before, with the log that it lists, claims less, and says so.
	old := p.proves("one.yaml", "a/audit")
	saysAll(t, p.verify(exit.OK, old), "revision 1 of cluster payments", "not proven: ", "that revision 1 of the manifest was in force when it was decided, and no other that lists more logs")
}
