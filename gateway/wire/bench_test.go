package wire

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func benchFrame(b *testing.B) (RequestHeader, []byte) {
	req := produceRequest(11, 1, 16, make([]byte, 16<<10))
	frame := requestFrame(1, req)
	h, err := ParseRequestHeader(frame)
	if err != nil {
		b.Fatal(err)
	}

	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	return h, frame
}

func BenchmarkParseProduce(b *testing.B) {
	h, frame := benchFrame(b)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		var p Produce
		for b.Loop() {
			if err := ParseProduce(11, frame[h.BodyOffset:], &p); err != nil {
				b.Fatal(err)
			}
		}
	})

	b.Run("kmsg", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			req := kmsg.NewPtrProduceRequest()
			req.Version = 11
			if err := req.ReadFrom(frame[h.BodyOffset:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendProduce(b *testing.B) {
	h, frame := benchFrame(b)
	var p Produce
	if err := ParseProduce(11, frame[h.BodyOffset:], &p); err != nil {
		b.Fatal(err)
	}

	var dst []byte
	for b.Loop() {
		dst = AppendProduce(dst[:0], h, &p)
	}
}

func BenchmarkMergeProduceResponse(b *testing.B) {
	_, p := parsed(b, produceRequest(11, 1, 16, nil))
	p.Topics[0].Partitions[3].Skip = true
	p.Topics[0].Partitions[3].Result = Failed(87, "", nil)
	frame := responseFrame(1, produceResponse(p))
	var dst []byte
	b.ReportAllocs()

	for b.Loop() {
		out, err := MergeProduceResponse(dst[:0], 11, frame, p)
		if err != nil {
			b.Fatal(err)
		}
		dst = out
	}
}

func BenchmarkParseRequestHeader(b *testing.B) {
	_, frame := benchFrame(b)
	b.SetBytes(0)
	for b.Loop() {
		if _, err := ParseRequestHeader(frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWalkFetchRecords(b *testing.B) {
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 17
	t := kmsg.NewFetchResponseTopic()
	t.Partitions = make([]kmsg.FetchResponseTopicPartition, 16)

	for i := range t.Partitions {
		t.Partitions[i] = kmsg.NewFetchResponseTopicPartition()
		t.Partitions[i].RecordBatches = make([]byte, 16<<10)
	}

	resp.Topics = append(resp.Topics, t)
	frame := responseFrame(1, resp)
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))

	for b.Loop() {
		if _, _, err := WalkFetchRecords(nil, kmsg.Fetch, 17, frame, keepRecords); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckRequest(b *testing.B) {
	req := kmsg.NewPtrFetchRequest()
	req.Version = 17
	newFiller(3).fill(req)
	body := req.AppendTo(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))

	for b.Loop() {
		if err := CheckRequest(kmsg.Fetch, 17, body); err != nil {
			b.Fatal(err)
		}
	}
}
