package guardlock

// Record is one Kafka record. It is stored as it came unless something of it is
// changed. A nil slice is Kafka's null; an empty one is not.
type Record struct {
	key, value []byte
	headers    []byte // as Kafka has them; empty: there are none
	timestamp  int64
	topic      uint32
	partition  int32
	position   uint32

	replaced parts
	edits    []edit
	came     []byte // the value, where a test may have changed it
	room     *room
}

// parts are those parts of a record that are replaced.
type parts uint8

const (
	keyPart parts = 1 << iota
	valuePart
	headersPart
)

// Given is a record to make for a test.
type Given struct {
	Key, Value []byte
	Headers    []Header
	Timestamp  int64 // in milliseconds
	Topic      string
	Partition  int32
	Position   int
}

// NewRecord makes a record for a test. The same in the real sandbox is `guardlock
// module test`.
func NewRecord(given Given) *Record {
	r := &Record{
		key:       copied(given.Key),
		value:     copied(given.Value),
		came:      copied(given.Value),
		timestamp: given.Timestamp,
		topic:     fnv1a(given.Topic),
		partition: given.Partition,
		position:  uint32(given.Position),
		room:      new(room),
	}
	if len(given.Headers) == 0 {
		return r
	}

	r.headers = appendVarint(nil, int32(len(given.Headers)))
	for _, h := range given.Headers {
		r.headers = appendHeader(r.headers, string(h.Key), h.Value)
	}
	return r
}

func copied(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

// Key returns the key. Its bytes may be changed where they lie.
func (r *Record) Key() []byte { return r.key }

// Value returns the value; nil is a tombstone. Its bytes may be changed where they lie,
// which costs least.
func (r *Record) Value() []byte { return r.value }

// Timestamp returns milliseconds since 1970. It cannot be changed.
func (r *Record) Timestamp() int64 { return r.timestamp }

// Partition returns the partition that the record was produced to.
func (r *Record) Partition() int32 { return r.partition }

// Position returns the record's place among those that the host gives at once, from 0.
func (r *Record) Position() int { return int(r.position) }

// IsOfTopic tells whether the record was produced to a topic. The host tells its hash
// alone, by which topics are told apart and nothing else.
func (r *Record) IsOfTopic(name string) bool { return r.topic == fnv1a(name) }

// SetKey replaces the key with a copy of these bytes.
func (r *Record) SetKey(key []byte) {
	r.key = r.room.keep(key)
	r.replaced |= keyPart
}

// SetValue replaces the value with a copy of these bytes, so that a transform may use
// one buffer for every record. It takes the place of all edits.
func (r *Record) SetValue(value []byte) {
	r.value = r.room.keep(value)
	r.replaced |= valuePart
	r.edits = r.edits[:0]
}

// fnv1a is the host's number for a topic: the 32-bit FNV-1a of its name.
func fnv1a(name string) uint32 {
	h := uint32(2166136261)
	for n := range len(name) {
		h = (h ^ uint32(name[n])) * 16777619
	}
	return h
}
