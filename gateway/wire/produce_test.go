package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// produceRequest makes a request of distinct partitions with records.
func produceRequest(version int16, topics, partitions int, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version = version
	req.Acks = -1
	req.TimeoutMillis = 1500
	req.TransactionID = kmsg.StringPtr("txn")

	for i := range topics {
		t := kmsg.NewProduceRequestTopic()
		t.Topic = fmt.Sprintf("topic-%d", i)
		t.TopicID = [16]byte{1, byte(i)}

		for j := range partitions {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition = int32(j)
			p.Records = append([]byte{byte(i), byte(j)}, records...)
			t.Partitions = append(t.Partitions, p)
		}

		req.Topics = append(req.Topics, t)
	}

	return req
}

// produceResponse answers the partitions that p sends upstream, last topic
// first: brokers need not keep the order.
func produceResponse(p *Produce) *kmsg.ProduceResponse {
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = p.Version
	resp.ThrottleMillis = 42

	for i := len(p.Topics) - 1; i >= 0; i-- {
		t := kmsg.NewProduceResponseTopic()
		t.Topic = string(p.Topics[i].Name)
		t.TopicID = p.Topics[i].ID

		for _, q := range p.Topics[i].Partitions {
			if q.Skip {
				continue
			}
			a := kmsg.NewProduceResponseTopicPartition()
			a.Partition = q.Index
			a.BaseOffset = int64(1000*i) + int64(q.Index)
			t.Partitions = append(t.Partitions, a)
		}

		if len(t.Partitions) > 0 {
			resp.Topics = append(resp.Topics, t)
		}
	}

	return resp
}

func eachProduceVersion(t *testing.T, fn func(t *testing.T, v int16)) {
	for v := table[kmsg.Produce].Min; v <= table[kmsg.Produce].Max; v++ {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { fn(t, v) })
	}
}

func TestProduceRoundTripIsByteForByte(t *testing.T) {
	for seed := uint64(0); seed < 50; seed++ {
		for v := int16(3); v <= 13; v++ {
			req := kmsg.NewPtrProduceRequest()
			req.Version = v
			newFiller(seed).fill(req)

			number := int32(0)
			for i := range req.Topics {
				for j := range req.Topics[i].Partitions {
					req.Topics[i].Partitions[j].Partition = number
					number++
				}
			}

			dropEmptyTopics(req)
			frame := requestFrame(9, req)
			h, err := ParseRequestHeader(frame)
			if err != nil {
				t.Fatal(err)
			}

			var p Produce
			if err := ParseProduce(v, frame[h.BodyOffset:], &p); err != nil {
				t.Fatalf("v%d: %v", v, err)
			}
			if out := AppendProduce(nil, h, &p); !bytes.Equal(out, frame) {
				t.Fatalf("v%d:\n got %x\nwant %x", v, out, frame)
			}

			sameProduce(t, req, &p, frame[h.BodyOffset:])
		}
	}
}

// dropEmptyTopics: a topic without partitions is not worth sending on.
func dropEmptyTopics(req *kmsg.ProduceRequest) {
	kept := req.Topics[:0]
	for _, topic := range req.Topics {
		if len(topic.Partitions) > 0 {
			kept = append(kept, topic)
		}
	}
	req.Topics = kept
}

func sameProduce(t *testing.T, req *kmsg.ProduceRequest, p *Produce, body []byte) {
	t.Helper()
	if p.Acks != req.Acks || p.TimeoutMillis != req.TimeoutMillis || (p.TransactionalID == nil) != (req.TransactionID == nil) {
		t.Fatalf("got %+v, want %+v", p, req)
	}

	for i, topic := range req.Topics {
		got := p.Topics[i]
		if req.Version < 13 && string(got.Name) != topic.Topic || req.Version >= 13 && got.ID != topic.TopicID {
			t.Fatalf("topic %q %x, want %q %x", got.Name, got.ID, topic.Topic, topic.TopicID)
		}
		for j, part := range topic.Partitions {
			q := got.Partitions[j]
			if q.Index != part.Partition || !bytes.Equal(q.Records, part.Records) || (q.Records == nil) != (part.Records == nil) {
				t.Fatalf("partition %+v, want %+v", q, part)
			}
			if !bytes.Equal(body[q.Offset:q.Offset+len(q.Records)], part.Records) {
				t.Fatalf("offset %d is not where the records are", q.Offset)
			}
		}
	}
}

func parsed(t testing.TB, req *kmsg.ProduceRequest) (RequestHeader, *Produce) {
	t.Helper()
	frame := requestFrame(9, req)
	h, err := ParseRequestHeader(frame)
	if err != nil {
		t.Fatal(err)
	}

	p := new(Produce)
	if err := ParseProduce(req.Version, frame[h.BodyOffset:], p); err != nil {
		t.Fatal(err)
	}
	return h, p
}

// One rejected partition leaves the others to go through.
func TestOnlyTheRejectedPartitionIsHeldBack(t *testing.T) {
	eachProduceVersion(t, func(t *testing.T, v int16) {
		req := produceRequest(v, 3, 3, []byte("records"))
		h, p := parsed(t, req)
		p.Topics[0].Partitions[1].Skip = true

		for j := range p.Topics[1].Partitions {
			p.Topics[1].Partitions[j].Skip = true // the whole topic goes
		}
		p.Topics[2].Partitions[2].Records = []byte("replaced and longer than it was before")

		out := AppendProduce(nil, h, p)
		got := kmsg.NewPtrProduceRequest()
		got.Version = v

		if err := got.ReadFrom(out[h.BodyOffset:]); err != nil {
			t.Fatal(err)
		}
		want := produceRequest(v, 3, 3, []byte("records"))
		want.Topics[0].Partitions = append(want.Topics[0].Partitions[:1], want.Topics[0].Partitions[2])
		want.Topics[2].Partitions[2].Records = p.Topics[2].Partitions[2].Records
		want.Topics = append(want.Topics[:1], want.Topics[2])

		if !bytes.Equal(out[h.BodyOffset:], want.AppendTo(nil)) {
			t.Fatalf("got %+v", got.Topics)
		}
	})
}

// Answers of the gateway and of the broker come back as one, in the
// request's order, with KIP-467 record errors from v8 on.
func TestAnswersAreMergedInRequestOrder(t *testing.T) {
	eachProduceVersion(t, func(t *testing.T, v int16) {
		_, p := parsed(t, produceRequest(v, 3, 3, []byte("records")))
		rejected := &p.Topics[1].Partitions[1]
		rejected.Skip = true
		rejected.Result = Failed(87, "gl-1: masked", []RecordError{{Index: 2, Message: "iban"}, {Index: 5}})

		out, err := MergeProduceResponse(nil, v, responseFrame(9, produceResponse(p)), p)
		if err != nil {
			t.Fatal(err)
		}

		resp := decodeProduceResponse(t, v, out)
		if resp.ThrottleMillis != 42 || len(resp.Topics) != 3 {
			t.Fatalf("%+v", resp)
		}

		for i, topic := range resp.Topics {
			if v < 13 && topic.Topic != fmt.Sprintf("topic-%d", i) || v >= 13 && topic.TopicID != p.Topics[i].ID {
				t.Errorf("topic %d is %q %x", i, topic.Topic, topic.TopicID)
			}
			for j, a := range topic.Partitions {
				if i == 1 && j == 1 {
					checkRejected(t, v, a)
				} else if a.ErrorCode != 0 || a.BaseOffset != int64(1000*i+j) || a.Partition != int32(j) {
					t.Errorf("topic %d partition %d: %+v", i, j, a)
				}
			}
		}
	})
}

func checkRejected(t *testing.T, v int16, a kmsg.ProduceResponseTopicPartition) {
	t.Helper()
	if a.ErrorCode != 87 || a.BaseOffset != -1 || a.LogAppendTime != -1 || a.Partition != 1 {
		t.Errorf("rejected partition: %+v", a)
	}
	if v >= 5 && a.LogStartOffset != -1 {
		t.Errorf("log start %d", a.LogStartOffset)
	}
	if v < 8 {
		return
	}
	if a.ErrorMessage == nil || *a.ErrorMessage != "gl-1: masked" || len(a.ErrorRecords) != 2 ||
		a.ErrorRecords[0].RelativeOffset != 2 || *a.ErrorRecords[0].ErrorMessage != "iban" || a.ErrorRecords[1].ErrorMessage != nil {
		t.Errorf("record errors: %+v", a)
	}
}

// decodeProduceResponse insists that the frame is what kmsg would have written.
func decodeProduceResponse(t *testing.T, v int16, frame []byte) *kmsg.ProduceResponse {
	t.Helper()
	_, body, err := ParseResponseHeader(kmsg.Produce, v, frame)
	if err != nil {
		t.Fatal(err)
	}

	resp := kmsg.NewPtrProduceResponse()
	resp.Version = v
	if err := resp.ReadFrom(frame[body:]); err != nil {
		t.Fatalf("v%d: %v", v, err)
	}
	if !bytes.Equal(resp.AppendTo(nil), frame[body:]) {
		t.Fatalf("v%d: kmsg writes it differently\n got %x\nwant %x", v, frame[body:], resp.AppendTo(nil))
	}

	return resp
}

func TestAllLocalAnswersNeedNoBroker(t *testing.T) {
	eachProduceVersion(t, func(t *testing.T, v int16) {
		_, p := parsed(t, produceRequest(v, 2, 2, nil))
		for i := range p.Topics {
			for j := range p.Topics[i].Partitions {
				p.Topics[i].Partitions[j].Skip = true
				p.Topics[i].Partitions[j].Result = Failed(44, "", nil)
			}
		}

		if p.Forwarded() != 0 {
			t.Fatalf("%d forwarded", p.Forwarded())
		}
		resp := decodeProduceResponse(t, v, AppendProduceResponse(nil, 3, p))
		if len(resp.Topics) != 2 || resp.Topics[1].Partitions[1].ErrorCode != 44 {
			t.Fatalf("%+v", resp)
		}
	})
}

// A partition for which nobody has an answer must never read as stored.
func TestUnansweredPartitionsFail(t *testing.T) {
	_, p := parsed(t, produceRequest(9, 1, 2, nil))
	p.Topics[0].Partitions[0].Skip = true
	p.Topics[0].Partitions[0].Result = Failed(87, "", nil)

	resp := decodeProduceResponse(t, 9, AppendProduceResponse(nil, 3, p))
	if resp.Topics[0].Partitions[1].ErrorCode != kerr.UnknownServerError.Code {
		t.Fatalf("%+v", resp)
	}

	_, p = parsed(t, produceRequest(9, 2, 2, nil))
	answer := produceResponse(p)
	answer.Topics[0].Partitions = answer.Topics[0].Partitions[:1]

	if _, err := MergeProduceResponse(nil, 9, responseFrame(1, answer), p); !errors.Is(err, ErrMalformed) {
		t.Errorf("a missing answer: %v", err)
	}
	answer = produceResponse(p)
	answer.Topics[0].Partitions[0].Partition = 17

	if _, err := MergeProduceResponse(nil, 9, responseFrame(1, answer), p); !errors.Is(err, ErrMalformed) {
		t.Errorf("an answer that was not asked for: %v", err)
	}
}

func TestPartitionsNamedTwiceAreRefused(t *testing.T) {
	for _, v := range []int16{7, 9, 13} {
		req := produceRequest(v, 1, 3, nil)
		req.Topics[0].Partitions[2].Partition = 0
		same := produceRequest(v, 2, 3, nil)
		same.Topics[1].Topic = same.Topics[0].Topic
		same.Topics[1].TopicID = same.Topics[0].TopicID

		for _, r := range []*kmsg.ProduceRequest{req, same} {
			if err := ParseProduce(v, r.AppendTo(nil), new(Produce)); !errors.Is(err, ErrDuplicate) {
				t.Errorf("v%d: %v", v, err)
			}
		}
	}
}

// Thirty bytes of memory for every byte sent would be a way to starve the gateway.
func TestProduceEntriesAreBounded(t *testing.T) {
	many := func(n int) []byte {
		req := kmsg.NewPtrProduceRequest()
		req.Version = 9
		topic := kmsg.NewProduceRequestTopic()
		for i := range n {
			topic.Partitions = append(topic.Partitions, kmsg.ProduceRequestTopicPartition{Partition: int32(i)})
		}

		req.Topics = append(req.Topics, topic)
		return req.AppendTo(nil)
	}

	var p Produce
	if err := ParseProduce(9, many(MaxEntries), &p); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("%v", err)
	}
	if err := ParseProduce(9, many(MaxEntries-1), &p); err != nil {
		t.Fatal(err)
	}
	if err := ParseProduce(9, many(1), &p); err != nil || cap(p.Topics[0].Partitions) > keptEntries {
		t.Fatalf("%v, and %d entries kept", err, cap(p.Topics[0].Partitions))
	}
}

// Padded lengths are read, as brokers read them, and never written.
func TestLengthsAreWrittenCanonically(t *testing.T) {
	canonical := requestFrame(9, produceRequest(9, 1, 1, []byte("records")))
	h, err := ParseRequestHeader(canonical)
	if err != nil {
		t.Fatal(err)
	}

	at := bytes.Index(canonical, []byte{8, 't', 'o', 'p', 'i', 'c'}) // the length of "topic-0"
	padded := append(append(bytes.Clone(canonical[:at]), 0x88, 0x80, 0x00), canonical[at+1:]...)
	var p Produce
	if err := ParseProduce(9, padded[h.BodyOffset:], &p); err != nil {
		t.Fatal(err)
	}
	if out := AppendProduce(nil, h, &p); !bytes.Equal(out, canonical) {
		t.Fatalf("%x", out)
	}
}

// The broker's throttle time reaches the client through a merge.
func TestThrottleTimePassesThrough(t *testing.T) {
	eachProduceVersion(t, func(t *testing.T, v int16) {
		_, p := parsed(t, produceRequest(v, 1, 2, nil))
		p.Topics[0].Partitions[0].Skip = true
		out, err := MergeProduceResponse(nil, v, responseFrame(9, produceResponse(p)), p)
		if err != nil {
			t.Fatal(err)
		}
		if resp := decodeProduceResponse(t, v, out); resp.ThrottleMillis != 42 {
			t.Errorf("%d ms", resp.ThrottleMillis)
		}
	})
}

// Message sets (Produce v0-2) never reach a transform that cannot
// read them.
func TestMessageSetsAreRefused(t *testing.T) {
	for v := int16(0); v < 3; v++ {
		if _, err := ParseRequestHeader(AppendRequestHeader(nil, kmsg.Produce, v, 1, nil)); !errors.Is(err, ErrUnsupportedVersion) {
			t.Errorf("v%d: %v", v, err)
		}
	}
}

func TestProduceResultsVisitEveryPartition(t *testing.T) {
	eachProduceVersion(t, func(t *testing.T, v int16) {
		_, p := parsed(t, produceRequest(v, 3, 2, nil))
		want := produceResponse(p)
		var got []ProduceAnswer
		err := ProduceResults(v, responseFrame(1, want), func(a *ProduceAnswer) error {
			got = append(got, *a)
			return nil
		})
		if err != nil || len(got) != 6 {
			t.Fatalf("%d answers, %v", len(got), err)
		}

		for i, topic := range want.Topics {
			for j, a := range topic.Partitions {
				g := got[2*i+j]
				if g.Partition != a.Partition || g.BaseOffset != a.BaseOffset || g.ErrorCode != a.ErrorCode || g.LogAppendTime != a.LogAppendTime {
					t.Errorf("got %+v, want %+v", g, a)
				}
				if v < 13 && string(g.Topic) != topic.Topic || v >= 13 && g.TopicID != topic.TopicID {
					t.Errorf("got %+v of %q", g, topic.Topic)
				}
			}
		}
	})
}

func TestProduceAllocatesNothingInSteadyState(t *testing.T) {
	h, p := parsed(t, produceRequest(11, 3, 4, make([]byte, 4096)))
	frame := AppendProduce(nil, h, p)
	answer := responseFrame(9, produceResponse(p))
	var dst []byte
	run := func() {
		if err := ParseProduce(11, frame[h.BodyOffset:], p); err != nil {
			t.Fatal(err)
		}
		p.Topics[1].Partitions[1].Records = frame[:100]
		dst = AppendProduce(dst[:0], h, p)

		out, err := MergeProduceResponse(dst[:0], 11, answer, p)
		if err != nil {
			t.Fatal(err)
		}
		dst = out
	}

	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Fatalf("%v allocations a request", n)
	}
}

// FuzzProduce: whatever we parse, kmsg parses to the same; whatever kmsg
// parses without duplicates or leftovers, we parse.
func FuzzProduce(f *testing.F) {
	for v := int16(3); v <= 13; v++ {
		f.Add(v, produceRequest(v, 2, 2, []byte("r")).AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, v int16, body []byte) {
		if v < 3 || v > 13 || len(body) > 1<<16 {
			return
		}
		var p Produce
		err := ParseProduce(v, body, &p)
		if checked := CheckRequest(kmsg.Produce, v, body); (checked == nil) != (err == nil || errors.Is(err, ErrDuplicate)) {
			t.Fatalf("the shape says %v, the parser %v", checked, err)
		}
		if err != nil {
			return
		}

		req := kmsg.NewPtrProduceRequest()
		req.Version = v
		if err := req.ReadFrom(body); err != nil {
			return // a null where kmsg wants none
		}

		sameProduce(t, req, &p, body)
		var again Produce
		if err := ParseProduce(v, AppendProduce(nil, RequestHeader{Version: v}, &p)[len(AppendRequestHeader(nil, 0, v, 0, nil)):], &again); err != nil {
			t.Fatalf("reading back what we wrote: %v", err)
		}
		if again.Acks != p.Acks || !reflect.DeepEqual(again.TransactionalID, p.TransactionalID) {
			t.Fatal("reading back something else")
		}
	})
}

func FuzzProduceResponse(f *testing.F) {
	for v := int16(3); v <= 13; v++ {
		_, p := parsed(f, produceRequest(v, 2, 2, nil))
		f.Add(v, responseFrame(1, produceResponse(p)))
	}
	f.Fuzz(func(t *testing.T, v int16, frame []byte) {
		if v < 3 || v > 13 {
			return
		}
		n := 0
		if ProduceResults(v, frame, func(*ProduceAnswer) error { n++; return nil }) != nil {
			return
		}
		if n*22 > len(frame) {
			t.Fatalf("%d answers in %d bytes", n, len(frame))
		}

		_, p := parsed(t, produceRequest(v, 2, 2, nil))
		_, _ = MergeProduceResponse(nil, v, frame, p)
		_, _, _ = RewriteResponse(nil, kmsg.Produce, v, frame, advertiser{}, nil)
	})
}

// TestCutsAreWhereRecordsBelong: the pieces put together are the frame.
func TestCutsAreWhereRecordsBelong(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		var p Produce
		p.Version = version
		p.Acks = -1
		p.Topics = []ProduceTopic{{Name: []byte("a"), Partitions: []ProducePartition{{Index: 1, Records: []byte("one")}, {Index: 2, Skip: true}, {Index: 3}}},
			{Name: []byte("b"), Partitions: []ProducePartition{{Index: 0, Records: []byte("two")}}}}

		h := RequestHeader{Key: 0, Version: version, CorrelationID: 9}
		whole := AppendProduce([]byte("x"), h, &p)
		around, cuts := AppendProduceAround([]byte("x"), h, &p, nil)
		var joined []byte
		at := 0
		for _, c := range cuts {
			joined = append(append(joined, around[at:c.At]...), c.Records...)
			at = c.At
		}

		if joined = append(joined, around[at:]...); string(joined) != string(whole) {
			t.Errorf("v%d: pieces differ from the frame", version)
		}
	}
}
