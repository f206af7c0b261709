package modules_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/jsonpath"
)

// Four fields of a record of a kilobyte are masked: by the module in the sandbox, from a
// decoded batch to its verdicts, and in Go by one pass that checks the text, finds the
// fields and overwrites a copy. Both take turns, and the ratio of their medians counts.
func BenchmarkMaskBesideWalker(b *testing.B) {
	recs := make([]input, 200)
	for n := range recs {
		recs[n].value = fourFields(n)
	}

	g := mustOpen(b, "gdpr", `{"rules":[{"path":"$.pii.name","action":"mask"},{"path":"$.pii.email","action":"mask","keep_last":4},`+
		`{"path":"$.pii.phone","action":"mask"},{"path":"$.pii.iban","action":"mask","keep_last":4}]}`)
	g.load(recs)
	fresh := slices.Clone(g.batch.Records)
	data := slices.Clone(g.batch.Data)

	w := walker{}
	if err := w.path.Parse([]byte("$.pii.*")); err != nil {
		b.Fatal(err)
	}

	b.ReportAllocs()
	var module, walker []time.Duration
	for b.Loop() {
		copy(g.batch.Records, fresh)
		copy(g.batch.Data, data)
		g.batch.Out = g.batch.Out[:0]

		began := time.Now()
		if err := g.chain.Run(b.Context(), &g.batch, transforms.Origin{Topic: "t"}); err != nil {
			b.Fatal(err)
		}

		module = append(module, time.Since(began))

		began = time.Now()
		for _, r := range recs {
			w.mask(b, r.value)
		}

		walker = append(walker, time.Since(began))
	}

	slices.Sort(module)
	slices.Sort(walker)
	m := module[len(module)/2]
	w1 := walker[len(walker)/2]
	b.ReportMetric(float64(m.Nanoseconds())/float64(len(recs)), "module-ns/record")
	b.ReportMetric(float64(w1.Nanoseconds())/float64(len(recs)), "walker-ns/record")
	b.ReportMetric(float64(m)/float64(w1), "module/walker")
}

// fourFields is a record of a kilobyte, of which four fields are personal.
func fourFields(n int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"id":%d,"pii":{"name":"Annegret Mustermann","email":"a.mustermann%04d@example.com","phone":"+49 30 901820","iban":"DE89370400440532013000"},"items":[`, n, n)
	for b.Len() < 940 {
		fmt.Fprintf(&b, `{"sku":"BOOK-%05d","quantity":%d,"price":19.99,"notes":"leave with the neighbour"},`, b.Len(), n%7)
	}
	return append(bytes.TrimSuffix(b.Bytes(), []byte(",")), `],"ok":true}`...)
}

// walker masks in Go.
type walker struct {
	path   jsonpath.Path
	places []jsonpath.Place
	out    []byte
}

var stars = []byte(strings.Repeat("*", 64))

func (w *walker) mask(tb testing.TB, value []byte) {
	var err error
	w.places, err = w.path.Find(w.places[:0], value)
	if err != nil || len(w.places) != 4 {
		tb.Fatalf("%d places, %v", len(w.places), err)
	}

	w.out = append(w.out[:0], value...)
	for _, at := range w.places {
		copy(w.out[at.Off+1:at.Off+at.Len-1], stars)
	}
}
