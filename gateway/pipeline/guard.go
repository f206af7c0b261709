package pipeline

import "github.com/guardlock/guardlock/gateway/recordbatch"

// Guard keeps the promise that Kafka clients build on: after a batch
// of a producer is refused, nothing of that producer that was already in
// flight behind it may be stored.
//
// A broker that has no state yet for a producer accepts any first sequence
// number. If the gateway refused sequence 0-9 and let 10-19 pass, the client
// would renumber its next batch to 10-19, and the broker would acknowledge it
// as a duplicate without storing it: silent loss. So whatever follows a refused
// batch is answered OUT_OF_ORDER_SEQUENCE_NUMBER, as a broker with state does,
// until the client comes back with the refused sequence or a new epoch.
//
// It lives on one connection, like the requests in flight it speaks about, and
// is owned by the connection's reader. The zero Guard is ready to use.
type Guard struct {
	holes map[Partition]hole
	slow  map[Partition]attempts
}

// attempts are how often the same batch could not be judged in time. It is
// known again by its CRC and its number of records.
type attempts struct {
	crc     uint32
	records int32
	failed  int
}

// maxAttempts are those after which a batch is refused for good: its time is
// counted in processor time, so that another attempt takes as long.
const maxAttempts = 3

// tooSlow counts an attempt at a batch that its modules ran out of time for, and
// reports whether it was the last.
func (g *Guard) tooSlow(b *recordbatch.Header, k Partition) bool {
	a := g.slow[k]
	if a.crc != b.CRC || a.records != b.NumRecords {
		a = attempts{crc: b.CRC, records: b.NumRecords}
	}

	a.failed++

	if a.failed >= maxAttempts {
		delete(g.slow, k)
		return true
	}

	if g.slow == nil || len(g.slow) >= maxHoles {
		g.slow = map[Partition]attempts{}
	}
	g.slow[k] = a
	return false
}

type hole struct {
	producer int64
	epoch    int16
	sequence int32 // the first sequence number that was not stored
}

// maxHoles bounds what one connection can make the gateway remember.
const maxHoles = 1 << 14

// blocks reports whether the batch follows a refused one, and forgets the hole
// when the client has come back to it. Batches without a producer id have no
// order to keep.
func (g *Guard) blocks(b *recordbatch.Header, k Partition) bool {
	if len(g.holes) == 0 || b.ProducerID < 0 {
		return false
	}
	h, ok := g.holes[k]
	if !ok {
		return false
	}

	if h.producer != b.ProducerID || h.epoch != b.ProducerEpoch || b.BaseSequence == h.sequence {
		delete(g.holes, k)
		return false
	}
	return h.before(b.BaseSequence)
}

// follows reports whether the batch comes after a refused one of its producer.
// Unlike blocks it changes nothing.
func (g *Guard) follows(b *recordbatch.Header, k Partition) bool {
	h, ok := g.holes[k]
	return ok && h.producer == b.ProducerID && h.epoch == b.ProducerEpoch && h.before(b.BaseSequence)
}

func (h hole) before(sequence int32) bool { return isBefore(h.sequence, sequence) }

// refuse remembers a batch that was not stored. It reports false when the
// connection has too many open holes and must be closed.
func (g *Guard) refuse(b *recordbatch.Header, k Partition) bool {
	if b.ProducerID < 0 {
		return true
	}
	h, ok := g.holes[k]
	if ok && h.producer == b.ProducerID && h.epoch == b.ProducerEpoch && !(hole{sequence: b.BaseSequence}).before(h.sequence) {
		return true // the first hole is the one the client must come back to
	}
	if !ok && len(g.holes) >= maxHoles {
		return false
	}
	if g.holes == nil {
		g.holes = map[Partition]hole{}
	}

	g.holes[k] = hole{producer: b.ProducerID, epoch: b.ProducerEpoch, sequence: b.BaseSequence}
	return true
}
