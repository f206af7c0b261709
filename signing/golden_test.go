package signing

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/sign"
)

var update = flag.Bool("update", false, "write golden files anew")

func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeGolden makes a trust root, a module signature, an approval, and an
// approval as `cosign attest-blob` writes it: Statement v0.1, other field order.
func writeGolden(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	var cosign map[string]any
	if err := json.Unmarshal(statementOf(t, statementV1, statementV01), &cosign); err != nil {
		t.Fatal(err)
	}

	payload, err := json.Marshal(cosign)
	if err != nil {
		t.Fatal(err)
	}

	pred, err := Predicate(approval())
	if err != nil {
		t.Fatal(err)
	}

	for name, body := range map[string][]byte{
		"trust.json":                    w.doc(2),
		"module.wasm":                   wasm(),
		"config.json":                   config(),
		"module.sigstore.json":          w.edited(&sign.PlainData{Data: wasm()}, w.ada),
		"approval.sigstore.json":        w.approved(w.bob),
		"approval-cosign.sigstore.json": w.enveloped(w.eve, payload),
		"predicate.json":                pred,
	} {
		if err := os.WriteFile(filepath.Join("testdata", name), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Files made by an earlier version must stay good.
func TestGoldenBundlesStayAcceptable(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	root, err := ParseTrustRoot(golden(t, "trust.json"))
	if err != nil {
		t.Fatal(err)
	}

	v, err := root.VerifyPackage(t.Context(), Package{
		Wasm: golden(t, "module.wasm"), Config: golden(t, "config.json"), Signature: golden(t, "module.sigstore.json"),
		Approvals: [][]byte{golden(t, "approval.sigstore.json"), golden(t, "approval-cosign.sigstore.json")},
	}, noon())
	if err != nil || v.Author != "ada" || len(v.Approvers) != 2 {
		t.Errorf("got %+v, %v", v, err)
	}
}

// Bundles of testdata/cosign were made by cosign 2.6.1 and 3.1.3 with the lines of
// docs/trust.md: keys, signatures and approvals.
func TestWhatCosignMadeIsAccepted(t *testing.T) {
	root, err := ParseTrustRoot(golden(t, "cosign/trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	made := time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)
	for _, version := range []string{"2.6", "3.1"} {
		v, err := root.VerifyPackage(t.Context(), Package{
			Wasm:      golden(t, "cosign/module.wasm"),
			Signature: golden(t, "cosign/signature-"+version+".sigstore.json"),
			Approvals: [][]byte{golden(t, "cosign/approval-"+version+".sigstore.json")},
		}, made)
		if err != nil || v.Author != "ada@example.com" || len(v.Approvers) != 1 || v.Approvers[0] != "grace@example.com" {
			t.Errorf("cosign %s: got %+v, %v", version, v, err)
		}
	}
}

func TestPredicateFileStaysAsItWas(t *testing.T) {
	got, err := Predicate(approval())
	if err != nil || !bytes.Equal(got, golden(t, "predicate.json")) {
		t.Errorf("got %s, %v", got, err)
	}
}

// What cosign looks at: media type, hint, payload type, one signature.
func TestBundlesFollowCosignConventions(t *testing.T) {
	w := newWorld(t)
	var b struct {
		MediaType            string
		VerificationMaterial struct{ PublicKey struct{ Hint string } }
		MessageSignature     *struct {
			MessageDigest struct{ Algorithm string }
		}
		DsseEnvelope *struct {
			PayloadType string
			Signatures  []map[string]string
		}
	}
	for _, raw := range [][]byte{w.signed(w.ada), w.approved(w.ada)} {
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Fatal(err)
		}
		if b.MediaType != "application/vnd.dev.sigstore.bundle.v0.3+json" || b.VerificationMaterial.PublicKey.Hint != w.ada.ID() {
			t.Errorf("got %s", raw)
		}
	}

	if b.MessageSignature.MessageDigest.Algorithm != "SHA2_256" {
		t.Errorf("digest %+v", b.MessageSignature)
	}
	if b.DsseEnvelope.PayloadType != "application/vnd.in-toto+json" || len(b.DsseEnvelope.Signatures) != 1 {
		t.Errorf("envelope %+v", b.DsseEnvelope)
	}
}
