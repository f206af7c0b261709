package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// AppendProduceResponse writes the response frame of a request of which every
// partition is answered here. A request with acks=0 gets none: callers
// send nothing for it.
func AppendProduceResponse(dst []byte, correlation int32, p *Produce) []byte {
	p.forgetAnswers()
	dst = AppendResponseHeader(dst, kmsg.Produce, p.Version, correlation)
	dst = p.appendAnswers(dst)
	dst = appendI32(dst, 0) // throttle_time_ms
	return appendNoTags(dst, flexible(kmsg.Produce, p.Version))
}

// MergeProduceResponse writes a response frame that answers the client's
// request in the request's order: skipped partitions with their Result, the
// others with what the broker answered, copied as it came. Throttle time and
// node endpoints are the broker's: rewrite addresses in frame beforehand.
//
// A partition that the broker did not answer, or one that was not asked, is
// ErrMalformed: the client must not take silence for success.
func MergeProduceResponse(dst []byte, version int16, frame []byte, p *Produce) ([]byte, error) {
	_, body, err := ParseResponseHeader(kmsg.Produce, version, frame)
	if err != nil {
		return dst, err
	}

	r := reader{src: frame, off: body, flex: flexible(kmsg.Produce, version)}
	if err := p.collect(&r, version); err != nil {
		return dst, err
	}

	tail := r.off
	r.skip(4)
	r.tags()

	if r.bad || r.off != len(frame) {
		return dst, malformed("Produce response")
	}
	dst = append(dst, frame[:body]...)
	dst = p.appendAnswers(dst)
	return append(dst, frame[tail:]...), nil
}

// collect finds each forwarded partition's answer in a response and keeps it as
// a view. One that is missing or comes twice is malformed.
func (p *Produce) collect(r *reader, version int16) error {
	left := p.Forwarded()
	p.forgetAnswers()
	w := produceWalk{version: version}
	for w.open(r); w.next(r); {
		q := p.partition(&w)
		if q == nil || q.Skip || q.found {
			return fmt.Errorf("matching answers to partitions: %w", ErrMalformed)
		}
		q.answer = r.src[w.start:r.off]
		q.found = true
		left--
	}

	if r.bad {
		return malformed("Produce response")
	}
	if left != 0 {
		return fmt.Errorf("matching partitions to answers: %w", ErrMalformed)
	}

	return nil
}

func (p *Produce) forgetAnswers() {
	for i := range p.Topics {
		for j := range p.Topics[i].Partitions {
			q := &p.Topics[i].Partitions[j]
			q.answer = nil
			q.found = false
		}
	}
}

// partition finds the request's partition that an answer is about. Brokers
// mostly answer in order, so the search starts where the last one ended.
func (p *Produce) partition(w *produceWalk) *ProducePartition {
	for n := range p.Topics {
		i := (w.hintTopic + n) % len(p.Topics)
		t := &p.Topics[i]
		if string(t.Name) != string(w.name) || t.ID != w.id {
			continue
		}

		from := 0
		if i == w.hintTopic {
			from = w.hintPartition
		}

		for m := range t.Partitions {
			j := (from + m) % len(t.Partitions)
			if t.Partitions[j].Index == w.answer.Partition {
				w.hintTopic = i
				w.hintPartition = j + 1
				return &t.Partitions[j]
			}
		}
	}
	return nil
}

// appendAnswers writes the responses array, the broker's answers and our own,
// everything in the order of the request.
func (p *Produce) appendAnswers(dst []byte) []byte {
	flex := flexible(kmsg.Produce, p.Version)
	dst = appendArrayLen(dst, len(p.Topics), flex)
	for i := range p.Topics {
		t := &p.Topics[i]
		if p.Version >= produceByID {
			dst = append(dst, t.ID[:]...)
		} else {
			dst = appendStr(dst, t.Name, flex)
		}

		dst = appendArrayLen(dst, len(t.Partitions), flex)
		for j := range t.Partitions {
			dst = t.Partitions[j].appendAnswer(dst, p.Version, flex)
		}
		dst = appendNoTags(dst, flex)
	}

	return dst
}

// appendAnswer writes the broker's answer, or ours. A partition that has
// neither fails: a slip of the caller's must not read as success.
func (q *ProducePartition) appendAnswer(dst []byte, version int16, flex bool) []byte {
	switch {
	case q.found:
		return append(dst, q.answer...)
	case !q.Skip:
		q.Result = Failed(kerr.UnknownServerError.Code, "", nil)
	}
	return q.appendResult(dst, version, flex)
}

// appendResult writes the gateway's own answer to a partition, in the form that
// the version has.
func (q *ProducePartition) appendResult(dst []byte, version int16, flex bool) []byte {
	dst = appendI32(dst, q.Index)
	dst = appendI16(dst, q.Result.ErrorCode)
	dst = appendI64(dst, q.Result.BaseOffset)
	dst = appendI64(dst, q.Result.LogAppendTime)

	if version >= 5 {
		dst = appendI64(dst, q.Result.LogStart)
	}
	if version >= produceRecordErrs {
		dst = appendArrayLen(dst, len(q.Result.Records), flex)
		for _, e := range q.Result.Records {
			dst = appendI32(dst, e.Index)
			dst = appendMessage(dst, e.Message, flex)
			dst = appendNoTags(dst, flex)
		}
		dst = appendMessage(dst, q.Result.Message, flex)
	}

	return appendNoTags(dst, flex)
}

// appendMessage writes a nullable string, cut to what fits; the empty message
// is null.
func appendMessage(dst []byte, s string, flex bool) []byte {
	if s == "" {
		return appendStr(dst, nil, flex)
	}
	s = s[:min(len(s), maxMessage)]
	if flex {
		dst = appendUvarint(dst, uint32(len(s))+1)
	} else {
		dst = appendI16(dst, int16(len(s)))
	}

	return append(dst, s...)
}

// maxMessage keeps an error text, in bytes, within the int16 length of strings
// before KIP-482.
const maxMessage = 1<<15 - 1

// ProduceAnswer is a broker's answer for one partition. Topic is a view into
// the frame, nil from v13 on, where TopicID is set instead.
type ProduceAnswer struct {
	Topic         []byte
	TopicID       [16]byte
	Partition     int32
	ErrorCode     int16
	BaseOffset    int64 // -1 on errors
	LogAppendTime int64 // -1 unless the topic uses LogAppendTime
}

// ProduceResults calls fn for every partition answered in a Produce response
// frame. The answer is valid during the call only, and is all that is allocated.
func ProduceResults(version int16, frame []byte, fn func(*ProduceAnswer) error) error {
	_, body, err := ParseResponseHeader(kmsg.Produce, version, frame)
	if err != nil {
		return err
	}

	r := reader{src: frame, off: body, flex: flexible(kmsg.Produce, version)}
	w := produceWalk{version: version}
	for w.open(&r); w.next(&r); {
		w.answer.Topic = w.name
		w.answer.TopicID = w.id
		if err := fn(&w.answer); err != nil {
			return err
		}
	}

	if r.bad {
		return malformed("Produce response")
	}
	return nil
}

// produceWalk steps through the partitions of a Produce response, which are
// nested in their topics.
type produceWalk struct {
	version            int16
	topics, partitions int // left to read
	name               []byte
	id                 [16]byte
	start              int // where the partition's answer began
	answer             ProduceAnswer
	inTopic            bool

	hintTopic, hintPartition int
}

func (w *produceWalk) open(r *reader) { w.topics = r.arrayLen(3) }

// next reads one partition. It returns false at the end of the array, and where
// the bytes make no sense any more, in which case r is bad.
func (w *produceWalk) next(r *reader) bool {
	for w.partitions <= 0 {
		if w.inTopic {
			r.tags()
			w.inTopic = false
		}

		if r.bad || w.topics <= 0 {
			return false
		}
		w.topics--
		w.topic(r)
	}

	w.partitions--
	w.start = r.off
	w.answer.Partition, w.answer.ErrorCode, w.answer.BaseOffset = r.i32(), r.i16(), r.i64()
	w.answer.LogAppendTime = r.i64()

	if w.version >= 5 {
		r.skip(8)
	}
	if w.version >= produceRecordErrs {
		for n := r.arrayLen(5); n > 0 && !r.bad; n-- {
			r.skip(4)
			r.str()
			r.tags()
		}
		r.str()
	}

	r.tags()
	return !r.bad
}

func (w *produceWalk) topic(r *reader) {
	if w.version >= produceByID {
		w.id = r.uuid()
	} else {
		w.name = r.str()
	}
	w.partitions = r.arrayLen(22)
	w.inTopic = true
}
