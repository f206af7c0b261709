// Package bench measures what the gateway costs: throughput, and CPU time of
// the gateway's process alone per megabyte of raw record bytes.
//
// The benchmark process is the load and the broker; the gateway under test is
// a child process, so that its CPU time can be told apart. The broker takes
// every batch and stores nothing. All variants run in one go: compare them as
// ratios within a run, since machines are noisy.
package bench

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

// nullBroker is a Kafka broker that acknowledges every Produce and stores
// nothing. It also answers what a gateway asks at start.
type nullBroker struct {
	ln net.Listener
	wg sync.WaitGroup
}

func newNullBroker() (*nullBroker, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening as null broker: %w", err)
	}
	b := &nullBroker{ln: ln}
	b.wg.Go(b.accept)
	return b, nil
}

func (b *nullBroker) addr() string { return b.ln.Addr().String() }

func (b *nullBroker) close() { b.ln.Close() }

func (b *nullBroker) accept() {
	for {
		c, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.wg.Go(func() { b.serve(c) })
	}
}

func (b *nullBroker) serve(c net.Conn) {
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

func (b *nullBroker) answer(dst []byte, key, version int16, correlation uint32) []byte {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	resp := req.ResponseKind()
	resp.SetVersion(version)
	switch r := resp.(type) {
	case *kmsg.ProduceResponse:
		t := kmsg.NewProduceResponseTopic()
		t.Topic = benchTopic
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
		host, port, _ := net.SplitHostPort(b.addr())
		n := kmsg.NewMetadataResponseBroker()
		p, _ := strconv.Atoi(port)
		n.NodeID = 0
		n.Host = host
		n.Port = int32(p)
		r.Brokers = append(r.Brokers, n)
		r.Topics = append(r.Topics, theTopic())
	case *kmsg.OffsetForLeaderEpochResponse:
		// The gateway asks where a partition ends before its first batch.
		t := kmsg.NewOffsetForLeaderEpochResponseTopic()
		t.Topic = benchTopic
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

const benchTopic = "bench"

// theTopic has one partition, which the broker leads.
func theTopic() kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic = kmsg.StringPtr(benchTopic)
	t.Partitions = append(t.Partitions, kmsg.NewMetadataResponseTopicPartition())
	return t
}
