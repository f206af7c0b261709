package transforms

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms/record"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// scan and meter are the functions of package wasm, for tests in which that name
// is a variable.
func scan(file []byte, limits ScanLimits) (*wasm.Binary, error) { return wasm.Scan(file, limits) }

func meter(b *wasm.Binary, stackBytes int) []byte { return wasm.Meter(b, stackBytes) }

func testdata(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func newRuntime(tb testing.TB, config Config) *Runtime {
	tb.Helper()
	r, err := New(config)
	if err != nil {
		tb.Fatal(err)
	}

	tb.Cleanup(func() {
		if err := r.Close(tb.Context()); err != nil && tb.Context().Err() == nil {
			tb.Error(err)
		}
	})

	return r
}

func load(tb testing.TB, r *Runtime, spec Spec) *Module {
	tb.Helper()
	if spec.Name == "" {
		spec.Name = "guest"
	}
	if l := &spec.Grant.Limits; l.Deadline == 0 && l.BatchDeadline == 0 {
		l.Deadline = 10 * time.Second // tests of deadlines set their own
	}

	m, err := r.Load(tb.Context(), spec)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// testRecord is a record in a form that is easy to write down.
type testRecord struct {
	key, value []byte // nil is null
	headers    []byte // nil is none
}

// newBatch lays records out as Kafka does: one behind the other, each with its
// framing, which for these tests is just some bytes.
func newBatch(records ...testRecord) *record.Batch {
	b := &record.Batch{}
	for n, r := range records {
		if r.headers == nil {
			r.headers = []byte{0}
		}
		start := len(b.Data)
		sent(b, []byte{0xAA, 0xBB, byte(n)})
		rec := record.Record{Key: record.Null, Value: record.Null, Timestamp: 1_700_000_000_000 + int64(n), OffsetDelta: int32(n)}

		if r.key != nil {
			rec.Key = sent(b, r.key)
		}
		if r.value != nil {
			rec.Value = sent(b, r.value)
		}

		rec.Headers = sent(b, r.headers)
		rec.Whole = record.Span{Off: uint32(start), Len: int32(len(b.Data) - start)}
		b.Records = append(b.Records, rec)
	}

	return b
}

// sent appends to what the producer sent.
func sent(b *record.Batch, p []byte) record.Span {
	s := record.Span{Off: uint32(len(b.Data)), Len: int32(len(p))}
	b.Data = append(b.Data, p...)
	return s
}

func values(values ...string) *record.Batch {
	var records []testRecord
	for n, v := range values {
		records = append(records, testRecord{key: fmt.Appendf(nil, "key-%04d", n), value: []byte(v)})
	}
	return newBatch(records...)
}

// rewinder returns a function that undoes what a chain did to a batch.
func rewinder(b *record.Batch) func() {
	data := slices.Clone(b.Data)
	records := slices.Clone(b.Records)
	return func() {
		b.Out = b.Out[:0]
		b.Changed = false
		copy(b.Data, data)
		copy(b.Records, records)
	}
}

func sized(count, size int) *record.Batch {
	records := make([]testRecord, count)
	for n := range records {
		key := make([]byte, 16)
		binary.BigEndian.PutUint64(key, uint64(n))
		value := make([]byte, size)
		for i := range value {
			value[i] = "abcdefghijklmnopqrstuvwxyz {\"}:,0123456789"[(i*7+n)%42]
		}
		records[n] = testRecord{key: key, value: value}
	}

	return newBatch(records...)
}
