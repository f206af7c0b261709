package sdk_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/cases"
)

// What the same mask costs in each language, in turns: a record of a kilobyte with two
// numbers to mask.
func BenchmarkMask(b *testing.B) {
	value := make([]byte, 1024)
	for n := range value {
		value[n] = "abcdefg {}"[n%10]
	}
	copy(value[100:], "4111111111111111")
	copy(value[700:], "5500000000000004")

	var guests []*cases.Guest
	languages := []string{"c", "rust", "go", "tinygo"}
	for _, language := range languages {
		file, err := os.ReadFile("golden/" + language + ".wasm")
		if err != nil {
			b.Fatal(err)
		}
		s, err := cases.Open(file, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close(context.Background()) })
		g, err := s.Start(b.Context(), cases.Setup{})
		if err != nil {
			b.Fatal(err)
		}
		guests = append(guests, g)
	}

	records := make([]cases.Record, 256)
	for n := range records {
		records[n] = cases.Record{Value: value, Topic: "t"}
	}
	began := time.Now()
	clock := func() time.Duration { return time.Since(began) }
	for b.Loop() {
		figures, err := cases.Measure(b.Context(), clock, records, 500*time.Millisecond, guests...)
		if err != nil {
			b.Fatal(err)
		}
		for n, f := range figures {
			b.ReportMetric(float64(f.PerRecord.Nanoseconds()), languages[n]+"-ns/record")
			if n > 0 {
				b.ReportMetric(float64(f.PerRecord)/float64(figures[0].PerRecord), languages[n]+"/c")
			}
		}
	}
}
