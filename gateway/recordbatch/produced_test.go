package recordbatch

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestBatchWithTheBrokersTimeIsFoundAsItWasProduced(t *testing.T) {
	for _, codec := range allCodecs {
		records := jsonRecords(20, 100)
		for i := range records {
			records[i].TimestampDelta64 = int64(i * 7 % 20)
		}

		h := produced(20)
		h.MaxTimestamp = h.BaseTimestamp + 19
		sent := kgoBatch(t, h, codec, records)
		kept := bytes.Clone(sent)
		binary.BigEndian.PutUint16(kept[attributesAt:], binary.BigEndian.Uint16(kept[attributesAt:])|logAppendTimeBit)
		binary.BigEndian.PutUint64(kept[maxTimestampAt:], 1_800_000_000_000)
		finish(kept)

		got, err := NewCodec(Limits{}).AsProduced([]byte("x"), kept)
		if err != nil || !bytes.Equal(got[1:], sent) {
			t.Errorf("%s: the batch is not what was produced: %v", codec, err)
		}
		if got, err := NewCodec(Limits{}).AsProduced(nil, sent); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%s: a batch with its producer's time was changed: %v", codec, err)
		}
	}
}
