package gateway

import "github.com/twmb/franz-go/pkg/kmsg"

// pending is one request that owes the client an answer, in the order of
// requests. Its answer is the broker's, or of our own making.
type pending struct {
	key         kmsg.Key
	version     int16
	correlation int32
	local       []byte   // a whole answer made by us, length included; nothing comes from upstream
	refused     *produce // what local refuses, for a last look before it leaves
	produce     *produce // decisions to bind when the answer comes
	swallow     bool     // acks=0 sent on as acks=1: the answer is for us alone
	sasl        bool     // the answer may say who the client is
	bare        bool     // a SASL token without Kafka's headers (SaslHandshake v0)
	asStored    bool     // what is fetched keeps the placeholders of dropped records
}

// queue is a first-in first-out ring of pending answers. It is not safe for
// concurrent use; conn guards it. It starts empty and keeps its memory small,
// because an idle connection must cost little.
type queue struct {
	ring  []pending
	head  int
	count int
	// produces counts the entries whose answer places decisions.
	produces int
}

func (q *queue) empty() bool { return q.count == 0 }

func (q *queue) push(p pending) {
	if q.count == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.count)%len(q.ring)] = p
	q.count++

	if p.produce != nil {
		q.produces++
	}
}

func (q *queue) peek() *pending { return &q.ring[q.head] }

func (q *queue) pop() pending {
	p := q.ring[q.head]
	q.ring[q.head] = pending{}
	q.head = (q.head + 1) % len(q.ring)
	q.count--

	if p.produce != nil {
		q.produces--
	}
	return p
}

func (q *queue) grow() {
	next := make([]pending, max(4, 2*len(q.ring)))
	for i := range q.count {
		next[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring = next
	q.head = 0
}
