package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	predicate "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/guardlock/guardlock/signing"
)

// What docs/releasing.md says to do without any tool of ours: openssl checks the
// signature over the checksums, and sha256sum the files.
func TestReleaseIsVerifiedWithoutAnyToolOfOurs(t *testing.T) {
	dir := t.TempDir()
	public, err := key.Public().MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		MessageSignature struct {
			Signature string `json:"signature"`
		} `json:"messageSignature"`
	}
	if err := json.Unmarshal(file(t, sumsBundle), &b); err != nil {
		t.Fatal(err)
	}
	signature, err := base64.StdEncoding.DecodeString(b.MessageSignature.Signature)
	if err != nil {
		t.Fatal(err)
	}

	for name, data := range map[string][]byte{"release.pub": public, "signature": signature} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := command(t, dir, "openssl", "dgst", "-sha256", "-verify", "release.pub", "-signature", "signature", filepath.Join(made.out, sumsName))
	if !strings.Contains(got, "Verified OK") {
		t.Errorf("openssl says %s", got)
	}
	command(t, made.out, "sha256sum", "--check", "--strict", sumsName)
}

// What docs/operating.md has operators run, on a release that is whole and on one that
// is not.
func TestReleaseIsVerifiedAsOperatorsAreTold(t *testing.T) {
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "go -C deploy/release run . -verify ~/release.pub ~/guardlock-1.2.3\n") {
		t.Fatal("docs/operating.md has another command")
	}
	public, err := key.Public().MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pub := filepath.Join(dir, "release.pub")
	if err := os.WriteFile(pub, public, 0o644); err != nil {
		t.Fatal(err)
	}

	got := command(t, "../..", "go", "-C", "deploy/release", "run", ".", "-verify", pub, made.out)
	for _, want := range []string{"files are those of " + testVersion, "made from " + "git+" + sourceURL} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}

	whole := filepath.Join(dir, "copy")
	if err := os.CopyFS(whole, os.DirFS(made.out)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(whole, "guardlock_0.9.1~rc.2_amd64.deb"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "-C", "deploy/release", "run", ".", "-verify", pub, whole)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "is not the file that was released") {
		t.Errorf("a changed package: %v\n%s", err, out)
	}
}

// The statement is read by in-toto's own types, which know each field of a provenance.
func TestProvenanceIsAsInTotoAndSLSAHaveIt(t *testing.T) {
	payload, err := key.Public().VerifyAttestation(t.Context(), file(t, provenanceName))
	if err != nil {
		t.Fatal(err)
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(payload, &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}

	raw, err := protojson.Marshal(s.GetPredicate())
	if err != nil {
		t.Fatal(err)
	}
	var p predicate.Provenance
	if err := protojson.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}

	var named []digest
	for _, sub := range s.GetSubject() {
		named = append(named, digest{name: sub.GetName(), sum: sub.GetDigest()["sha256"]})
	}
	if want := listed(file(t, sumsName)); !slices.Equal(named, want) || len(named) != 13 {
		t.Errorf("it is about %v, want %v", named, want)
	}
	if got := p.GetBuildDefinition().GetResolvedDependencies()[0].GetDigest()["gitCommit"]; got != testRevision {
		t.Errorf("commit %s", got)
	}
}

// Whoever stands between the release and who downloads it can change any file.
func TestVerifyFindsEveryChange(t *testing.T) {
	other, err := signing.GenerateKey(fixedRandom{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) func(*release) error {
		return func(r *release) error { return os.WriteFile(filepath.Join(r.out, name), []byte(text), 0o644) }
	}
	remove := func(name string) func(*release) error {
		return func(r *release) error { return os.Remove(filepath.Join(r.out, name)) }
	}
	// take puts a bundle of another release, with the same key, in the place of ours.
	take := func(name string) func(*release) error {
		return func(r *release) error {
			data, err := os.ReadFile(filepath.Join(small(t, "other").out, name))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(r.out, name), data, 0o644)
		}
	}

	for name, c := range map[string]struct {
		change func(*release) error
		want   string
	}{
		"nothing":            {func(*release) error { return nil }, ""},
		"a file":             {write("a.tar.gz", "evil"), "a.tar.gz is not the file that was released"},
		"a file away":        {remove("b.deb"), "b.deb is missing"},
		"a file more":        {write("c.deb", ""), "c.deb is no file of this release"},
		"sums":               {write(sumsName, ""), signing.ErrFileChanged.Error()},
		"sums away":          {remove(sumsName), "no such file"},
		"signature away":     {remove(sumsBundle), "no such file"},
		"provenance away":    {remove(provenanceName), "no such file"},
		"another signature":  {take(sumsBundle), signing.ErrFileChanged.Error()},
		"another provenance": {take(provenanceName), "it is about other files"},
		"sums for provenance": {func(r *release) error {
			return os.Rename(filepath.Join(r.out, sumsBundle), filepath.Join(r.out, provenanceName))
		}, "no such file"},
		"another key": {func(r *release) error {
			for _, name := range []string{sumsBundle, provenanceName} {
				if err := os.Remove(filepath.Join(r.out, name)); err != nil {
					return err
				}
			}
			return r.sign(t.Context(), other)
		}, signing.ErrOtherKey.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			r := small(t, "content")
			if err := c.change(r); err != nil {
				t.Fatal(err)
			}

			_, err := verify(t.Context(), key.Public(), r.out)
			if got := errorText(err); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// fixedRandom is no source for keys, and good enough for one that signs nothing real.
type fixedRandom struct{}

func (fixedRandom) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 7
	}
	return len(p), nil
}

// small is a signed release of two files, for tests that change it.
func small(t *testing.T, content string) *release {
	t.Helper()
	r := &release{out: t.TempDir(), version: testVersion, revision: testRevision, epoch: made.epoch, began: made.began}
	for _, name := range []string{"a.tar.gz", "b.deb"} {
		if err := r.create(name, func(w io.Writer) error { _, err := io.WriteString(w, content); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.sums(); err != nil {
		t.Fatal(err)
	}
	if err := r.sign(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	return r
}
