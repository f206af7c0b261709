package cases

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms"
)

func TestTheCopyingModuleIsTheOneOfTheSandboxsTests(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("..", "testdata", "copy.wasm"))
	if err != nil || !bytes.Equal(Copying(), want) {
		t.Errorf("it is another one, %v", err)
	}
}

func TestMeasureCountsWhatBecomesOfABatchAndLeavesItAsItWas(t *testing.T) {
	g, err := open(t, "uppercase").Start(t.Context(), Setup{})
	if err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	records := []Record{{Value: []byte("abc"), Topic: "t"}, {Value: []byte("ABC"), Topic: "t"}}
	figures, err := Measure(t.Context(), clock, records, 1, g, g)
	if err != nil {
		t.Fatal(err)
	}

	for _, f := range figures {
		if len(f.Counted) > 0 {
			t.Errorf("a module without metrics counted %v", f.Counted)
		}
		if f.Outcomes[Modified] != 1 || f.Outcomes[Passed] != 1 || f.Batches < 3 || f.PerRecord <= 0 || f.PerBatch < 2*f.PerRecord {
			t.Errorf("got %+v", f)
		}
	}
	if _, err := g.repeat(t.Context(), clock, 2); err != nil || g.outcomes()[Modified] != 1 {
		t.Errorf("given again, the batch came to %v, %v", g.outcomes(), err)
	}
}

// A megabyte of letters is some instructions a byte, which no slice of fuel hides.
func TestMeasureSaysWhatARecordBurns(t *testing.T) {
	upper, err := open(t, "uppercase").Start(t.Context(), Setup{})
	if err != nil {
		t.Fatal(err)
	}

	turn := time.Duration(0)
	clock := func() time.Duration { turn += round; return turn }
	records := []Record{{Value: bytes.Repeat([]byte("abc "), 16<<10), Topic: "t"}}
	for len(records) < 16 {
		records = append(records, records[0])
	}

	figures, err := Measure(t.Context(), clock, records, 64*round, upper)
	if err != nil {
		t.Fatal(err)
	}
	if burnt := figures[0].Fuel; burnt < 1000 || burnt > 100*uint64(len(records[0].Value)) {
		t.Errorf("a record of %d bytes burns %d", len(records[0].Value), burnt)
	}
}

func TestWhatMetricsCountedIsOfOneBatch(t *testing.T) {
	before := []transforms.Metric{{Module: "m", Name: "a", Value: 3}}
	after := []transforms.Metric{{Module: "m", Name: "a", Value: 5}, {Module: "m", Name: "b", Value: 1}}
	want := []transforms.Metric{{Module: "m", Name: "a", Value: 2}, {Module: "m", Name: "b", Value: 1}}
	if got := since(before, after); !slices.Equal(got, want) || after[0].Value != 5 {
		t.Errorf("got %v of %v", got, after)
	}
}
