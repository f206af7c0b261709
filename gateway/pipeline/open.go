package pipeline

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// openBatches knows, of each idempotent producer and partition, which batches
// were forwarded and are not known to be stored: those without an answer yet,
// those whose answer was lost, and those that the broker left open.
//
// A producer that is refused for good gives its later batches new numbers, and
// Kafka's own client does so with earlier ones too that it is about to send
// again. A broker that stored them already cannot tell by the new numbers, and
// stores them twice. So what comes behind an open batch must not be refused for
// good before that one is settled. Batches of a producer go to other brokers, and
// so over other connections, when leaders move: this is the cluster's.
//
// The zero value is ready to use. Safe for concurrent use.
type openBatches struct{ shards [16]openShard }

// openShard has those of some producers, so that connections seldom wait for
// each other.
type openShard struct {
	mu    sync.Mutex
	runs  map[openKey]openRun // guarded by mu
	swept time.Time           // guarded by mu; when old runs were last looked for
}

type openKey struct {
	producer  int64
	partition Partition
}

// openRun is the sequence numbers of one epoch that are open: from first to
// before next.
type openRun struct {
	epoch   int16
	first   int32
	next    int32
	touched time.Time
}

const (
	// maxOpenRuns bounds a shard. What does not fit is not watched.
	maxOpenRuns = 1 << 12
	// openAge is after how long a producer has surely given up: Kafka's
	// delivery.timeout.ms is two minutes.
	openAge = 10 * time.Minute
	// sweepEvery is how often a full shard is looked through for such ones.
	sweepEvery = time.Second
)

func (o *openBatches) shard(producer int64) *openShard {
	return &o.shards[uint64(producer)%uint64(len(o.shards))]
}

// forwarded opens the batch. Its producer may have sent it before.
func (o *openBatches) forwarded(h *recordbatch.Header, p Partition) {
	if h.ProducerID < 0 {
		return
	}
	s := o.shard(h.ProducerID)
	k := openKey{h.ProducerID, p}
	end := sequenceAfter(h)
	now := time.Now()

	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.runs[k]

	switch {
	case !ok && !s.room(now):
		return
	case !ok || r.epoch < h.ProducerEpoch:
		r = openRun{epoch: h.ProducerEpoch, first: h.BaseSequence, next: end}
	case r.epoch > h.ProducerEpoch:
		return // the broker fences it
	default:
		if isBefore(h.BaseSequence, r.first) {
			r.first = h.BaseSequence
		}
		if isBefore(r.next, end) {
			r.next = end
		}
	}

	r.touched = now
	s.runs[k] = r
}

// room reports whether one more run fits. Called with mu held.
func (s *openShard) room(now time.Time) bool {
	if s.runs == nil {
		s.runs = map[openKey]openRun{}
	}
	if len(s.runs) < maxOpenRuns {
		return true
	}
	if now.Sub(s.swept) < sweepEvery { // a producer that leaves many open must not make each batch dear
		return false
	}

	s.swept = now
	for k, r := range s.runs {
		if now.Sub(r.touched) > openAge {
			delete(s.runs, k)
		}
	}

	return len(s.runs) < maxOpenRuns
}

// answered takes note of a broker's answer. A stored batch settles all before it,
// since brokers keep the order of sequence numbers; one that was refused for good
// will not come again. After any other answer its producer sends it again.
func (o *openBatches) answered(h *recordbatch.Header, p Partition, code int16) {
	if h.ProducerID < 0 {
		return
	}
	s := o.shard(h.ProducerID)
	k := openKey{h.ProducerID, p}
	end := sequenceAfter(h)

	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.runs[k]
	if !ok || r.epoch != h.ProducerEpoch {
		return
	}

	switch {
	case code == 0 || code == kerr.DuplicateSequenceNumber.Code:
		if isBefore(r.first, end) {
			r.first = end
		}
	case !isFinal(code) || mayBeStored(code):
		return
	case h.BaseSequence == r.first:
		r.first = end
	case end == r.next:
		r.next = h.BaseSequence
	}

	if isBefore(r.first, r.next) {
		s.runs[k] = r
	} else {
		delete(s.runs, k)
	}
}

// precede reports whether a batch of the same producer and epoch is open that
// comes before this one.
func (o *openBatches) precede(h *recordbatch.Header, p Partition) bool {
	if h.ProducerID < 0 {
		return false
	}
	s := o.shard(h.ProducerID)

	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.runs[openKey{h.ProducerID, p}]
	return ok && r.epoch == h.ProducerEpoch && isBefore(r.first, h.BaseSequence) && time.Since(r.touched) < openAge
}

// isFinal reports whether a producer that is told this code gives the batch up.
func isFinal(code int16) bool {
	return code != 0 && code != kerr.OutOfOrderSequenceNumber.Code && !kerr.IsRetriable(kerr.ErrorForCode(code))
}

// sequenceAfter is the sequence number behind a batch: 0 follows 2^31-1.
func sequenceAfter(h *recordbatch.Header) int32 {
	return int32((uint32(h.BaseSequence) + uint32(h.NumRecords)) & (1<<31 - 1))
}

// isBefore compares distances, since sequence numbers wrap after 2^31-1.
func isBefore(a, b int32) bool {
	return b-a > 0 && b-a < 1<<30 || a-b > 1<<30
}
