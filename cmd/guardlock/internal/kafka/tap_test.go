package kafka

import (
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestTapReadsFramesHoweverTheyAreCut: TCP hands out any pieces.
func TestTapReadsFramesHoweverTheyAreCut(t *testing.T) {
	var stream []byte
	for _, frame := range []string{"", "a", "bcd", "0123456789"} {
		stream = binary.BigEndian.AppendUint32(stream, uint32(len(frame)))
		stream = append(stream, frame...)
	}

	for size := 1; size <= len(stream); size++ {
		var got []string
		s := frameSplitter{done: func(frame []byte) { got = append(got, string(frame)) }}
		for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			s.feed(rest[:min(size, len(rest))])
		}

		if len(got) != 4 || got[1] != "a" || got[2] != "bcd" || got[3] != "0123456789" {
			t.Errorf("pieces of %d: frames %q", size, got)
		}
	}
}

// FuzzTap feeds both directions with anything: a hostile broker must not bring
// the client down.
func FuzzTap(f *testing.F) {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	topic := kmsg.NewProduceRequestTopic()
	topic.Partitions = append(topic.Partitions, kmsg.NewProduceRequestTopicPartition())
	req.Topics = append(req.Topics, topic)
	formatted := kmsg.NewRequestFormatter(kmsg.FormatterClientID("c")).AppendRequest(nil, req, 1)
	f.Add(formatted, []byte("\x00\x00\x00\x05\x00\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, out, in []byte) {
		c := &tappedConn{tap: NewTap(), pending: make(map[int32]produceShape)}
		c.requests.done = c.request
		c.responses.done = c.response
		c.requests.feed(out)
		c.responses.feed(in)
	})
}
