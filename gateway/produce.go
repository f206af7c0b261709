package gateway

import (
	"context"
	"errors"
	"sync"

	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/wire"
)

// produce is one Produce request on its way: parsed, decided partition by
// partition, then waiting for the broker's answer. It is owned by the reader
// until it is queued, then by the writer.
type produce struct {
	req     wire.Produce
	parts   []part
	names   []byte // topic names that outlive the frame
	acks0   bool
	rebuilt bool // some partition's records differ from the client's
}

// part is the decision on one partition's batch, with its place in the request
// by two indices.
type part struct {
	topic, partition int
	decided          pipeline.Decided
}

var producePool = sync.Pool{New: func() any { return new(produce) }}

func newProduce() *produce { return producePool.Get().(*produce) }

func (p *produce) free() {
	clear(p.parts)
	p.parts = p.parts[:0]
	p.names = p.names[:0]
	p.acks0 = false
	p.rebuilt = false
	producePool.Put(p)
}

// errAcks0 closes the connection of a batch that was sent with acks=0 and
// refused. There is no answer that could say no, so that Kafka closes the
// connection then, too.
var errAcks0 = errors.New("a batch sent with acks=0 was refused")

// produceRequest decides every partition of one Produce request, and queues the
// request for the flush that waits for the decisions.
func (r *reader) produceRequest(ctx context.Context, h wire.RequestHeader, frame []byte) error {
	p := newProduce()
	if err := wire.ParseProduce(h.Version, frame[h.BodyOffset:], &p.req); err != nil {
		p.free()
		return err
	}

	p.acks0 = p.req.Acks == 0
	bindings := r.cluster.bindings.Load()
	client := r.knownTo(bindings, h.ClientID)
	audited := false
	for i := range p.req.Topics {
		name, g := r.grantFor(ctx, &p.req.Topics[i], bindings, client)
		if g.Unaudited {
			continue
		}

		audited = true
		for j := range p.req.Topics[i].Partitions {
			if err := r.decide(ctx, p, i, j, name, g); err != nil {
				p.free()
				return err
			}
		}
	}

	s := step{
		pend:   pendingFor(h),
		owed:   !p.acks0,
		raw:    r.withLength(frame),
		header: h,
	}

	if audited {
		s.produce = p
	} else {
		p.free()
		r.in.ahead.next = len(frame) >= minStream // the next may be like it
	}

	r.steps = append(r.steps, s)
	return nil
}

// produceWithZstd is the first version of Produce in which brokers take zstd
// (KIP-110).
const produceWithZstd = 7

// decide hands one partition's batch to the pipeline. An error closes the
// connection; a refusal is none.
func (r *reader) decide(ctx context.Context, p *produce, topic, partition int, name string, g *pipeline.Grant) error {
	q := &p.req.Topics[topic].Partitions[partition]
	d, err := r.cluster.pipeline.Decide(ctx, &pipeline.Input{
		Direction: pipeline.Produce,
		Partition: pipeline.Partition{Topic: name, Number: q.Index},
		TopicID:   p.req.Topics[topic].ID,
		Records:   q.Records,
		Zstd:      p.req.Version >= produceWithZstd,
		Client:    r.sender(),
		Grant:     g,
		Guard:     &r.guard,
		Memory:    &r.encodes,
		Log:       r.log,
	})
	if err != nil {
		return err
	}

	q.Records = d.Out
	q.Skip = d.Out == nil
	p.rebuilt = p.rebuilt || d.Rebuilt
	p.parts = append(p.parts, part{topic: topic, partition: partition, decided: d})

	return nil
}

// sender is the client as decisions name it: as it was when its grant was
// looked up.
func (r *reader) sender() pipeline.Client {
	return pipeline.Client{
		Connection: r.peer.id,
		Principal:  r.known.client.Principal,
		ID:         r.known.client.ID,
		Source:     r.peer.source,
		TLS:        r.peer.tls,
	}
}

// grantFor names the topic and looks its grant up. From version 13 on requests
// name topics by id, which the cluster may have to be asked about.
func (r *reader) grantFor(ctx context.Context, t *wire.ProduceTopic, b *Bindings, client *Known) (string, *pipeline.Grant) {
	if t.Name != nil || t.ID == ([16]byte{}) {
		name := r.cluster.topics.intern(t.Name)
		return name, b.Lookup(name, client)
	}

	ctx, cancel := context.WithTimeout(ctx, r.cluster.gw.cfg.DialTimeout)
	defer cancel()
	name, err := r.cluster.topicName(ctx, t.ID)
	if err != nil {
		return "", pipeline.UnknownTopicID
	}

	return name, b.Lookup(name, client)
}
