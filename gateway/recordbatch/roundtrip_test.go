package recordbatch

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// sameRecords compares without the length, which kmsg leaves to its user.
func sameRecords(t *testing.T, got, want []kmsg.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d", len(got), len(want))
	}

	for i := range got {
		g := got[i]
		w := want[i]
		g.Length = 0
		w.Length = 0
		g.TimestampDelta = 0
		w.TimestampDelta = 0

		if len(g.Headers)+len(w.Headers) == 0 {
			g.Headers = nil
			w.Headers = nil
		}

		if !reflect.DeepEqual(g, w) {
			t.Fatalf("record %d is %+v, want %+v", i, g, w)
		}
	}
}

func TestBatchesOfOtherClientsAreReadWithEveryCodec(t *testing.T) {
	for _, codec := range allCodecs {
		for _, n := range []int{1, 2, 100, 700} {
			t.Run(fmt.Sprintf("%s/%d", codec, n), func(t *testing.T) {
				records := jsonRecords(n, 300)
				h, b := decode(t, kgoBatch(t, produced(n), codec, records))
				if h.Compression() != codec || h.ProducerID != 4711 {
					t.Fatalf("header is %+v", h)
				}
				if !bytes.Equal(b.Data, plainRecords(records)) {
					t.Fatal("data differs from the records sent")
				}

				for i, r := range b.Records {
					w := records[i]
					if !bytes.Equal(b.Bytes(r.Key), w.Key) || !bytes.Equal(b.Bytes(r.Value), w.Value) ||
						r.Timestamp != baseTime+w.TimestampDelta64 || r.OffsetDelta != w.OffsetDelta {
						t.Fatalf("record %d differs", i)
					}
				}
			})
		}
	}
}

func TestEncodedBatchesAreReadByOtherClientsWithEveryCodecAndLevel(t *testing.T) {
	records := jsonRecords(200, 700)
	want := jsonRecords(200, 700)
	for i := 0; i < len(want); i += 3 {
		want[i].Value = bytes.ToUpper(want[i].Value)
	}

	for _, codec := range allCodecs {
		for level := range maxLevel + 1 {
			t.Run(fmt.Sprintf("%s/%d", codec, level), func(t *testing.T) {
				h, b := decode(t, kgoBatch(t, produced(200), Zstd, records))
				for i := 0; i < len(records); i += 3 {
					upper(b, i)
				}

				raw := encode(t, h, b, EncodeOptions{Compression: codec, Level: level})
				head, got := kgoRecords(t, raw)
				sameRecords(t, got, want)

				if head.Attributes != int16(codec) || head.ProducerID != 4711 || head.ProducerEpoch != 3 || head.FirstSequence != 17 {
					t.Fatalf("header is %+v", head)
				}
				if codec != None && len(raw) > len(b.Data)*3/4 {
					t.Fatalf("%d bytes of %d: not compressed", len(raw), len(b.Data))
				}
			})
		}
	}
}
