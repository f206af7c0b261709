package recordbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/transforms/record"
)

// rec is the wire form of one record given by its parts.
func rec(delta int64, tail ...byte) []byte {
	body := binary.AppendVarint([]byte{0, 0}, delta) // attributes, timestamp delta
	body = append(body, tail...)
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

func TestMalformedBatchIsRefused(t *testing.T) {
	good := func() []byte { return rawBatch(produced(2), plainRecords(jsonRecords(2, 50))) }
	with := func(change func(*Header)) []byte {
		h := produced(2)
		change(&h)
		return rawBatch(h, plainRecords(jsonRecords(2, 50)))
	}

	records := func(n int, payload ...[]byte) []byte { return rawBatch(produced(n), bytes.Join(payload, nil)) }
	minimal := []byte{1, 1, 0} // null key, null value, no headers

	tests := map[string]struct {
		raw  []byte
		want error
	}{
		"empty":                 {nil, ErrCorrupt},
		"shorter than a header": {good()[:60], ErrCorrupt},
		"magic 1":               {with(func(h *Header) { h.Magic = 1 }), ErrUnsupportedMagic},
		"magic 3":               {with(func(h *Header) { h.Magic = 3 }), ErrUnsupportedMagic},
		"a byte missing":        {good()[:len(good())-1], ErrCorrupt},
		"a byte too many":       {append(good(), 0), ErrCorrupt},
		"wrong CRC":             {flip(good(), 17), ErrCorrupt},
		"changed attributes":    {flip(good(), 22), ErrCorrupt},
		"changed record":        {flip(good(), len(good())-1), ErrCorrupt},
		"codec 5":               {with(func(h *Header) { h.Attributes = 5 }), ErrUnsupportedCompression},
		"codec 7":               {with(func(h *Header) { h.Attributes = 7 }), ErrUnsupportedCompression},
		"negative count":        {with(func(h *Header) { h.NumRecords = -1 }), ErrCorrupt},
		"no records but bytes":  {with(func(h *Header) { h.NumRecords = 0 }), ErrCorrupt},
		"fewer records than counted": {with(func(h *Header) {
			h.NumRecords = 3
			h.LastOffsetDelta = 2
		}), ErrCorrupt},
		"more records than counted": {with(func(h *Header) { h.NumRecords = 1 }), ErrCorrupt},
		"more records than offsets": {with(func(h *Header) { h.LastOffsetDelta = 0 }), ErrCorrupt},
		"more records than bytes": {with(func(h *Header) {
			h.NumRecords = math.MaxInt32
			h.LastOffsetDelta = math.MaxInt32
		}), ErrCorrupt},
		"offset deltas not rising":       {records(2, rec(1, minimal...), rec(1, minimal...)), ErrCorrupt},
		"offset delta beyond the last":   {records(1, rec(1, minimal...)), ErrCorrupt},
		"negative offset delta":          {records(1, rec(-1, minimal...)), ErrCorrupt},
		"record longer than the batch":   {records(1, []byte{40, 0, 0, 0, 1, 1, 0}), ErrCorrupt},
		"record of negative length":      {records(1, []byte{1, 0, 0, 0, 1, 1, 0}), ErrCorrupt},
		"record of length zero":          {records(1, []byte{0, 0, 0, 0, 1, 1, 0}), ErrCorrupt},
		"record with a rest":             {records(1, rec(0, 1, 1, 0, 0)), ErrCorrupt},
		"bytes behind the last record":   {records(1, rec(0, minimal...), []byte{0}), ErrCorrupt},
		"key length below null":          {records(1, rec(0, 3, 1, 0)), ErrCorrupt},
		"value length below null":        {records(1, rec(0, 1, 5, 0)), ErrCorrupt},
		"key longer than the record":     {records(1, rec(0, 8, 'a', 1, 0)), ErrCorrupt},
		"value longer than the record":   {records(1, rec(0, 1, 8, 'a', 0)), ErrCorrupt},
		"negative header count":          {records(1, rec(0, 1, 1, 1)), ErrCorrupt},
		"more headers than bytes":        {records(1, rec(0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f)), ErrCorrupt},
		"null header key":                {records(1, rec(0, 1, 1, 2, 1, 0)), ErrCorrupt},
		"header value beyond the end":    {records(1, rec(0, 1, 1, 2, 2, 'k', 4, 'v')), ErrCorrupt},
		"varint without an end":          {records(1, rec(0, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0)), ErrCorrupt},
		"varint beyond 32 bits":          {records(1, rec(0, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x7f)), ErrCorrupt},
		"timestamp beyond 64 bits":       {records(1, []byte{28, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 1, 1, 0}), ErrCorrupt},
		"value cut inside its length":    {records(1, rec(0, 1, 0x80)), ErrCorrupt},
		"length that no record can have": {records(1, []byte{10, 0, 0, 0, 1, 1}), ErrCorrupt},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := new(record.Batch)
			if _, err := NewCodec(Limits{}).Decode(test.raw, b); !errors.Is(err, test.want) {
				t.Fatalf("error is %v, want %v", err, test.want)
			}
		})
	}
}

// flip changes one bit of raw[i].
func flip(raw []byte, i int) []byte {
	raw = bytes.Clone(raw)
	raw[i] ^= 1
	return raw
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	raw := kgoBatch(t, produced(3), LZ4, jsonRecords(3, 60))
	for i := range raw {
		if i < magicAt && (i < 8 || i >= 12) {
			continue // base offset and leader epoch belong to the broker
		}
		if _, err := NewCodec(Limits{}).Decode(flip(raw, i), new(record.Batch)); err == nil {
			t.Errorf("byte %d changed unnoticed", i)
		}
	}
}

func TestNullAndEmptyAreToldApart(t *testing.T) {
	records := []kmsg.Record{{Key: nil, Value: []byte{}}, {OffsetDelta: 1, Key: []byte{}, Value: nil}}
	_, b := decode(t, kgoBatch(t, produced(2), None, records))
	r0 := b.Records[0]
	r1 := b.Records[1]
	if !r0.Key.IsNull() || r0.Value.IsNull() || r0.Value.Len != 0 || r1.Key.IsNull() || !r1.Value.IsNull() {
		t.Fatalf("records are %+v", b.Records)
	}
}

func TestGapsOfCompactionAreRead(t *testing.T) {
	records := jsonRecords(3, 50)
	records[1].OffsetDelta = 4
	records[2].OffsetDelta = 9
	h := produced(3)
	h.LastOffsetDelta = 11

	_, b := decode(t, rawBatch(h, plainRecords(records)))
	if b.Records[2].OffsetDelta != 9 {
		t.Fatalf("records are %+v", b.Records)
	}
}

func TestBatchWithoutRecordsIsRead(t *testing.T) {
	h := produced(0)
	h.LastOffsetDelta = 7
	if got, b := decode(t, rawBatch(h, nil)); len(b.Records) != 0 || got.LastOffsetDelta != 7 {
		t.Fatalf("batch is %+v", b)
	}
}

func TestPaddedVarintsAreRead(t *testing.T) {
	payload := []byte{0x96, 0x00, 0, 0x80, 0x00, 0x80, 0x80, 0x00, 0x81, 0x00, 1, 0}
	payload[0] = 0x80 | byte((len(payload)-2)*2)
	_, b := decode(t, rawBatch(produced(1), payload))
	if r := b.Records[0]; !r.Key.IsNull() || r.Timestamp != baseTime {
		t.Fatalf("record is %+v", r)
	}
}

func TestBatchOverTheLimitsIsRefused(t *testing.T) {
	records := jsonRecords(100, 100)
	size := len(plainRecords(records))
	for _, codec := range allCodecs {
		raw := kgoBatch(t, produced(100), codec, records)
		for name, test := range map[string]struct {
			limits Limits
			want   error
		}{
			"exactly":           {Limits{size, 100}, nil},
			"one byte too many": {Limits{size - 1, 100}, ErrTooLarge},
			"one record too":    {Limits{size, 99}, ErrTooLarge},
		} {
			t.Run(fmt.Sprintf("%s/%s", codec, name), func(t *testing.T) {
				_, err := NewCodec(test.limits).Decode(raw, new(record.Batch))
				if !errors.Is(err, test.want) {
					t.Fatalf("error is %v, want %v", err, test.want)
				}
			})
		}
	}
}

func TestProducedBatchIsChecked(t *testing.T) {
	tests := map[string]struct {
		change func(*Header)
		ok     bool
	}{
		"as clients send it": {func(*Header) {}, true},
		"without producer id": {func(h *Header) {
			h.ProducerID = -1
			h.ProducerEpoch = -1
			h.BaseSequence = -1
		}, true},
		"control batch":   {func(h *Header) { h.Attributes |= controlBit }, false},
		"log append time": {func(h *Header) { h.Attributes |= logAppendTimeBit }, false},
		"no records": {func(h *Header) {
			h.NumRecords = 0
			h.LastOffsetDelta = -1
		}, false},
		"gaps":                        {func(h *Header) { h.LastOffsetDelta++ }, false},
		"producer id, no sequence":    {func(h *Header) { h.BaseSequence = -1 }, false},
		"producer id, negative epoch": {func(h *Header) { h.ProducerEpoch = -1 }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := produced(5)
			test.change(&h)
			if err := h.CheckProduced(); (err == nil) != test.ok {
				t.Fatalf("error is %v", err)
			}
		})
	}
}

func TestSplitBatchesYieldsWholeBatchesAndSaysWhatIsLeft(t *testing.T) {
	one := rawBatch(produced(1), plainRecords(jsonRecords(1, 10)))
	two := rawBatch(produced(3), plainRecords(jsonRecords(3, 10)))
	join := func(p ...[]byte) []byte { return bytes.Join(p, nil) }
	negative := bytes.Clone(one)
	negative[8] = 0xff

	tests := map[string]struct {
		records []byte
		want    [][]byte
		err     error // of the last
	}{
		"none":              {nil, nil, nil},
		"one":               {one, [][]byte{one}, nil},
		"three":             {join(one, two, one), [][]byte{one, two, one}, nil},
		"last cut short":    {join(one, two[:len(two)-1]), [][]byte{one, two[:len(two)-1]}, ErrTruncated},
		"cut in its length": {join(one, two[:11]), [][]byte{one, two[:11]}, ErrTruncated},
		"impossible length": {join(one, negative), [][]byte{one, negative}, ErrCorrupt},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got [][]byte
			var last error
			for raw, err := range SplitBatches(test.records) {
				if last != nil {
					t.Fatal("batches follow an error")
				}
				got = append(got, raw)
				last = err
			}

			if !errors.Is(last, test.err) || len(got) != len(test.want) {
				t.Fatalf("got %d batches and %v, want %d and %v", len(got), last, len(test.want), test.err)
			}
			for i := range got {
				if !bytes.Equal(got[i], test.want[i]) {
					t.Fatalf("batch %d differs", i)
				}
			}
		})
	}
}

func TestSplitBatchesStopsWhenItsUserDoes(t *testing.T) {
	one := rawBatch(produced(1), plainRecords(jsonRecords(1, 10)))
	for raw, err := range SplitBatches(bytes.Repeat(one, 3)) {
		if err != nil || !bytes.Equal(raw, one) {
			t.Fatal(err)
		}
		break
	}
}

func TestCompressionNamesAreKafkas(t *testing.T) {
	for i, name := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		c, err := ParseCompression(name)
		if err != nil || c != Compression(i) || c.String() != name {
			t.Errorf("%s is %d (%v), named %s", name, c, err, c)
		}
	}
	for _, name := range []string{"", "LZ4", "producer", "uncompressed"} {
		if _, err := ParseCompression(name); err == nil {
			t.Errorf("%q is taken for a codec", name)
		}
	}
}
