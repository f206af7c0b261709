package sdk_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/cases"
)

// masking is a mask in one language, and how it is configured.
type masking struct {
	name, path string
	config     string
}

// What the same mask costs in each language, in turns: a record of a kilobyte with two
// numbers to mask.
func BenchmarkMask(b *testing.B) {
	languages := []string{"c", "rust", "go", "tinygo", "as"}
	var masks []masking
	for _, language := range languages {
		masks = append(masks, masking{language, "golden/" + language + ".wasm", ""})
	}

	took := measureMasks(b, masks...)
	for n, language := range languages[1:] {
		b.ReportMetric(float64(took[n+1])/float64(took[0]), language+"/c")
	}
}

// The same mask through Redpanda's ABI: its Rust SDK beside ours, and its Go SDK.
func BenchmarkMaskOfRedpandasSDK(b *testing.B) {
	const configured = `{"DO": "mask"}`
	took := measureMasks(b, masking{"own", "golden/rust.wasm", ""},
		masking{"rust", "../testdata/redpanda/rust.wasm", configured}, masking{"go", "../testdata/redpanda/go.wasm", configured})
	b.ReportMetric(float64(took[1])/float64(took[0]), "rust/own")
	b.ReportMetric(float64(took[2])/float64(took[0]), "go/own")
}

// What Redpanda's ABI costs by itself: records of a kilobyte that pass, beside a module in C
// that copies.
func BenchmarkPassOfRedpandasSDK(b *testing.B) {
	took := measureMasks(b, masking{"own", "../cases/copy.wasm", ""}, masking{"rust", "../testdata/redpanda/rust.wasm", ""})
	b.ReportMetric(float64(took[1]-took[0]), "ns/record-more")
}

// measureMasks reports what each mask takes for a record, measured in turns.
func measureMasks(b *testing.B, masks ...masking) (took []time.Duration) {
	var guests []*cases.Guest
	for _, m := range masks {
		guests = append(guests, startMask(b, m))
	}

	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	for b.Loop() {
		figures, err := cases.Measure(b.Context(), clock, maskRecords(), 500*time.Millisecond, guests...)
		if err != nil {
			b.Fatal(err)
		}

		took = took[:0]
		for n, f := range figures {
			took = append(took, f.PerRecord)
			b.ReportMetric(float64(f.PerRecord.Nanoseconds()), masks[n].name+"-ns/record")
		}
	}

	return took
}

func startMask(b *testing.B, m masking) *cases.Guest {
	file, err := os.ReadFile(m.path)
	if err != nil {
		b.Fatal(err)
	}
	s, err := cases.Open(file, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close(context.Background()) })

	guest, err := s.Start(b.Context(), cases.Setup{Config: []byte(m.config)})
	if err != nil {
		b.Fatal(err)
	}

	return guest
}

func maskRecords() []cases.Record {
	value := make([]byte, 1024)
	for n := range value {
		value[n] = "abcdefg {}"[n%10]
	}
	copy(value[100:], "4111111111111111")
	copy(value[700:], "5500000000000004")

	records := make([]cases.Record, 256)
	for n := range records {
		records[n] = cases.Record{Value: value, Topic: "t"}
	}

	return records
}
