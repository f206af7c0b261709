package signing

import (
	"crypto/sha256"
	"encoding/json"
	"testing"
	"time"
)

func FuzzParseTrustRoot(f *testing.F) {
	w := newWorld(f)
	f.Add(w.doc(2))
	f.Add([]byte("authors: [&a {identity: x, key: y}, *a]\nthreshold: 1\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		root, err := ParseTrustRoot(raw)
		if err != nil {
			return
		}
		if root.Threshold() < 1 || root.Threshold() > len(root.Approvers()) || len(root.Authors()) == 0 {
			t.Errorf("accepted a root by which nothing can be approved, or everything: %q", raw)
		}
	})
}

func FuzzVerifyApproval(f *testing.F) {
	root, err := ParseTrustRoot(golden(f, "trust.json"))
	if err != nil {
		f.Fatal(err)
	}

	for _, name := range []string{"approval.sigstore.json", "approval-cosign.sigstore.json", "module.sigstore.json"} {
		f.Add(golden(f, name))
	}
	module := sha256.Sum256(golden(f, "module.wasm"))
	good, err := root.VerifyApproval(f.Context(), module, golden(f, "approval.sigstore.json"), noon())
	if err != nil {
		f.Fatal(err)
	}

	f.Fuzz(func(t *testing.T, raw []byte) {
		// Whatever is done to a bundle, what passes grants what was signed.
		a, err := root.VerifyApproval(t.Context(), module, raw, noon())
		if err == nil && a.GrantDigest() != good.GrantDigest() {
			t.Errorf("another grant: %+v", a)
		}
		_, _ = root.VerifyModuleAt(t.Context(), raw, raw, noon())
	})
}

// The statement behind a signature is an insider's, and parsed all the same.
func FuzzDecodeStatement(f *testing.F) {
	f.Add(statementOf(f))
	f.Add(statementOf(f, statementV1, statementV01))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := decodeStatement(raw)
		if err != nil {
			return
		}
		if ps := a.problems(); len(ps) != 0 {
			t.Fatalf("accepted with problems: %v", ps)
		}

		grantAsRead(t, raw, a)
		out, err := encodeStatement(a)
		if err != nil {
			t.Fatal(err)
		}

		again, err := decodeStatement(out)
		if err != nil || again.GrantDigest() != a.GrantDigest() || !again.NotAfter.Equal(a.NotAfter.Truncate(time.Nanosecond)) {
			t.Errorf("does not round trip: %v\n%s\n%s", err, raw, out)
		}
	})
}

// grantAsRead holds an accepted statement to what a reader sees who knows
// nothing of Go: names are what they are, byte for byte.
func grantAsRead(t *testing.T, raw []byte, a Approval) {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatalf("accepted what is not JSON: %v", err)
	}

	pred, _ := doc["predicate"].(map[string]any)
	grant, _ := pred["grant"].(map[string]any)
	for name, got := range map[string][]string{
		"topics":         a.Topics,
		"host_functions": a.HostFunctions,
		"keys":           a.Keys,
		"routes":         a.Routes,
		"audience":       a.Audience,
	} {
		list, _ := grant[name].([]any)
		if len(list) != len(got) {
			t.Fatalf("%s: a reader sees %v, granted is %v", name, list, got)
		}
		for i := range list {
			if list[i] != got[i] {
				t.Fatalf("%s: a reader sees %v, granted is %v", name, list, got)
			}
		}
	}
}
