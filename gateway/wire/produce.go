package wire

import (
	"hash/maphash"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Produce is a parsed Produce request (API 0, v3-13). All byte slices are
// views into the body, which must outlive it. It is reused: parsing into the
// same Produce again allocates nothing once its tables have grown. One
// goroutine at a time.
type Produce struct {
	Version         int16
	TransactionalID []byte // nil is null: not transactional
	Acks            int16  // 0: the client expects no answer at all
	TimeoutMillis   int32
	Topics          []ProduceTopic

	tags []byte // the request's tagged-field section as it came
	size int    // topics and partitions so far
	seen map[uint64]struct{}
	seed maphash.Seed
}

// MaxEntries bounds the topics and partitions of one Produce request. A parsed
// entry takes some thirty times the six bytes that an empty one takes on the
// wire; the busiest producers send a few thousand.
const MaxEntries = 1 << 16

// keptEntries is how many entries a Produce's tables may keep between requests,
// so that one outsized request does not hold its memory for good.
const keptEntries = 1 << 12

// ProduceTopic is one topic of a Produce request: by name up to v12, by id
// from v13.
type ProduceTopic struct {
	Name       []byte
	ID         [16]byte
	Partitions []ProducePartition

	tags []byte
}

// ProducePartition is one partition's batch. The pipeline replaces Records, or
// sets Skip and Result where the partition is answered here.
type ProducePartition struct {
	Index   int32
	Records []byte // nil is null
	Offset  int    // where Records started in the body
	Skip    bool   // not sent upstream; Result is the answer
	Result  ProduceResult

	tags   []byte
	answer []byte // the broker's answer, while responses are merged
	found  bool
}

// ProduceResult is an answer of the gateway's own to one partition, in the
// place of the broker's.
type ProduceResult struct {
	ErrorCode     int16
	BaseOffset    int64 // -1 where nothing was stored
	LogAppendTime int64 // -1 unless the topic uses it
	LogStart      int64 // -1 if unknown
	Message       string
	Records       []RecordError // KIP-467; sent from v8
}

// RecordError names one record that failed its batch, so that a producer can
// send the others again without it.
type RecordError struct {
	Index   int32 // within the batch
	Message string
}

// Failed is the result of a partition of which nothing was stored. It has no
// offset and no time.
func Failed(code int16, message string, records []RecordError) ProduceResult {
	return ProduceResult{
		ErrorCode:     code,
		BaseOffset:    -1,
		LogAppendTime: -1,
		LogStart:      -1,
		Message:       message,
		Records:       records,
	}
}

const (
	produceByID       = 13 // KIP-516: topic ids instead of names
	produceRecordErrs = 8  // KIP-467
)

// ParseProduce reads the body of a Produce request into p. After an error p
// holds nothing of use but its memory.
func ParseProduce(version int16, body []byte, p *Produce) error {
	p.reset()
	r := reader{src: body, flex: flexible(kmsg.Produce, version)}
	p.Version = version
	p.TransactionalID = r.str()
	p.Acks, p.TimeoutMillis = r.i16(), r.i32()

	n := r.arrayLen(3)
	for i := 0; i < n && !r.bad && p.size <= MaxEntries; i++ {
		p.Topics = extend(p.Topics)
		p.parseTopic(&r, &p.Topics[i])
	}

	if p.size > MaxEntries {
		return ErrTooLarge
	}
	p.tags = r.rawTags()
	if r.bad { // bytes behind the last field are ignored, as brokers ignore them
		return malformed("Produce request")
	}

	return p.checkUnique()
}

// reset empties the tables for the next request, and lets go of those that an
// outsized request grew.
func (p *Produce) reset() {
	if p.size > keptEntries {
		p.Topics = nil
		p.seen = nil
	}
	p.Topics = p.Topics[:0]
	p.size = 0
}

// parseTopic reads one topic with its partitions, and counts them against
// MaxEntries before it makes room for them.
func (p *Produce) parseTopic(r *reader, t *ProduceTopic) {
	p.size++
	t.Name = nil
	t.ID = [16]byte{}

	if p.Version >= produceByID {
		t.ID = r.uuid()
	} else {
		t.Name = r.str()
	}

	n := r.arrayLen(6)
	t.Partitions = t.Partitions[:0]
	for i := 0; i < n && !r.bad && p.size <= MaxEntries; i++ {
		p.size++
		t.Partitions = extend(t.Partitions)
		t.Partitions[i].parse(r)
	}

	t.tags = r.rawTags()
}

func (q *ProducePartition) parse(r *reader) {
	*q = ProducePartition{Index: r.i32(), Records: r.nullableBytes()}
	q.Offset = r.off - len(q.Records)
	q.tags = r.rawTags()
}

// extend lengthens s by one. Where there is capacity, the element keeps what it
// held, so that its own slices are used again.
func extend[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}

// rawTags steps over a tagged-field section and returns it as a view, to be
// copied as it came.
func (r *reader) rawTags() []byte {
	start := r.off
	r.tags()
	if r.bad || !r.flex {
		return nil
	}
	return r.src[start:r.off]
}

// checkUnique refuses a partition that comes twice. A set keeps a hostile list
// from costing more than its length; the seed keeps it from being aimed at.
func (p *Produce) checkUnique() error {
	if p.ascending() {
		return nil
	}
	if p.seen == nil {
		p.seen, p.seed = make(map[uint64]struct{}), maphash.MakeSeed()
	}

	clear(p.seen)
	for i := range p.Topics {
		t := &p.Topics[i]
		topic := maphash.Bytes(p.seed, t.Name) ^ maphash.Bytes(p.seed, t.ID[:])
		for j := range t.Partitions {
			key := maphash.Comparable(p.seed, [2]uint64{topic, uint64(t.Partitions[j].Index)})
			if _, dup := p.seen[key]; dup {
				return ErrDuplicate
			}
			p.seen[key] = struct{}{}
		}
	}

	return nil
}

// ascending reports the usual case, one topic with its partitions in order, in
// which no partition can come twice.
func (p *Produce) ascending() bool {
	if len(p.Topics) > 1 {
		return false
	}
	for i := range p.Topics {
		parts := p.Topics[i].Partitions
		for j := 1; j < len(parts); j++ {
			if parts[j].Index <= parts[j-1].Index {
				return false
			}
		}
	}

	return true
}
