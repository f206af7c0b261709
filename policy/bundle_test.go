package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

const scope = "guardlock"

// signer makes a key, and the Key that verifies it.
func signer(t *testing.T, id string) (private string, k Key) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	priv, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}

	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}

	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: priv})),
		Key{ID: id, PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})), Scope: scope}
}

// bundled packs the policy, signed if there is a key.
func bundled(t *testing.T, decision, private, id string) []byte {
	t.Helper()
	text := "package guardlock.module\n\n" + decision + "\n"
	b := bundle.Bundle{
		Manifest: bundle.Manifest{Revision: "7", Roots: &[]string{"guardlock", "config"}},
		Data:     map[string]any{"config": map[string]any{"x": "y"}},
		Modules: []bundle.ModuleFile{{
			URL: "m.rego", Path: "/m.rego", Raw: []byte(text), Parsed: ast.MustParseModule(text),
		}},
	}

	if private != "" {
		claims := bundle.NewSigningConfig(private, "ES256", "")
		if err := b.GenerateSignature(claims, id, false); err != nil {
			t.Fatal(err)
		}
	}

	var out bytes.Buffer
	if err := bundle.NewWriter(&out).Write(b); err != nil {
		t.Fatal(err)
	}

	return out.Bytes()
}

// repacked returns the bundle with every file passed through edit, and with
// the extra files.
func repacked(t *testing.T, tarball []byte, edit func(name string, body []byte) []byte, extra ...string) []byte {
	t.Helper()
	gz, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)

	put := func(name string, body []byte) {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if err != nil {
			break
		}

		var body bytes.Buffer
		if _, err := body.ReadFrom(tr); err != nil {
			t.Fatal(err)
		}
		put(h.Name, edit(h.Name, body.Bytes()))
	}

	for _, name := range extra {
		put(name, []byte("package extra\n"))
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}

	return out.Bytes()
}

func unchanged(_ string, body []byte) []byte { return body }

func TestBundleDecides(t *testing.T) {
	tarball := bundled(t, allowing, "", "")
	for name, load := range map[string]func() (*Engine, error){
		"bytes":     func() (*Engine, error) { return LoadBundle(t.Context(), tarball, Options{}) },
		"directory": func() (*Engine, error) { return Load(t.Context(), fstest.MapFS{"b.tar.gz": {Data: tarball}}) },
	} {
		e, err := load()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d, err := e.Decide(t.Context(), request()); err != nil || !d.Allow {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestSignedBundleIsVerified(t *testing.T) {
	private, key := signer(t, "k1")
	otherPrivate, other := signer(t, "k1")
	// The scope is a claim that OPA's signer takes from a claims file; a
	// signature without it must not pass for one that has it.
	unscoped := bundled(t, allowing, private, "k1")
	signed := scoped(t, unscoped, private)
	tampered := repacked(t, signed, func(name string, body []byte) []byte {
		return bytes.ReplaceAll(body, []byte("guardlock_log.log"), []byte("guardlock_lag.log"))
	})
	for name, c := range map[string]struct {
		tarball []byte
		keys    []Key
		want    error
	}{
		"signed":       {signed, []Key{key}, nil},
		"unsigned":     {bundled(t, allowing, "", ""), []Key{key}, ErrUnsigned},
		"wrong key":    {signed, []Key{other}, ErrSignature},
		"signed by it": {scoped(t, bundled(t, allowing, otherPrivate, "k1"), otherPrivate), []Key{key}, ErrSignature},
		"other scope":  {unscoped, []Key{key}, ErrSignature},
		"changed file": {tampered, []Key{key}, ErrSignature},
		"extra file":   {repacked(t, signed, unchanged, "/extra.rego"), []Key{key}, ErrSignature},
		"either key":   {signed, []Key{other, key}, nil},
		"HMAC by PEM":  {signed, []Key{{ID: "k1", PEM: key.PEM, Algorithm: "HS256", Scope: scope}}, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadBundle(t.Context(), c.tarball, Options{Keys: c.keys})
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}

	for _, bad := range []Key{{PEM: key.PEM, Scope: scope}, {ID: "k1", PEM: key.PEM}} {
		if _, err := LoadBundle(t.Context(), signed, Options{Keys: []Key{bad}}); err == nil {
			t.Errorf("a key without id or scope is accepted: %+v", bad)
		}
	}
}

// scoped signs the bundle again with the scope claim.
func scoped(t *testing.T, tarball []byte, private string) []byte {
	t.Helper()
	b, err := bundle.NewReader(bytes.NewReader(tarball)).WithSkipBundleVerification(true).Read()
	if err != nil {
		t.Fatal(err)
	}

	claims := t.TempDir() + "/claims.json"
	writeFile(t, claims, `{"scope": "`+scope+`"}`)
	if err := b.GenerateSignature(bundle.NewSigningConfig(private, "ES256", claims), "k1", false); err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	if err := bundle.NewWriter(&out).Write(b); err != nil {
		t.Fatal(err)
	}

	return out.Bytes()
}

// numberedBundle is a signed bundle of this revision.
func numberedBundle(t *testing.T, revision, decision, private string) []byte {
	t.Helper()
	b, err := bundle.NewReader(bytes.NewReader(bundled(t, decision, "", ""))).WithSkipBundleVerification(true).Read()
	if err != nil {
		t.Fatal(err)
	}

	b.Manifest.Revision = revision

	var out bytes.Buffer
	if err := bundle.NewWriter(&out).Write(b); err != nil {
		t.Fatal(err)
	}
	return scoped(t, out.Bytes(), private)
}

func TestRevisionOfASignedBundleIsANumber(t *testing.T) {
	private, key := signer(t, "k1")
	for revision, want := range map[string]int64{"7": 7, "9223372036854775807": 1<<63 - 1, "": 0, "0": 0, "-1": 0, "07": 0, "r8": 0, "1.2": 0} {
		e, err := LoadBundle(t.Context(), numberedBundle(t, revision, allowing, private), Options{Keys: []Key{key}})
		if (want == 0) != errors.Is(err, ErrRevision) || want != 0 && (err != nil || e.BundleRevision() != want) {
			t.Errorf("%q: %v", revision, err)
		}
	}

	e, err := LoadBundle(t.Context(), numberedBundle(t, "r8", allowing, private), Options{})
	if err != nil || e.BundleRevision() != 0 {
		t.Errorf("where nobody verifies: %v", err)
	}
}

// writeBundles makes the signed bundles that tests of this and other rooms read:
// 7 allows, 8 denies, and 9 was changed after it was signed.
func writeBundles(t *testing.T) {
	t.Helper()
	private, key := signer(t, "k1")
	allow := strings.NewReplacer(`["guardlock_log.log"]`, "input.module.imports", `"2026-03-02T00:00:00Z"`, "input.grant.not_after",
		`{"memory_bytes": 1, "deadline_ms": 2, "output_bytes": 3, "instances": 4}`, `{"memory_bytes": 0, "deadline_ms": 0, "output_bytes": 0, "instances": 0}`).Replace(allowing)

	deny := strings.NewReplacer("true", "false", `"reasons": []`, `"reasons": ["not_today"]`).Replace(allow)

	for name, content := range map[string][]byte{
		"policy.pub":      []byte(key.PEM),
		"bundle-7.tar.gz": numberedBundle(t, "7", allow, private),
		"bundle-8.tar.gz": numberedBundle(t, "8", deny, private),
		"changed-9.tar.gz": repacked(t, numberedBundle(t, "9", deny, private), func(_ string, body []byte) []byte {
			return bytes.ReplaceAll(body, []byte("not_today"), []byte("never_ever"))
		}),
	} {
		if err := os.WriteFile(filepath.Join("testdata", name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var update = flag.Bool("update", false, "write the bundles of testdata anew")

func TestSignedBundlesStayAcceptable(t *testing.T) {
	if *update {
		writeBundles(t)
	}
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}

	keys := []Key{{ID: "k1", PEM: string(read("policy.pub")), Scope: scope}}
	for name, want := range map[string]error{"bundle-7.tar.gz": nil, "bundle-8.tar.gz": nil, "changed-9.tar.gz": ErrSignature} {
		if _, err := LoadBundle(t.Context(), read(name), Options{Keys: keys}); !errors.Is(err, want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestDirectoryIsRefusedWhenKeysAreGiven(t *testing.T) {
	_, key := signer(t, "k1")
	if _, err := LoadWith(t.Context(), Default(), Options{Keys: []Key{key}}); !errors.Is(err, ErrUnsigned) {
		t.Errorf("got %v", err)
	}
}

// A bomb of 300 KB that unpacks to 300 MB, in files that are small enough each.
func TestBundleThatUnpacksToTooMuchIsRefused(t *testing.T) {
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	zeros := make([]byte, maxFileBytes-1)
	for n := range 75 {
		if err := tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("/%d/data.json", n), Mode: 0o600, Size: int64(len(zeros))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}

	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}

	_, key := signer(t, "k1")
	for _, keys := range [][]Key{nil, {key}} {
		if _, err := LoadBundle(t.Context(), out.Bytes(), Options{Keys: keys}); err == nil || !strings.Contains(err.Error(), "unpacks to more") {
			t.Errorf("got %v", err)
		}
	}
}

func TestOddSourcesAreRefused(t *testing.T) {
	tarball := bundled(t, allowing, "", "")
	for name, fsys := range map[string]fstest.MapFS{
		"empty":         {},
		"wasm bundle":   {"a.tar.gz": {Data: repacked(t, tarball, unchanged, "/policy.wasm")}},
		"delta bundle":  {"a.tar.gz": {Data: repacked(t, tarball, unchanged, "/patch.json")}},
		"two bundles":   {"a.tar.gz": {Data: tarball}, "b.tar.gz": {Data: tarball}},
		"not a bundle":  {"a.tar.gz": {Data: []byte("no")}},
		"twice a file":  {"a.tar.gz": {Data: repacked(t, tarball, unchanged, "/m.rego")}},
		"data clash":    {"m.rego": {Data: []byte("package guardlock.module\n\n" + allowing)}, "data.json": {Data: []byte(`{"a":{"b":1}}`)}, "a/data.json": {Data: []byte(`{"b":2}`)}},
		"data no map":   {"m.rego": {Data: []byte("package guardlock.module\n\n" + allowing)}, "data.json": {Data: []byte(`[1]`)}},
		"data for rule": {"m.rego": {Data: []byte("package guardlock.module\n\n" + allowing)}, "data.json": {Data: []byte(`{"guardlock":{"module":{"decision":{"allow":true}}}}`)}},
		"old rego":      {"m.rego": {Data: []byte("package guardlock.module\n\ndecision { true }")}},
	} {
		if e, err := Load(t.Context(), fsys); err == nil {
			t.Errorf("%s is loaded, revision %s", name, e.Revision())
		}
	}
}

func writeFile(t *testing.T, name, body string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}
