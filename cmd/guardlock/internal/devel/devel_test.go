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
		err := cases.ParseLine([]byte(text), &cases.Record{})
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

// What a module prints can hold anything: a line that looks like ours, and what drives
// a terminal.
func TestWhatAModulePrintsIsShownAsItsWords(t *testing.T) {
	said := cases.Printed{Text: "\x1b[31mred\n2  passed\n\xff", More: 7}
	const want = `     the module printed:
       | \x1b[31mred
       | 2  passed
       | \xff
       and 7 bytes more
`
	var ran strings.Builder
	resultPrinter{w: &ran}.write("1", cases.Record{}, cases.Result{Outcome: cases.Passed, Printed: said})
	if !strings.Contains(ran.String(), want) {
		t.Errorf("module run prints %q", ran.String())
	}

	file := cases.File{Name: "a.yaml", Cases: []cases.Case{
		{Name: "held", Expect: &cases.Expectation{Outcome: cases.Passed}},
		{Name: "did not", Expect: &cases.Expectation{Outcome: cases.Dropped}},
	}}
	result := cases.Result{Outcome: cases.Passed, Printed: said}
	var report testReport
	report.add(file, []cases.Result{result, result}, nil)
	var tested strings.Builder
	if err := report.write(&tested, true); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(tested.String(), `  | \x1b[31mred`); n != 1 || report.Cases[0].Printed != "" || report.Cases[1].Printed != said.Text {
		t.Errorf("of a case that held and one that did not, module test prints %q", tested.String())
	}

	failed := failureWords(cases.Result{Problem: "it trapped", Printed: cases.Printed{Text: "why\n"}})
	if failed != "it trapped\nthe module printed:\n  | why" {
		t.Errorf("a failure is %q", failed)
	}
}

func TestBenchShowsMetricsFuelAndMemoryOfBoth(t *testing.T) {
	var out strings.Builder
	report := benchReport{Records: 2, costs: costs{
		Fuel: 12345, CopyFuel: 678, MemoryBytes: 3 << 20, CopyMemory: 1 << 20,
		counted: []transforms.Metric{{Module: "module", Name: "keys.seen", Value: 2}},
	}}
	if err := report.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"12,345", "678", "3.0 MiB", "1.0 MiB", "counted keys.seen 2\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
}
