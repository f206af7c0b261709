package cases

import (
	"os"
	"slices"
	"testing"

	"github.com/guardlock/guardlock/transforms"
)

// Counts and metrics of a module that was written with the C SDK, over cases that
// continue and one that begins anew.
func TestCasesOfAModuleThatCountsComeToTheSameOnAnyDay(t *testing.T) {
	file, err := os.ReadFile("../testdata/counts.wasm")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())

	f := parse(t, `
cases:
  - {name: the first, record: {key: k, value: v}, expect: {outcome: modified, value: "1"}}
  - {name: a second, continues: true, record: {key: k, value: v, timestamp: 2026-01-01T00:00:30Z}, expect: {outcome: modified, value: "2"}}
  - {name: another key, continues: true, record: {key: other, value: v}, expect: {outcome: modified, value: "1"}}
  - {name: another partition, continues: true, record: {key: k, value: v, partition: 1}, expect: {outcome: modified, value: "1"}}
  - {name: later, continues: true, record: {key: k, value: v, timestamp: 2026-01-01T00:02:00Z}, expect: {outcome: modified, value: "1"}}
  - {name: anew, record: {key: k, value: v}, expect: {outcome: modified, value: "1"}}
`)
	for n, got := range s.RunFile(t.Context(), f) {
		if diff := f.Cases[n].Compare(got); len(diff) > 0 {
			t.Errorf("%s: %q", f.Cases[n].Name, diff)
		}
	}

	want := []transforms.Metric{{Module: "module", Name: "keys.seen", Value: 6}, {Module: "module", Name: "keys.seen_again", Value: 1}}
	if got := s.Metrics(); !slices.Equal(got, want) {
		t.Errorf("it counted %v", got)
	}
}
