package gateway

import (
	"context"
	"errors"
	"sync"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
)

// produce is one Produce request on its way: parsed, decided partition by
// partition, then waiting for the broker's answer. It is owned by the reader
// until it is queued, then by the writer.
type produce struct {
	req     wire.Produce
	parts   []decided
	names   []byte // topic names that outlive the frame
	acks0   bool
	rebuilt bool // some partition's records differ from the client's
}

// decided is the decision on one partition's batch.
type decided struct {
	topic, part int // indices in req
	key         guardKey
	header      recordbatch.Header
	ticket      audit.Ticket
	zstd        bool // may be compressed with it
	refused     bool
	why         refusal
	rejects     []wire.RecordError
	routes      []routed
	bound       bool
}

var producePool = sync.Pool{New: func() any { return new(produce) }}

func newProduce() *produce { return producePool.Get().(*produce) }

func (p *produce) free() {
	clear(p.parts)
	p.parts, p.names = p.parts[:0], p.names[:0]
	p.acks0, p.rebuilt = false, false
	producePool.Put(p)
}

// errAcks0: with acks=0 there is no answer that could say no, so Kafka closes
// the connection, and so do we.
var errAcks0 = errors.New("a batch sent with acks=0 was refused")

// produceRequest decides every partition of one Produce request.
func (c *conn) produceRequest(ctx context.Context, h wire.RequestHeader, frame []byte) error {
	p := newProduce()
	if err := wire.ParseProduce(h.Version, frame[h.BodyOffset:], &p.req); err != nil {
		p.free()
		return err
	}
	p.acks0 = p.req.Acks == 0
	bindings := c.cluster.bindings.Load()
	client := c.knownTo(bindings, h.ClientID)
	audited := false
	for i := range p.req.Topics {
		name, g := c.grantFor(ctx, &p.req.Topics[i], bindings, client)
		if g.Unaudited {
			continue
		}
		audited = true
		for j := range p.req.Topics[i].Partitions {
			if err := c.decide(ctx, p, decided{topic: i, part: j, key: guardKey{name, p.req.Topics[i].Partitions[j].Index}}, g); err != nil {
				p.free()
				return err
			}
		}
	}
	s := step{pend: pendingFor(h), owed: !p.acks0, raw: c.withLength(frame), header: h}
	if audited {
		s.produce = p
	} else {
		p.free()
		c.in.sip = len(frame) >= minStream // the next may be like it
	}
	c.steps = append(c.steps, s)
	return nil
}

// unknownTopicID is the grant of a topic id that nobody can name: policy is by
// name, so nothing may pass.
var unknownTopicID = &Grant{Refusal: audit.OutcomeInvalid, Why: refuseUnknownTopic.reason}

// grantFor names the topic and looks its grant up.
func (c *conn) grantFor(ctx context.Context, t *wire.ProduceTopic, b *Bindings, client *Known) (string, *Grant) {
	if t.Name != nil || t.ID == ([16]byte{}) {
		name := c.cluster.topics.intern(t.Name)
		return name, b.Lookup(name, client)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cluster.gw.cfg.DialTimeout)
	defer cancel()
	name, err := c.cluster.topicName(ctx, t.ID)
	if err != nil {
		return "", unknownTopicID
	}
	return name, b.Lookup(name, client)
}
