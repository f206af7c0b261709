package transforms

import "encoding/binary"

// What a module of Redpanda's ABI reads and writes of a record is the end of a record
// as Kafka has it (KIP-98): key and value, each behind its length, and the header
// block. Lengths are zigzag varints, and -1 is null.
type payload struct {
	key, value []byte // nil is null
	headers    []byte // the block: a count, then each key and value
}

// size is how many bytes append takes.
func (p payload) size() int {
	return fieldSize(p.key) + fieldSize(p.value) + max(len(p.headers), 1)
}

func fieldSize(field []byte) int {
	n := 1
	for u := len(field) << 1; field != nil && u >= 0x80; u >>= 7 {
		n++
	}

	return n + len(field)
}

func (p payload) append(dst []byte) []byte {
	dst = appendField(dst, p.key)
	dst = appendField(dst, p.value)
	if len(p.headers) == 0 {
		return append(dst, 0) // a count of none
	}

	return append(dst, p.headers...)
}

func appendField(dst, field []byte) []byte {
	if field == nil {
		return binary.AppendVarint(dst, -1)
	}

	return append(binary.AppendVarint(dst, int64(len(field))), field...)
}

// parsePayload reads what a guest wrote. The fields are views of p, which ends where
// the header block does.
func parsePayload(p []byte) (record payload, ok bool) {
	if record.key, p, ok = parseField(p); !ok {
		return payload{}, false
	}
	if record.value, p, ok = parseField(p); !ok {
		return payload{}, false
	}

	record.headers = p
	return record, validHeaders(p)
}

// parseField reads a length and as many bytes. A field that is empty is not nil.
func parseField(p []byte) (field, rest []byte, ok bool) {
	n, p, ok := varint(p)
	switch {
	case !ok || n < -1 || int64(n) > int64(len(p)):
		return nil, nil, false
	case n == -1:
		return nil, p, true
	}

	return p[:n:n], p[n:], true
}

// optionTopic is the one option that write_record_with_options knows.
const optionTopic = 1

// parseWriteOptions reads the options of one write: none, or the topic that the
// record goes to.
func parseWriteOptions(p []byte) (topic []byte, ok bool) {
	if len(p) == 0 {
		return nil, true
	}
	if p[0] != optionTopic {
		return nil, false
	}

	topic, rest, ok := parseField(p[1:])
	return topic, ok && len(topic) > 0 && len(rest) == 0
}
