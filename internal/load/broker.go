package load

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Broker is a Kafka broker that acknowledges every Produce and stores
// nothing. It also answers what a gateway asks at start.
type Broker struct {
	ln    net.Listener
	topic string // that every Produce is answered for
	wg    sync.WaitGroup
}

// NewBroker listens on a port of its own, for one topic.
func NewBroker(topic string) (*Broker, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening as a broker: %w", err)
	}
	b := &Broker{ln: ln, topic: topic}
	b.wg.Go(b.accept)
	return b, nil
}

// Addr is where it listens.
func (b *Broker) Addr() string { return b.ln.Addr().String() }

// Close ends the listener. Connections last until their clients close them.
func (b *Broker) Close() { b.ln.Close() }

func (b *Broker) accept() {
	for {
		c, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.wg.Go(func() { b.serve(c) })
	}
}

func (b *Broker) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 256<<10)
	var head [12]byte
	var out []byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint32(head[:]))
		key := int16(binary.BigEndian.Uint16(head[4:]))
		version := int16(binary.BigEndian.Uint16(head[6:]))
		correlation := binary.BigEndian.Uint32(head[8:])

		if _, err := r.Discard(size - 8); err != nil {
			return
		}
		out = b.answer(out[:0], key, version, correlation)
		// Answers leave together when no request is waiting to be read.
		if r.Buffered() > 0 && len(out) < 4<<10 {
			if _, err := c.Write(out); err != nil {
				return
			}
			continue
		}

		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func (b *Broker) answer(dst []byte, key, version int16, correlation uint32) []byte {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	resp := req.ResponseKind()
	resp.SetVersion(version)
	switch r := resp.(type) {
	case *kmsg.ProduceResponse:
		t := kmsg.NewProduceResponseTopic()
		t.Topic = b.topic
		p := kmsg.NewProduceResponseTopicPartition()
		t.Partitions = append(t.Partitions, p)
		r.Topics = append(r.Topics, t)
	case *kmsg.ApiVersionsResponse:
		for _, k := range []int16{0, 3, 18, 23} {
			v := kmsg.NewApiVersionsResponseApiKey()
			v.ApiKey, v.MaxVersion = k, min(kmsg.RequestForKey(k).MaxVersion(), 9)
			r.ApiKeys = append(r.ApiKeys, v)
		}
	case *kmsg.MetadataResponse:
		host, port, _ := net.SplitHostPort(b.Addr())
		n := kmsg.NewMetadataResponseBroker()
		p, _ := strconv.Atoi(port)
		n.NodeID = 0
		n.Host = host
		n.Port = int32(p)
		r.Brokers = append(r.Brokers, n)
		r.Topics = append(r.Topics, b.theTopic())
	case *kmsg.OffsetForLeaderEpochResponse:
		// The gateway asks where a partition ends before its first batch.
		t := kmsg.NewOffsetForLeaderEpochResponseTopic()
		t.Topic = b.topic
		t.Partitions = append(t.Partitions, kmsg.NewOffsetForLeaderEpochResponseTopicPartition())
		t.Partitions[0].EndOffset = 0
		r.Topics = append(r.Topics, t)
	}

	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, correlation)

	if resp.IsFlexible() && key != 18 {
		dst = append(dst, 0)
	}
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// theTopic has one partition, which the broker leads.
func (b *Broker) theTopic() kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic = kmsg.StringPtr(b.topic)
	t.Partitions = append(t.Partitions, kmsg.NewMetadataResponseTopicPartition())
	return t
}
