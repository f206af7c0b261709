package devel

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
)

func TestWatchRunsAgainWhenSomethingChanges(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tick := make(chan time.Time)
	states := []string{"a", "a", "b", "b"}
	var ran []string

	looked := 0
	w := watch{
		tick: tick,
		seen: func() string {
			looked++
			return states[looked-1]
		},
		run: func() { ran = append(ran, states[looked-1]) },
	}

	done := make(chan struct{})
	go func() {
		defer close(done)
		w.until(ctx)
	}()
	for range len(states) - 1 {
		tick <- time.Time{}
	}
	cancel()
	<-done

	if !slices.Equal(ran, []string{"a", "b"}) {
		t.Errorf("ran at %v, want once at a and once at b", ran)
	}
}

func TestFingerprintSeesModuleAndCases(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "cases"), 0o700); err != nil {
		t.Fatal(err)
	}

	var c testCommand
	seen := map[string]bool{c.fingerprint(dir): true}
	for _, file := range []string{"a.wasm", "config.json", "cases/a.yaml", "cases/b.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		now := c.fingerprint(dir)
		if seen[now] {
			t.Errorf("%s was not seen", file)
		}
		seen[now] = true
	}
	if c.fingerprint(filepath.Join(dir, "a.wasm")) != c.fingerprint(dir) {
		t.Error("file and directory look different")
	}
}

// A build writes the module anew each time: it must not set off the next.
func TestFingerprintOfABuildSeesSourcesAndNotTheModule(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"src", "target", "guardlock"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}

	c := testCommand{build: true}
	before := c.fingerprint(dir)
	for _, step := range []struct {
		file string
		seen bool
	}{{"a.wasm", false}, {"Cargo.lock", false}, {"target/a.d", false}, {"src/lib.rs", true}, {"a.c", true}, {"main.go", true}, {"guardlock/record.go", true}} {
		if err := os.WriteFile(filepath.Join(dir, step.file), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		now := c.fingerprint(dir)
		if (now != before) != step.seen {
			t.Errorf("%s was seen: %t, want %t", step.file, now != before, step.seen)
		}
		before = now
	}
}

func TestRecordLinesAreReadStrictly(t *testing.T) {
	for text, want := range map[string]string{
		`{"key":"k","value":null}`:   "",
		`{"value":"x","valeu":"y"}`:  `unknown field "valeu"`,
		`{"value":"x"}{"value":"y"}`: "more than one record",
		`[]`:                         "cannot unmarshal",
		`{"value":"x","headers":[{"key":"a","x":"y"}]}`: `unknown field "x"`,
	} {
		err := parseRecord([]byte(text), &cases.Record{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// FuzzRecordReader: whatever is read, it is a record of the input or an error.
func FuzzRecordReader(f *testing.F) {
	f.Add([]byte("{\"key\":\"a\",\"value\":null}\r\n{}\n"), true)
	f.Add([]byte("a\n\nb"), false)
	f.Fuzz(func(t *testing.T, raw []byte, records bool) {
		flags := inputFlags{records: records}
		r := flags.reader(strings.NewReader(string(raw)), cases.Record{})
		for n := 0; ; n++ {
			record, err := r.next()
			if err != nil {
				return
			}
			if n > len(raw) || len(record.Value) > len(raw) {
				t.Fatalf("record %d of %d bytes came from %d", n, len(record.Value), len(raw))
			}
		}
	})
}

func TestRunAndTestPrintWhatAModuleCounted(t *testing.T) {
	counted := []transforms.Metric{{Module: "module", Name: "keys.seen", Value: 6}, {Module: "module", Name: "keys.seen_again", Value: 1}}
	const want = "counted keys.seen 6, keys.seen_again 1\n"
	var ran, tested strings.Builder
	end := tally{resultPrinter: resultPrinter{w: &ran}, counted: counted}
	if err := end.end(module{}); err != nil || !strings.HasSuffix(ran.String(), want) {
		t.Errorf("module run prints %q, %v", ran.String(), err)
	}
	if err := (testReport{counted: counted}).write(&tested, false); err != nil || !strings.HasSuffix(tested.String(), want) {
		t.Errorf("module test prints %q, %v", tested.String(), err)
	}

	var none strings.Builder
	writeMetrics(&none, nil)
	if none.Len() > 0 {
		t.Errorf("a module that counts nothing counts %q", none.String())
	}
}
