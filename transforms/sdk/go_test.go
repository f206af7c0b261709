package sdk_test

import (
	"context"
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

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// builtGuest is testdata/goguest, built by the Go that runs the tests.
var builtGuest = sync.OnceValues(func() ([]byte, error) {
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
	return os.ReadFile(out)
})

func goGuest(t *testing.T) *cases.Sandbox {
	t.Helper()
	file, err := builtGuest()
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

func start(t *testing.T, s *cases.Sandbox, setup cases.Setup) *cases.Guest {
	t.Helper()
	g, err := s.Start(t.Context(), setup)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGoTransformsSeeRecordAndHostInTheSandbox(t *testing.T) {
	s := goGuest(t)
	g := start(t, s, cases.Setup{})
	long := strings.Repeat("same ", 100)
	for given, want := range map[string]string{
		"sha256 abc":       "hex ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"unknown-key x":    "host: the grant has no key of that index",
		"seal a@b.c":       "a@b.c",
		"not-opened a":     "host: not sealed with this key, for this topic and purpose, or altered",
		"compress " + long: "true true true true",
		"too-small abc":    "host: the output is longer than was allowed",
		"log on":           "on",
	} {
		got := string(g.Run(t.Context(), cases.Record{Value: []byte(given), Topic: "t"}).Value)
		if strings.HasPrefix(want, "hex ") {
			got = "hex " + hex.EncodeToString([]byte(got))
		}
		if got != want {
			t.Errorf("%.20s: got %q, want %q", given, got, want)
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
	for _, name := range []string{"sha256", "hmac_sha256", "aes_gcm_seal", "aes_gcm_open", "gzip", "zstd", "lz4", "snappy", "log"} {
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

	failed := start(t, s, cases.Setup{}).Run(t.Context(), cases.Record{Value: []byte("fail"), Topic: "t"})
	if failed.Outcome != cases.Failed {
		t.Errorf("a failure is %s", failed.Outcome)
	}
	trapped := start(t, s, cases.Setup{}).Run(t.Context(), cases.Record{Value: []byte("panic now"), Topic: "t"})
	if trapped.Outcome != cases.Failed || !slices.ContainsFunc(trapped.Calls, func(name string) bool { return strings.Contains(name, "Apply") }) {
		t.Errorf("a panic is %s in %v", trapped.Outcome, trapped.Calls)
	}
}

// What a transform throws away is taken back in time: a gibibyte passes through the
// default limit of 16 MiB. It is the memory that is tested, on however slow a machine.
func TestGoTransformsMayMakeGarbage(t *testing.T) {
	limits := transforms.Limits{Deadline: time.Minute}
	g := start(t, goGuest(t), cases.Setup{Limits: limits})
	for range 1024 {
		r := g.Run(t.Context(), cases.Record{Value: []byte("garbage"), Topic: "t"})
		if r.Outcome == cases.Failed {
			t.Fatalf("%s: %s, in %v", r.Failure, r.Problem, r.Calls)
		}
	}
}
