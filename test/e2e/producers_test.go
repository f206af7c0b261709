package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/gateway/recordbatch"
)

var codecs = map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

var kinds = map[string][]kgo.Opt{
	"idempotent":  {kgo.RequiredAcks(kgo.AllISRAcks())},
	"plain":       {kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks())},
	"plain acks1": {kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck())},
	"plain acks0": {kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.NoAck())},
}

// Every stock producer gets, with every codec, what the outcome says; and a
// changed batch keeps the producer's codec.
func TestEveryCodecAndKindOfProducerMeetsTheSameOutcomes(t *testing.T) {
	w := judged(t, int32(len(codecs)*len(kinds)))
	partition := int32(-1)
	for codec, compression := range codecs {
		for kind, opts := range kinds {
			partition++
			t.Run(codec+"/"+kind, func(t *testing.T) {
				c := client(t, w.addr(), append(slices.Clone(opts), kgo.ProducerBatchCompression(compression))...)
				w.judgeAll(t, c, partition, kind)
				for _, raw := range w.rawBatches("in", partition) {
					h := must(recordbatch.ParseHeader(raw))(t)
					if want := must(recordbatch.ParseCompression(codec))(t); h.Compression() != want {
						t.Errorf("a batch is stored with codec %v", h.Compression())
					}
				}
			})
		}
	}
}

// padded makes a value that every codec makes smaller: clients send what does
// not shrink as it is.
func padded(s string) string { return fmt.Sprintf("%s%0400d", s, 7) }

func (w *world) judgeAll(t *testing.T, c *kgo.Client, partition int32, kind string) {
	t.Helper()
	mustSend(t, c, "in", partition, padded("a"), padded("b"))
	mustSend(t, c, "in", partition, padded("m"), padded("c"))

	if kind == "plain acks0" {
		eventually(t, "what nobody answers for is stored", func() bool { return len(w.stored("in", partition)) == 4 })
		w.decided("in", partition, 2, "modified", "unspecified")
		return
	}

	for _, err := range send(t, c, "in", partition, padded("x"), padded("r")) {
		if !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("a rejected record's error is %v", err)
		}
	}

	mustSend(t, c, "in", partition, padded("e"))
	equal(t, "stored", values(w.stored("in", partition)), []string{padded("a"), padded("b"), padded("M"), padded("c"), padded("e")})
	w.decided("in", partition, 2, "modified", "unspecified")
	w.decided("in", partition, 4, "passed", "")
}

// With acks=0 there is no answer that could say no: Kafka closes the connection.
func TestRejectedBatchWithoutAnswerEndsTheConnection(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	c.pipeline(produceOf(0, part{"in", 0, batchOf(nobody, "a")}), produceOf(0, part{"in", 0, batchOf(nobody, "r")}))
	if !c.closed() {
		t.Error("the connection goes on, or was answered")
	}
	eventually(t, "what came before is stored", func() bool { return len(w.stored("in", 0)) == 1 })
}

func TestUnansweredProduceLeavesAnswersInOrder(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	c.pipeline(produceOf(0, part{"in", 0, batchOf(nobody, "a")}), produceOf(-1, part{"in", 0, batchOf(nobody, "b")}))
	req := produceOf(-1)
	w.taken(results(c.receive(req, c.last))[0], 1)
	w.decided("in", 0, 0, "passed", "")
}
