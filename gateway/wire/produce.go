package wire

import (
	"hash/maphash"
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
	seen map[uint64]struct{}
	seed maphash.Seed
}

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

// ProduceResult is an answer of the gateway's own to one partition.
type ProduceResult struct {
	ErrorCode     int16
	BaseOffset    int64 // -1 where nothing was stored
	LogAppendTime int64 // -1 unless the topic uses it
	LogStart      int64 // -1 if unknown
	Message       string
	Records       []RecordError // KIP-467; sent from v8
}

// RecordError names one record that failed its batch.
type RecordError struct {
	Index   int32 // within the batch
	Message string
}

// Failed is the result of a partition of which nothing was stored.
func Failed(code int16, message string, records []RecordError) ProduceResult {
	return ProduceResult{ErrorCode: code, BaseOffset: -1, LogAppendTime: -1, LogStart: -1, Message: message, Records: records}
}

const (
	produceByID       = 13 // KIP-516: topic ids instead of names
	produceRecordErrs = 8  // KIP-467
)

// ParseProduce reads the body of a Produce request into p.
func ParseProduce(version int16, body []byte, p *Produce) error {
	r := reader{src: body, flex: flexible(keyProduce, version)}
	p.Version = version
	p.TransactionalID = r.str()
	p.Acks, p.TimeoutMillis = r.i16(), r.i32()
	n := r.arrayLen(5)
	p.Topics = p.Topics[:0]
	for i := 0; i < n && !r.bad; i++ {
		p.Topics = extend(p.Topics)
		p.Topics[i].parse(&r, version)
	}
	p.tags = r.rawTags()
	if r.bad || r.off != len(body) {
		return malformed("Produce request")
	}
	return p.checkUnique()
}

func (t *ProduceTopic) parse(r *reader, version int16) {
	t.Name, t.ID = nil, [16]byte{}
	if version >= produceByID {
		t.ID = r.uuid()
	} else {
		t.Name = r.str()
	}
	n := r.arrayLen(5)
	t.Partitions = t.Partitions[:0]
	for i := 0; i < n && !r.bad; i++ {
		t.Partitions = extend(t.Partitions)
		t.Partitions[i].parse(r)
	}
	t.tags = r.rawTags()
}

func (q *ProducePartition) parse(r *reader) {
	records := q.Result.Records[:0]
	*q = ProducePartition{Index: r.i32(), Records: r.nullableBytes()}
	q.Result.Records = records
	q.Offset = r.off - len(q.Records)
	q.tags = r.rawTags()
}

// extend lengthens s by one and keeps what the element held, for its memory.
func extend[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}

// rawTags steps over a tagged-field section and returns it as a view.
func (r *reader) rawTags() []byte {
	start := r.off
	r.tags()
	if r.bad || !r.flex {
		return nil
	}
	return r.src[start:r.off]
}

// checkUnique refuses a partition that comes twice. Up to a handful are
// compared one by one; a set serves the rest, so that a hostile list costs no
// more than its length.
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

// ascending is the usual case: one topic, partitions in order.
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

// Forwarded counts the partitions that are not answered here. Where it is zero
// nothing goes upstream and AppendProduceResponse answers.
func (p *Produce) Forwarded() int {
	n := 0
	for i := range p.Topics {
		n += p.Topics[i].forwarded()
	}
	return n
}

func (t *ProduceTopic) forwarded() int {
	n := 0
	for j := range t.Partitions {
		if !t.Partitions[j].Skip {
			n++
		}
	}
	return n
}

// AppendProduce writes the request frame (without its length) that goes
// upstream: the client's header as it came, the partitions that are not
// skipped, each with its current Records. A header that was not parsed from a
// frame is written anew.
func AppendProduce(dst []byte, h RequestHeader, p *Produce) []byte {
	flex := flexible(keyProduce, p.Version)
	if h.raw != nil {
		dst = append(dst, h.raw...)
	} else {
		dst = AppendRequestHeader(dst, keyProduce, p.Version, h.CorrelationID, h.ClientID)
	}
	dst = appendStr(dst, p.TransactionalID, flex)
	dst = appendI16(dst, p.Acks)
	dst = appendI32(dst, p.TimeoutMillis)
	topics := 0
	for i := range p.Topics {
		if p.Topics[i].forwarded() > 0 {
			topics++
		}
	}
	dst = appendArrayLen(dst, topics, flex)
	for i := range p.Topics {
		if n := p.Topics[i].forwarded(); n > 0 {
			dst = p.Topics[i].append(dst, p.Version, n, flex)
		}
	}
	return appendTags(dst, p.tags, flex)
}

func (t *ProduceTopic) append(dst []byte, version int16, forwarded int, flex bool) []byte {
	if version >= produceByID {
		dst = append(dst, t.ID[:]...)
	} else {
		dst = appendStr(dst, t.Name, flex)
	}
	dst = appendArrayLen(dst, forwarded, flex)
	for j := range t.Partitions {
		q := &t.Partitions[j]
		if q.Skip {
			continue
		}
		dst = appendI32(dst, q.Index)
		dst = appendBytes(dst, q.Records, flex)
		dst = appendTags(dst, q.tags, flex)
	}
	return appendTags(dst, t.tags, flex)
}

// appendTags copies a section kept by rawTags, or writes an empty one.
func appendTags(dst, tags []byte, flex bool) []byte {
	if len(tags) > 0 {
		return append(dst, tags...)
	}
	return appendNoTags(dst, flex)
}
