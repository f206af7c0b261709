// The race detector makes sync.Pool drop at random what compressors keep there.

//go:build !race

package recordbatch

import (
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// checkNoAllocs runs f until its buffers have grown, and then counts.
func checkNoAllocs(t *testing.T, f func() error) {
	t.Helper()
	for range 3 {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}

	if n := testing.AllocsPerRun(50, func() {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per batch", n)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, codec := range allCodecs {
		for _, shape := range benchShapes {
			raw := kgoBatch(t, produced(shape.n), codec, jsonRecords(shape.n, shape.size))
			c := NewCodec(Limits{})
			b := new(record.Batch)
			var out []byte
			t.Run(codec.String()+"/decode", func(t *testing.T) {
				checkNoAllocs(t, func() error { _, err := c.Decode(raw, b); return err })
			})

			t.Run(codec.String()+"/changed", func(t *testing.T) {
				checkNoAllocs(t, func() error {
					h, err := c.Decode(raw, b)
					if err != nil {
						return err
					}

					for i := range b.Records {
						touch(b, &b.Records[i])
					}
					b.Records[1].Verdict = record.Dropped
					out, err = c.Encode(out[:0], h, b, EncodeOptions{KeepCompression: true, PlaceholderNote: []byte("note")})
					return err
				})
			})

			placeholders := out
			t.Run(codec.String()+"/strip", func(t *testing.T) {
				var stripped []byte
				checkNoAllocs(t, func() (err error) { stripped, _, err = c.Strip(stripped[:0], placeholders); return err })
			})
		}
	}
}

func TestSplittingBatchesAllocatesNothing(t *testing.T) {
	one := rawBatch(produced(1), plainRecords(jsonRecords(1, 10)))
	checkNoAllocs(t, func() error {
		for _, err := range SplitBatches(one) {
			if err != nil {
				return err
			}
		}
		return nil
	})
}
