package audit_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// TestLogFromBeforeTLSFactsIsReadAndGoesOn: testdata/without-tls was written by
// the code from before entries had them: 40 batches in three segments.
func TestLogFromBeforeTLSFactsIsReadAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/without-tls")); err != nil {
		t.Fatal(err)
	}

	check := func() {
		t.Helper()
		if _, err := audit.VerifyChain(dir); err != nil {
			t.Fatal(err)
		}

		r, err := audit.OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}

		defer r.Close()
		rows := collect(t, query.New(r), query.Filter{Topics: []string{"cards"}, ByBatch: true})
		if len(rows) != 40 || slices.ContainsFunc(rows, func(d query.Decision) bool { return d.TLS != audit.TLS{} }) {
			t.Fatalf("%d rows", len(rows))
		}

		golden(t, "without-tls/decisions.json", rows[37:])
		if n := len(collect(t, query.New(r), query.Filter{Client: query.Client{IDs: []string{"payments-b"}}, ByBatch: true})); n != 10 {
			t.Errorf("payments-b sent %d batches, want 10", n)
		}
	}

	check()
	l := mustOpen(t, dir, audit.Options{Node: "gw-1", Adopt: "gw-1", SegmentBytes: audit.MinSegmentBytes})
	e := batchOf("later", 0, 10)
	e.TLS = audit.TLS{"TLS 1.3", "TLS_AES_128_GCM_SHA256", carol}
	mustAppend(t, l, e, nil)

	if ds := collect(t, query.New(l.Reader()), query.Filter{Client: query.Client{Fingerprint: carol}, ByBatch: true}); len(ds) != 1 || ds[0].TLS != e.TLS {
		t.Errorf("found %+v", ds)
	}
	mustClose(t, l)
	check()
}

func TestFingerprintsAreReadAsToolsPrintThem(t *testing.T) {
	want := audit.Fingerprint{0: 0xab, 31: 0x01}
	colons := "AB" + strings.Repeat(":00", 30) + ":01"
	for _, s := range []string{want.String(), colons} {
		if got, err := audit.ParseFingerprint(s); err != nil || got != want {
			t.Errorf("%s: got %s, %v", s, got, err)
		}
	}

	for _, bad := range []string{"", "ab", want.String() + "00", "sha256:" + want.String(), audit.Fingerprint{}.String(), string(make([]byte, 64)),
		strings.Repeat("0", 64)} {
		if got, err := audit.ParseFingerprint(bad); err == nil {
			t.Errorf("%q reads as %s", bad, got)
		}
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add(carol.String())
	f.Fuzz(func(t *testing.T, s string) {
		got, err := audit.ParseFingerprint(s)
		if err != nil {
			return
		}
		if again, err := audit.ParseFingerprint(got.String()); err != nil || again != got {
			t.Fatalf("%q reads as %s, that as %s, %v", s, got, again, err)
		}
	})
}
