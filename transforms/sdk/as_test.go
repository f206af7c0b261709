package sdk_test

import (
	"context"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
)

// asGuest is testdata/asguest, built by golden/build.sh: no machine that runs these
// tests need have its compiler.
func asGuest(t *testing.T) *cases.Sandbox {
	t.Helper()
	file, err := os.ReadFile("testdata/asguest.wasm")
	if err != nil {
		t.Fatal(err)
	}
	s, err := cases.Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func TestAssemblyScriptTransformsReachTheHost(t *testing.T) {
	g := start(t, asGuest(t), withPlaces())
	long := strings.Repeat("same ", 100)
	for _, step := range []struct{ given, want string }{
		{"sha256 abc", "hex ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"unknown-key x", "error -3"},
		{"seal a@b.c", "a@b.c"},
		{"not-opened a", "error -6"},
		{"ff1 4111111111111111", "4111111111111111"},
		{"small 123", "error -7"},
		{"compress " + long, "4"},
		{"too-small abc", "error -2"},
		{"count a", "1"},
		{"count a", "2"},
		{"seen b", "-8"},
		{"seen b", "0"},
		{"since", "2147483647"}, // no restart in sight
		{"find [12,345,6]", "3: 1+2 4+3"},
		{"find [" + strings.Repeat("1,", 999) + "1]", "1000: 1+1 3+1"},
		{"find [", "error -5"},
		{"replace [{\"card\":4111},{\"card\":[1,2],\"x\":1}]", "[{\"card\":null},{\"card\":null,\"x\":1}]"},
		{"edit abc", "a***c"},
		{"lookup 10.0.0.1", "[NL][Delft]"},
		{"lookup 10.0.0.2", "[][Ghent]"},
		{"lookup 10.0.0.3", "error -8"},
		{"log on", "on"},
		{"add on", "on"},
	} {
		got := string(g.Run(t.Context(), cases.Record{Value: []byte(step.given), Topic: "t"}).Value)
		if strings.HasPrefix(step.want, "hex ") {
			got = "hex " + hex.EncodeToString([]byte(got))
		}
		if got != step.want {
			t.Errorf("%.20s: got %q, want %q", step.given, got, step.want)
		}
	}

	for what, length := range map[string]int{"hmac x": 32, "token x": 30} {
		if got := g.Run(t.Context(), cases.Record{Value: []byte(what), Topic: "t"}).Value; len(got) != length {
			t.Errorf("%s is %q", what, got)
		}
	}
}

func TestAssemblyScriptTransformsSeeAndChangeRecords(t *testing.T) {
	g := start(t, asGuest(t), cases.Setup{})
	described := g.Run(t.Context(), cases.Record{Key: []byte("k"), Value: []byte("describe"), Timestamp: 1_700_000_000_123, Topic: "orders", Partition: 3,
		Headers: []cases.Header{{Key: "a", Value: []byte("1")}, {Key: "a"}, {Key: "é", Value: []byte{}}}})
	if want := `key k, at 1700000000123, partition 3, orders true, index 0, a="1", a=null, é=""; true, false, null`; string(described.Value) != want {
		t.Errorf("got %s, want %s", described.Value, want)
	}

	changed := g.Run(t.Context(), cases.Record{Value: []byte("headers"), Topic: "t",
		Headers: []cases.Header{{Key: "gone"}, {Key: "set", Value: []byte("x")}, {Key: "kept", Value: []byte("1")}, {Key: "gone"}, {Key: "set"}}})
	want := []cases.Header{{Key: "kept", Value: []byte("1")}, {Key: "set", Value: []byte("now")}, {Key: "kept"}}
	if !slices.EqualFunc(changed.Headers, want, func(a, b cases.Header) bool {
		return a.Key == b.Key && string(a.Value) == string(b.Value) && (a.Value == nil) == (b.Value == nil)
	}) {
		t.Errorf("got %q, want %q", changed.Headers, want)
	}

	null := g.Run(t.Context(), cases.Record{Value: []byte("null"), Topic: "t"})
	if null.Value != nil || null.Key == nil || len(null.Key) > 0 || null.Outcome != cases.Modified {
		t.Errorf("key %q, value %q, %s", null.Key, null.Value, null.Outcome)
	}
}

func TestWhatGoesWrongInAnAssemblyScriptTransformIsSaid(t *testing.T) {
	s := asGuest(t)
	_, err := s.Start(t.Context(), cases.Setup{Config: []byte("{}")})
	if err == nil || s.Refusal(err).Outcome != cases.ConfigRefused {
		t.Errorf("a configuration that it refuses: %v", err)
	}

	failed := start(t, s, cases.Setup{}).Run(t.Context(), cases.Record{Value: []byte("fail"), Topic: "t"})
	if failed.Outcome != cases.Failed {
		t.Errorf("a failure is %s", failed.Outcome)
	}
	for _, what := range []string{"throw now", "beyond", "edit-twice now"} {
		trapped := start(t, s, cases.Setup{}).Run(t.Context(), cases.Record{Value: []byte(what), Topic: "t"})
		if trapped.Outcome != cases.Failed || !slices.ContainsFunc(trapped.Calls, func(name string) bool { return strings.Contains(name, "assembly/index/apply") }) {
			t.Errorf("%s is %s in %v", what, trapped.Outcome, trapped.Calls)
		}
	}
}

// What a transform throws away is taken back in time, and what it keeps stays: a
// gibibyte passes through the default limit of 16 MiB, a map outlives it.
func TestAssemblyScriptTransformsMayMakeGarbage(t *testing.T) {
	limits := transforms.Limits{Deadline: time.Minute}
	g := start(t, asGuest(t), cases.Setup{Limits: limits})
	g.Run(t.Context(), cases.Record{Value: []byte("remember a"), Timestamp: 7, Topic: "t"})
	for range 1024 {
		r := g.Run(t.Context(), cases.Record{Value: []byte("garbage"), Topic: "t"})
		if r.Outcome == cases.Failed {
			t.Fatalf("%s: %s, in %v", r.Failure, r.Problem, r.Calls)
		}
	}

	if got := g.Run(t.Context(), cases.Record{Value: []byte("recall a"), Topic: "t"}).Value; string(got) != "7" {
		t.Errorf("it recalls %q", got)
	}
	if size := g.MemoryBytes(); size > 4<<20 {
		t.Errorf("its memory is %d bytes", size)
	}
}
