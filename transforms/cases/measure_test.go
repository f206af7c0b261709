package cases

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
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
		if f.Outcomes[Modified] != 1 || f.Outcomes[Passed] != 1 || f.Batches < 3 || f.PerRecord <= 0 || f.PerBatch < 2*f.PerRecord {
			t.Errorf("got %+v", f)
		}
	}
	if _, err := g.repeat(t.Context(), clock, 2); err != nil || g.outcomes()[Modified] != 1 {
		t.Errorf("given again, the batch came to %v, %v", g.outcomes(), err)
	}
}
