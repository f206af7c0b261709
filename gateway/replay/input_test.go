package replay

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms/record"
)

// batchEntry is a decision on a batch of so many records.
func batchEntry(records int, codec recordbatch.Compression) *audit.BatchEntry {
	e := &audit.BatchEntry{Time: time.UnixMilli(1_900_000_000_000)}
	e.ProducerID = 7
	e.Records = records
	e.Codec = uint8(codec)
	return e
}

func TestABatchIsBuiltOfLinesAsItsProducerBuiltIt(t *testing.T) {
	in, err := ParseInput([]byte(`{"key":"k","value":"a","headers":[{"key":"h","value":null}],"timestamp":"2030-01-31T12:00:00Z"}` + "\n\n" +
		`{"key":null,"value_base64":"/w==","timestamp":"2030-01-31T11:00:00Z"}` + "\n"))
	if err != nil || !in.timed {
		t.Fatalf("timed %t, %v", in.timed, err)
	}

	for _, codec := range []recordbatch.Compression{recordbatch.None, recordbatch.Gzip, recordbatch.Zstd} {
		raw, err := in.batch(batchEntry(2, codec), true)
		if err != nil {
			t.Fatal(err)
		}

		var b record.Batch
		h, err := recordbatch.NewCodec(recordbatch.Limits{}).Decode(raw, &b)
		if err != nil || len(b.Records) != 2 || h.Compression() != codec || !h.IsTransactional() || h.ProducerID != 7 {
			t.Fatalf("%s: header %+v, %v", codec, h, err)
		}
		if h.MaxTimestamp-b.Records[1].Timestamp != time.Hour.Milliseconds() || h.BaseTimestamp != h.MaxTimestamp {
			t.Errorf("%s: times are %d to %d", codec, h.BaseTimestamp, h.MaxTimestamp)
		}
		if string(b.Bytes(b.Records[0].Key)) != "k" || !b.Records[1].Key.IsNull() || string(b.Bytes(b.Records[1].Value)) != "\xff" {
			t.Errorf("%s: the records are %+v", codec, b.Records)
		}

		again, err := ParseInput(raw)
		if err != nil || !bytes.Equal(again.raw, raw) {
			t.Errorf("%s: read as a batch: %v", codec, err)
		}
	}
}

// FuzzInput: whatever an input is, it is refused or makes a whole batch.
func FuzzInput(f *testing.F) {
	f.Add([]byte(`{"key":"k","value":"a","headers":[{"key":"h","value":null}],"timestamp":"2030-01-31T12:00:00Z"}`))
	f.Add([]byte("{}\n{\"timestamp\":\"0001-01-01T00:00:00Z\"}\n{\"timestamp\":\"9999-01-01T00:00:00Z\"}"))
	f.Add(make([]byte, 61))
	f.Add([]byte("{"))
	if in, err := ParseInput([]byte(`{"value":"a"}`)); err == nil {
		plain, err := in.batch(batchEntry(1, recordbatch.None), false)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}

	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := ParseInput(raw)
		if err != nil {
			if !errors.Is(err, ErrInput) {
				t.Fatalf("not said to be the input's fault: %v", err)
			}
			return
		}

		batch, err := in.batch(batchEntry(len(in.records), recordbatch.None), false)
		switch {
		case err != nil:
			t.Fatal(err)
		case in.raw != nil && !bytes.Equal(batch, raw):
			t.Fatal("a batch was changed")
		case in.raw == nil && (len(in.records) == 0 || !recordbatch.Intact(batch)):
			t.Fatalf("of %d records an unsound batch was made", len(in.records))
		}
	})
}
