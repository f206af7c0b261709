package audit

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
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
		if _, err := VerifyChain(dir); err != nil {
			t.Fatal(err)
		}

		r, err := OpenReader(dir)
		if err != nil {
			t.Fatal(err)
		}

		defer r.Close()
		rows := collect(t, r, Filter{Topic: "cards", ByBatch: true})
		if len(rows) != 40 || slices.ContainsFunc(rows, func(d Decision) bool { return d.TLS != TLS{} }) {
			t.Fatalf("%d rows", len(rows))
		}

		golden(t, "without-tls/decisions.json", rows[37:])
		if n := len(collect(t, r, Filter{ClientID: "payments-b", ByBatch: true})); n != 10 {
			t.Errorf("payments-b sent %d batches, want 10", n)
		}
	}

	check()
	l := mustOpen(t, dir, Options{SegmentBytes: minSegmentBytes})
	e := batchOf("later", 0, 10)
	e.TLS = TLS{"TLS 1.3", "TLS_AES_128_GCM_SHA256", carol}
	mustAppend(t, l, e, nil)

	if ds := collect(t, l, Filter{Fingerprint: carol, ByBatch: true}); len(ds) != 1 || ds[0].TLS != e.TLS {
		t.Errorf("found %+v", ds)
	}
	mustClose(t, l)
	check()
}

// TestKnownTLSFactsCostAReferenceEach: the strings are written once for each
// segment.
func TestKnownTLSFactsCostAReferenceEach(t *testing.T) {
	enc := encoder{dict: newDict()}
	size := func(e *BatchEntry) int {
		enc.out = enc.out[:0]
		enc.defs = enc.defs[:0]
		enc.batch(e, 0)
		return len(enc.out) + len(enc.defs)
	}

	plain := batchOf("cards", 0, 10)
	secure := batchOf("cards", 0, 10)
	plain.Time, secure.Time = time.UnixMicro(1), time.UnixMicro(1)
	secure.TLS = TLS{"TLS 1.3", "TLS_AES_128_GCM_SHA256", carol}
	size(plain)
	without := size(plain)
	first := size(secure)
	if again := size(secure); again != without+3 || first < again+len(carol) {
		t.Errorf("%d bytes without, %d at first, then %d", without, first, again)
	}
	if n := testing.AllocsPerRun(100, func() { size(secure) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFlagOfTLSFactsWithoutAnyIsMalformed(t *testing.T) {
	enc := encoder{dict: newDict()}
	e := batchOf("cards", 0, 10)
	e.TLS = TLS{Version: "TLS 1.3"}
	enc.batch(e, 0)
	strs := slices.Clone(enc.dict.strs)
	var got BatchEntry
	read := cursor{b: enc.out[1:], strs: strs}
	if err := read.batch(&got, 0); err != nil || got.TLS != e.TLS {
		t.Fatalf("got %+v, %v", got.TLS, err)
	}

	version := slices.Index(enc.out, byte(slices.Index(strs, "TLS 1.3")+refFirst))
	enc.out[version] = refEmpty
	read = cursor{b: enc.out[1:], strs: strs}
	if err := read.batch(&got, 0); err == nil {
		t.Errorf("took %+v", got.TLS)
	}
}

func TestFingerprintsAreReadAsToolsPrintThem(t *testing.T) {
	want := Fingerprint{0: 0xab, 31: 0x01}
	colons := "AB" + strings.Repeat(":00", 30) + ":01"
	for _, s := range []string{want.String(), colons} {
		if got, err := ParseFingerprint(s); err != nil || got != want {
			t.Errorf("%s: got %s, %v", s, got, err)
		}
	}

	for _, bad := range []string{"", "ab", want.String() + "00", "sha256:" + want.String(), Fingerprint{}.String(), string(make([]byte, 64)),
		strings.Repeat("0", 64)} {
		if got, err := ParseFingerprint(bad); err == nil {
			t.Errorf("%q reads as %s", bad, got)
		}
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add(carol.String())
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseFingerprint(s)
		if err != nil {
			return
		}
		if again, err := ParseFingerprint(got.String()); err != nil || again != got {
			t.Fatalf("%q reads as %s, that as %s, %v", s, got, again, err)
		}
	})
}
