package sdk_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/cases"
	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock/host"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// builtGuest is testdata/goguest, built by the Go that runs the tests. It is compiled
// once, and lives as long as they do.
var builtGuest = sync.OnceValues(func() (*cases.Sandbox, error) {
	dir, err := os.MkdirTemp("", "guardlock-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, "./testdata/goguest")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, said)
	}

	file, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	return cases.Open(wasm.WithCatalogues(file, nil, []string{"guest.counted"}), nil)
})

func goGuest(t *testing.T) *cases.Sandbox {
	t.Helper()
	s, err := builtGuest()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start has a guest whose calls may take a minute: what it answers is tested, and not how
// busy the machine is.
func start(t *testing.T, s *cases.Sandbox, setup cases.Setup) *cases.Guest {
	t.Helper()
	if setup.Limits.Deadline == 0 {
		setup.Limits.Deadline = time.Minute
	}
	g, err := s.Start(t.Context(), setup)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGoTransformsSeeRecordAndHostInTheSandbox(t *testing.T) {
	s := goGuest(t)
	g := start(t, s, withPlaces())
	long := strings.Repeat("same ", 100)
	for given, want := range map[string]string{
		"sha256 abc":       "hex ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"unknown-key x":    "host: the grant has no key of that index, or no table of that name",
		"seal a@b.c":       "a@b.c",
		"not-opened a":     "host: not sealed with this key, for this topic and purpose, or altered",
		"compress " + long: "true true true true",
		"too-small abc":    "host: the output is longer than was allowed",
		"edit abc":         "a***c",
		"find-json [12,3]": "2: 1+2 4+1",
		"find-json [":      "host: it failed",

		"find-json [" + strings.Repeat("1,", 999) + "1]":  "1000: 1+1 3+1",
		`replace-json [{"card":4111},{"card":[1],"x":1}]`: `[{"card":null},{"card":null,"x":1}]`,
		"log on": "on",
	} {
		got := string(g.Run(t.Context(), cases.Record{Value: []byte(given), Topic: "t"}).Value)
		if strings.HasPrefix(want, "hex ") {
			got = "hex " + hex.EncodeToString([]byte(got))
		}
		if got != want {
			t.Errorf("%.20s: got %q, want %q", given, got, want)
		}
	}

	for at, want := range []string{"1 false 0", "2 true 10000", "3 true 10000"} {
		r := cases.Record{Value: []byte("count card"), Topic: "t", Timestamp: 1_700_000_000_000 + int64(at)*10_000}
		if got := string(g.Run(t.Context(), r).Value); got != want {
			t.Errorf("at %d it counts %q, want %q", at, got, want)
		}
	}

	described := g.Run(t.Context(), cases.Record{Key: []byte("k"), Value: []byte("describe"), Timestamp: 1_700_000_000_123, Topic: "orders", Partition: 3,
		Headers: []cases.Header{{Key: "a", Value: []byte("1")}, {Key: "a"}, {Key: "b", Value: []byte{}}}})
	if want := `key "k", at 1700000000123, partition 3, orders true, position 0, a="1", a=""(null), b=""`; string(described.Value) != want {
		t.Errorf("got %s, want %s", described.Value, want)
	}

	null := g.Run(t.Context(), cases.Record{Value: []byte("null"), Topic: "t"})
	if null.Value != nil || null.Key == nil || len(null.Key) > 0 || null.Outcome != cases.Modified {
		t.Errorf("key %q, value %q, %s", null.Key, null.Value, null.Outcome)
	}
	if hmac := g.Run(t.Context(), cases.Record{Value: []byte("hmac x"), Topic: "t"}); len(hmac.Value) != 32 {
		t.Errorf("the HMAC is %q", hmac.Value)
	}
}

// withPlaces is a configuration with a table of two places.
func withPlaces() cases.Setup {
	const table = "ip,country,city\n10.0.0.1,NL,Delft\n10.0.0.2,,Ghent\n"
	config := fmt.Sprintf(`{"tables":{"places":{"format":"csv","key":"ip","files":[{"sha256":"%x"}]}}}`, sha256.Sum256([]byte(table)))
	return cases.Setup{Config: []byte(config), Tables: func(string, string) ([]byte, error) { return []byte(table), nil }}
}

// What a transform's own tests see on the host is what the sandbox makes with its keys.
func TestGoFakesMakeWhatTheSandboxMakes(t *testing.T) {
	g := start(t, goGuest(t), withPlaces())
	token, err := host.Tokenise(nil, 2, []byte("4111"), "card")
	if err != nil {
		t.Fatal(err)
	}
	mac, err := host.HMACSHA256(1, []byte("4111"))
	if err != nil {
		t.Fatal(err)
	}

	for given, want := range map[string][]byte{"tokenise 4111": token, "hmac 4111": mac[:]} {
		if got := g.Run(t.Context(), cases.Record{Value: []byte(given), Topic: "t"}).Value; string(got) != string(want) {
			t.Errorf("%s: got %q in the sandbox, %q on the host", given, got, want)
		}
	}
}

// Its functions are imported only where they are called, since each must be granted.
func TestGoModulesImportOnlyWhatTheyCall(t *testing.T) {
	file, err := os.ReadFile("golden/go.wasm")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := cases.Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close(context.Background())
	for _, im := range golden.Info().Imports {
		if strings.HasPrefix(im.Module, "guardlock_") {
			t.Errorf("the mask imports %s", im)
		}
	}

	all := goGuest(t).Info().Imports
	for _, name := range []string{"sha256", "hmac_sha256", "aes_gcm_seal", "aes_gcm_open", "gzip", "zstd", "lz4", "snappy", "log",
		"ff1_encrypt", "ff1_decrypt", "tokenise", "gunzip", "unzstd", "unlz4", "unsnappy", "find", "count", "seen", "since", "add"} {
		if !slices.ContainsFunc(all, func(im wasm.Import) bool { return im.Name == name }) {
			t.Errorf("what calls %s does not import it", name)
		}
	}
}

func TestWhatGoesWrongInAGoTransformIsSaid(t *testing.T) {
	s := goGuest(t)
	_, err := s.Start(t.Context(), cases.Setup{Config: []byte("{}")})
	if err == nil || s.Refusal(err).Outcome != cases.ConfigRefused {
		t.Errorf("a configuration that it refuses: %v", err)
	}

	failed := start(t, s, withPlaces()).Run(t.Context(), cases.Record{Value: []byte("fail"), Topic: "t"})
	if failed.Outcome != cases.Failed {
		t.Errorf("a failure is %s", failed.Outcome)
	}
	trapped := start(t, s, withPlaces()).Run(t.Context(), cases.Record{Value: []byte("panic now"), Topic: "t"})
	if trapped.Outcome != cases.Failed || !slices.ContainsFunc(trapped.Calls, func(name string) bool { return strings.Contains(name, "Apply") }) {
		t.Errorf("a panic is %s in %v", trapped.Outcome, trapped.Calls)
	}
}

// What a transform throws away is taken back in time: a quarter of a gibibyte passes
// through the default limit of 16 MiB. It is the memory that is tested, on however slow a machine.
func TestGoTransformsMayMakeGarbage(t *testing.T) {
	setup := withPlaces()
	setup.Limits.Deadline = time.Minute
	g := start(t, goGuest(t), setup)
	for range 256 {
		r := g.Run(t.Context(), cases.Record{Value: []byte("garbage"), Topic: "t"})
		if r.Outcome == cases.Failed {
			t.Fatalf("%s: %s, in %v", r.Failure, r.Problem, r.Calls)
		}
	}
}

// What a guest prints comes with the record that it had, the beginning of it, and of one
// that panics why it did.
func TestWhatAGuestPrintsComesWithItsRecord(t *testing.T) {
	g := start(t, goGuest(t), withPlaces())
	if said := g.Run(t.Context(), cases.Record{Value: []byte("print \x1b[31mx"), Topic: "t"}).Printed; said != (cases.Printed{Text: "\x1b[31mx"}) {
		t.Errorf("it printed %+v", said)
	}
	if said := g.Run(t.Context(), cases.Record{Value: []byte("log on"), Topic: "t"}).Printed; said != (cases.Printed{}) {
		t.Errorf("a record later it printed %+v", said)
	}

	long := strings.Repeat("x", 5000)
	said := g.Run(t.Context(), cases.Record{Value: []byte("print " + long), Topic: "t"}).Printed
	if len(said.Text) != 4096 || said.More != len(long)-4096 {
		t.Errorf("of %d bytes %d are kept, and %d are not", len(long), len(said.Text), said.More)
	}

	panicked := g.Run(t.Context(), cases.Record{Value: []byte("panic at the disco"), Topic: "t"})
	if panicked.Outcome != cases.Failed || !strings.Contains(panicked.Printed.Text, "at the disco") {
		t.Errorf("it is %s, and says %+v", panicked.Outcome, panicked.Printed)
	}
}
