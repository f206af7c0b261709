package erase

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func made(t testing.TB, edit func(*Request)) ([]byte, error) {
	t.Helper()
	now := time.Date(2030, 1, 15, 10, 0, 0, 0, time.UTC)
	r := &Request{Number: "GDPR-17", Made: now, NotAfter: now.Add(24 * time.Hour), Principals: []string{"User:shop-7"}}
	edit(r)
	return r.Encode()
}

func TestARequestIsReadAsItWasMade(t *testing.T) {
	b, err := made(t, func(r *Request) {
		r.ClientIDs = []string{"a<b>&c", "ä\n"}
		r.Sources = []string{"192.0.2.7"}
		r.Certificates = []string{strings.Repeat("0a", 32)}
	})
	if err != nil {
		t.Fatal(err)
	}

	r, err := Parse(b)
	if err != nil || r.Number != "GDPR-17" || r.ClientIDs[1] != "ä\n" || r.Digest() == [32]byte{} {
		t.Fatalf("got %+v, %v", r, err)
	}

	again, err := made(t, func(*Request) {})
	if err != nil {
		t.Fatal(err)
	}
	other, err := made(t, func(*Request) {})
	if err != nil || bytes.Equal(again, other) {
		t.Errorf("two requests for the same have the same bytes, so that a digest confirms a guess: %v", err)
	}
}

func TestWhatIsNoRequestIsRefusedAndNotRepeated(t *testing.T) {
	b, err := made(t, func(*Request) {})
	if err != nil {
		t.Fatal(err)
	}

	for name, change := range map[string]func(string) string{
		"nothing":        func(string) string { return "" },
		"spaces":         func(s string) string { return strings.Replace(s, ": ", ":  ", 1) },
		"no line feed":   func(s string) string { return strings.TrimSpace(s) },
		"more behind":    func(s string) string { return s + s },
		"an unknown key": func(s string) string { return strings.Replace(s, `"made"`, `"dry": true, "made"`, 1) },
		"a key twice": func(s string) string {
			return strings.Replace(s, ` "principals"`, ` "principals": ["x"], "principals"`, 1)
		},
		"another format": func(s string) string { return strings.Replace(s, "v1", "v2", 1) },
		"another case":   func(s string) string { return strings.Replace(s, `"principals"`, `"Principals"`, 1) },
		"a wrong type":   func(s string) string { return strings.Replace(s, `"User:shop-7"`, `{"User:shop-7": 1}`, 1) },
		"too much":       func(s string) string { return s + strings.Repeat(" ", MaxRequestBytes) },
	} {
		_, err := Parse([]byte(change(string(b))))
		if !errors.Is(err, ErrRequest) || strings.Contains(err.Error(), "shop-7") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestARequestThatCannotBeCarriedOutIsNotMade(t *testing.T) {
	for name, edit := range map[string]func(*Request){
		"nothing":         func(r *Request) { r.Principals = nil },
		"an empty name":   func(r *Request) { r.Principals = []string{""} },
		"twice":           func(r *Request) { r.Principals = []string{"a", "a"} },
		"not sorted":      func(r *Request) { r.Principals = []string{"b", "a"} },
		"not text":        func(r *Request) { r.ClientIDs = []string{"\xff"} },
		"no fingerprint":  func(r *Request) { r.Certificates = []string{"0a"} },
		"in upper case":   func(r *Request) { r.Certificates = []string{strings.Repeat("0A", 32)} },
		"no number":       func(r *Request) { r.Number = "" },
		"a number of two": func(r *Request) { r.Number = "a\nb" },
		"no end":          func(r *Request) { r.NotAfter = r.Made },
		"no end soon":     func(r *Request) { r.NotAfter = r.Made.Add(MaxValidity + time.Second) },
		"too many":        func(r *Request) { r.Sources = strings.Split(strings.Repeat("a,", maxValues)+"b", ",") },
	} {
		if _, err := made(t, edit); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestARequestHoldsForItsTimeAlone(t *testing.T) {
	b, err := made(t, func(*Request) {})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}

	for at, want := range map[time.Time]error{
		r.Made:                         nil,
		r.Made.Add(-time.Minute):       nil,
		r.Made.Add(-61 * time.Second):  ErrNotYet,
		r.NotAfter.Add(-1):             nil,
		r.NotAfter:                     ErrExpired,
		r.NotAfter.Add(24 * time.Hour): ErrExpired,
	} {
		if err := r.InTime(at); !errors.Is(err, want) {
			t.Errorf("at %s: got %v, want %v", at, err, want)
		}
	}
}

// FuzzParse: whatever is taken is written back as it was.
func FuzzParse(f *testing.F) {
	b, err := made(f, func(r *Request) { r.ClientIDs = []string{"a"} })
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format": "guardlock erasure request v1"}`))

	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			return
		}
		if again, err := r.bytes(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("got %q, %v", again, err)
		}
	})
}
