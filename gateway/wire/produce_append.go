package wire

import "github.com/twmb/franz-go/pkg/kmsg"

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
	dst, _ = appendProduce(dst, h, p, nil, false)
	return dst
}

// Cut is a place in bytes written by AppendProduceAround where records belong.
// The bytes before it go out first, then the records.
type Cut struct {
	At      int // index in the returned slice
	Records []byte
}

// AppendProduceAround is AppendProduce without the records: it says where they
// belong, so that they need not be copied to be sent.
func AppendProduceAround(dst []byte, h RequestHeader, p *Produce, cuts []Cut) ([]byte, []Cut) {
	return appendProduce(dst, h, p, cuts, true)
}

// appendProduce writes the request with the records in it, or around them, in
// which case it returns where they belong.
func appendProduce(dst []byte, h RequestHeader, p *Produce, cuts []Cut, around bool) ([]byte, []Cut) {
	flex := flexible(kmsg.Produce, p.Version)
	if h.raw != nil {
		dst = append(dst, h.raw...)
	} else {
		dst = AppendRequestHeader(dst, kmsg.Produce, p.Version, h.CorrelationID, h.ClientID)
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
			dst, cuts = p.Topics[i].append(dst, p.Version, n, cuts, around)
		}
	}

	return appendTags(dst, p.tags, flex), cuts
}

// append writes a topic with those of its partitions that are forwarded.
func (t *ProduceTopic) append(dst []byte, version int16, forwarded int, cuts []Cut, around bool) ([]byte, []Cut) {
	flex := flexible(kmsg.Produce, version)
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
		if around && q.Records != nil {
			dst = appendBytesLen(dst, len(q.Records), flex)
			cuts = append(cuts, Cut{len(dst), q.Records})
		} else {
			dst = appendBytes(dst, q.Records, flex)
		}

		dst = appendTags(dst, q.tags, flex)
	}

	return appendTags(dst, t.tags, flex), cuts
}

// appendTags copies a section that rawTags kept, or writes an empty one for a
// structure of our own.
func appendTags(dst, tags []byte, flex bool) []byte {
	if len(tags) > 0 {
		return append(dst, tags...)
	}
	return appendNoTags(dst, flex)
}
