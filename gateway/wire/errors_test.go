package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// codes counts the error codes in a response, ours and others.
func codes(v reflect.Value, want int16) (ours, others int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return codes(v.Elem(), want)
		}
	case reflect.Slice:
		for i := range v.Len() {
			a, b := codes(v.Index(i), want)
			ours += a
			others += b
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "ErrorCode" {
				if v.Field(i).Int() == int64(want) {
					ours++
				} else {
					others++
				}
				continue
			}

			a, b := codes(v.Field(i), want)
			ours += a
			others += b
		}
	}
	return ours, others
}

// Every API of the table, in every version, can be told that it failed: a
// frame that kmsg reads to the end, with the code on everything that was asked.
func TestEveryApiCanBeAnsweredWithAnError(t *testing.T) {
	const code = 29
	answered := make(map[kmsg.Key]bool)
	for seed := uint64(0); seed < 30; seed++ {
		servedRequests(seed, func(api API, v int16, req kmsg.Request) {
			if produce, ok := req.(*kmsg.ProduceRequest); ok {
				*produce = *produceRequest(v, 2, 2, nil)
			}
			frame := requestFrame(12, req)
			h, err := ParseRequestHeader(frame)
			if err != nil {
				t.Fatal(err)
			}

			out, err := ErrorResponse([]byte("dst"), h, frame[h.BodyOffset:], code, "not here")
			if err != nil {
				t.Fatalf("%s v%d: %v", api.Name, v, err)
			}

			resp := decodeAnswer(t, api, v, out[3:])
			ours, others := codes(reflect.ValueOf(resp), code)
			if ours > 0 {
				answered[api.Key] = true
			}
			// Codes that the version does not carry decode as 0.
			if top := reflect.ValueOf(resp).Elem().FieldByName("ErrorCode"); others > 0 && !(others == 1 && top.IsValid() && top.Int() == 0) {
				t.Errorf("%s v%d: %d items read as success", api.Name, v, others)
			}
		})
	}

	for _, api := range Table() {
		if api.Handling != Refuse && !answered[api.Key] {
			t.Errorf("%s: no answer held the code", api.Name)
		}
	}
}

func decodeAnswer(t *testing.T, api API, v int16, frame []byte) kmsg.Response {
	t.Helper()
	correlation, body, err := ParseResponseHeader(api.Key, v, frame)
	if err != nil || correlation != 12 {
		t.Fatalf("%s v%d: correlation %d, %v", api.Name, v, correlation, err)
	}

	resp := api.Key.Response()
	resp.SetVersion(v)
	if err := resp.ReadFrom(frame[body:]); err != nil {
		t.Fatalf("%s v%d: %v", api.Name, v, err)
	}
	if !bytes.Equal(resp.AppendTo(nil), frame[body:]) {
		t.Fatalf("%s v%d: kmsg writes it differently", api.Name, v)
	}

	return resp
}

// Every item of the request is answered for, in its order.
func TestErrorAnswersNameEveryItem(t *testing.T) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version = 9
	for _, name := range []string{"a", "b"} {
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic = name
		topic.Partitions = make([]kmsg.OffsetCommitRequestTopicPartition, 3)
		for j := range topic.Partitions {
			topic.Partitions[j].Partition = int32(j)
		}
		req.Topics = append(req.Topics, topic)
	}

	out, err := ErrorResponse(nil, RequestHeader{Key: 8, Version: 9, CorrelationID: 12}, req.AppendTo(nil), 16, "")
	if err != nil {
		t.Fatal(err)
	}

	resp := decodeAnswer(t, table[8], 9, out).(*kmsg.OffsetCommitResponse)
	for i, name := range []string{"a", "b"} {
		if resp.Topics[i].Topic != name || len(resp.Topics[i].Partitions) != 3 {
			t.Fatalf("%+v", resp.Topics[i])
		}
		for j, p := range resp.Topics[i].Partitions {
			if p.Partition != int32(j) || p.ErrorCode != 16 {
				t.Errorf("%+v", p)
			}
		}
	}
}

// A Produce with acks=0 is never answered, not even with an error.
func TestNothingAnswersAcksZero(t *testing.T) {
	eachProduceVersion(t, func(t *testing.T, v int16) {
		req := produceRequest(v, 1, 1, []byte("r"))
		req.Acks = 0
		h, p := parsed(t, req)
		if p.Acks != 0 {
			t.Fatalf("acks %d", p.Acks)
		}

		out, err := ErrorResponse([]byte("dst"), h, req.AppendTo(nil), 87, "no")
		if err != nil || string(out) != "dst" {
			t.Errorf("%q, %v", out, err)
		}
	})
}

func TestErrorAnswersAreBoundedByWhatIsDecoded(t *testing.T) {
	h := RequestHeader{Key: 8, Version: 9}
	if _, err := ErrorResponse(nil, h, make([]byte, MaxDecoded+1), 1, ""); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if _, err := ErrorResponse(nil, RequestHeader{Key: 27, Version: 1}, nil, 1, ""); err == nil {
		t.Error("a refused API was answered")
	}
}
