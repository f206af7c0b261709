package recordbatch

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// stored is a batch of n records, as the broker keeps it after the given ones
// were dropped.
func stored(t *testing.T, codec Compression, n int, dropped ...int) []byte {
	t.Helper()
	header := produced(n)
	header.BaseOffset = 5000
	header.PartitionLeaderEpoch = 6
	h, b := decode(t, kgoBatch(t, header, codec, jsonRecords(n, 120)))
	drop(b, dropped...)
	return encode(t, h, b, EncodeOptions{KeepCompression: true, PlaceholderNote: []byte("rule")})
}

func strip(t *testing.T, raw []byte) ([]byte, int) {
	t.Helper()
	out, n, err := NewCodec(Limits{}).Strip(nil, raw)
	if err != nil {
		t.Fatal(err)
	}
	return out, n
}

func TestStripRemovesPlaceholdersAndLeavesTheirOffsetsEmpty(t *testing.T) {
	for _, codec := range allCodecs {
		out, n := strip(t, stored(t, codec, 30, 0, 11, 12, 29))
		var want []kmsg.Record
		for i, r := range jsonRecords(30, 120) {
			if i != 0 && i != 11 && i != 12 && i != 29 {
				want = append(want, r)
			}
		}

		head, got := kgoRecords(t, out)
		sameRecords(t, got, want)
		if n != 4 || head.FirstOffset != 5000 || head.LastOffsetDelta != 29 || head.NumRecords != 26 ||
			head.Attributes != int16(codec) || head.MaxTimestamp != baseTime+28 || head.ProducerID != 4711 || head.FirstSequence != 17 {
			t.Fatalf("%s: stripped %d, header is %+v", codec, n, head)
		}
	}
}

func TestStripOfNothingButPlaceholdersLeavesABatchWithoutRecords(t *testing.T) {
	for _, codec := range allCodecs {
		out, n := strip(t, stored(t, codec, 3, 0, 1, 2))
		head, _ := kgoRecords(t, out)
		if n != 3 || len(out) != headerSize || head.NumRecords != 0 || head.LastOffsetDelta != 2 || head.FirstOffset != 5000 ||
			head.Attributes != 0 || head.MaxTimestamp != baseTime+2 {
			t.Fatalf("%s: stripped %d, header is %+v", codec, n, head)
		}
		if again, m := strip(t, out); m != 0 || !bytes.Equal(again, out) {
			t.Fatalf("%s: stripping again changes it", codec)
		}
	}
}

func TestStripLeavesOtherBatchesByteForByte(t *testing.T) {
	control := produced(1)
	control.Attributes = controlBit
	sentinel := jsonRecords(3, 50)
	sentinel[1].Value = []byte("a value that holds " + placeholderKey)
	keyOnly := []kmsg.Record{{Key: []byte(placeholderKey), Value: []byte("but a value")}, {OffsetDelta: 1, Key: []byte(placeholderKey)}}

	tests := map[string][]byte{
		"no placeholder":             kgoBatch(t, produced(5), LZ4, jsonRecords(5, 50)),
		"sentinel in a value":        kgoBatch(t, produced(3), Zstd, sentinel),
		"sentinel key, other record": kgoBatch(t, produced(2), None, keyOnly),
		"control batch":              rawBatch(control, rec(0, 8, 0, 0, 0, 1, 0, 0)),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			out, n, err := NewCodec(Limits{}).Strip([]byte("before"), raw)
			if err != nil || n != 0 || string(out[:6]) != "before" || !bytes.Equal(out[6:], raw) {
				t.Fatalf("stripped %d: %v", n, err)
			}
		})
	}
}

func TestStripKeepsBrokersAppendTime(t *testing.T) {
	records := []kmsg.Record{{Key: []byte(placeholderKey), Headers: []kmsg.Header{{Key: placeholderHeader}}}, {OffsetDelta: 1, Value: []byte("v")}}
	h := produced(2)
	h.Attributes = logAppendTimeBit
	h.MaxTimestamp = baseTime + 99999

	out, n := strip(t, rawBatch(h, plainRecords(records)))
	if got, _ := ParseHeader(out); n != 1 || got.MaxTimestamp != h.MaxTimestamp || got.Attributes != logAppendTimeBit {
		t.Fatalf("stripped %d, header is %+v", n, got)
	}
}

func TestStripRefusesWhatItCannotRead(t *testing.T) {
	good := stored(t, LZ4, 3, 1)
	old := bytes.Clone(good)
	old[magicAt] = 1

	tests := map[string]struct {
		raw  []byte
		want error
	}{
		"wrong CRC": {flip(good, len(good)-1), ErrCorrupt},
		"magic 1":   {old, ErrUnsupportedMagic},
		"cut short": {good[:len(good)-2], ErrCorrupt},
		"no frame":  {rawBatch(Header{Magic: 2, Attributes: 3, NumRecords: 1}, []byte("no frame")), ErrCorrupt},
	}
	for name, test := range tests {
		out, n, err := NewCodec(Limits{}).Strip([]byte("before"), test.raw)
		if !errors.Is(err, test.want) || n != 0 || string(out) != "before" {
			t.Errorf("%s: got %q, %d, %v", name, out, n, err)
		}
	}
}

func TestForgedPlaceholderIsRecognised(t *testing.T) {
	for _, key := range [][]byte{nil, []byte(placeholderKey)} {
		forgedWith(t, kmsg.Record{Key: key, Headers: []kmsg.Header{{Key: placeholderHeader, Value: []byte("x")}}})
	}
}

func forgedWith(t *testing.T, forged kmsg.Record) {
	t.Helper()
	other := []func(*kmsg.Record){
		func(r *kmsg.Record) { r.Key = []byte("other") },
		func(r *kmsg.Record) { r.Key = []byte{} },
		func(r *kmsg.Record) { r.Value = []byte{} },
		func(r *kmsg.Record) { r.Headers = nil },
		func(r *kmsg.Record) { r.Headers = append(r.Headers, kmsg.Header{Key: "more"}) },
		func(r *kmsg.Record) { r.Headers = []kmsg.Header{{Key: "guardlock.dropper"}} },
	}

	records := []kmsg.Record{forged}
	for i, change := range other {
		r := forged
		r.OffsetDelta = int32(i + 1)
		change(&r)
		records = append(records, r)
	}

	_, b := decode(t, kgoBatch(t, produced(len(records)), None, records))
	for i := range b.Records {
		if got := IsPlaceholder(b, &b.Records[i]); got != (i == 0) {
			t.Errorf("record %d: %v", i, got)
		}
	}
}
