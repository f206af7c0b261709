package audit

import "encoding/binary"

// Role says in which place a string was seen, so that a seal can tell which
// modules, principals and reasons its segment holds.
type Role uint16

const (
	RoleCluster Role = 1 << iota
	RoleTopic
	roleTopicID
	RolePrincipal
	RoleClient
	RoleSource
	RoleModule
	RoleDigest
	rolePolicy
	roleGrant
	RoleReason
	RoleRoute
	RoleOutcome     // of control entries
	roleText        // anything else
	roleTLS         // version and cipher suite
	RoleFingerprint // of a client's certificate; the last that Role has room for
)

// AnyRole stands for all of them.
const AnyRole = ^Role(0)

// The dictionary is bounded: whoever can choose client ids must not be able to
// make it grow. What does not fit is written in place.
const (
	maxDictStrings = 1 << 16
	maxDictBytes   = 1 << 20
	maxInterned    = 256
)

// A string is written as 0 (empty), 1 (in place: length, bytes) or its number
// in the segment's dictionary plus 2.
const (
	refEmpty   = 0
	refInPlace = 1
	refFirst   = 2
)

// dict is the string table of one segment.
type dict struct {
	strs     []string
	roles    []Role
	overflow Role // places where strings in place were seen
	bytes    int
	ids      map[string]uint32 // writers only

	seen          []uint32            // writers only, see seenBefore
	templates     map[uint32]struct{} // strings that are templates
	templateBytes int
}

func newDict() *dict { return &dict{ids: make(map[string]uint32)} }

// define adds the next string of the table.
func (d *dict) define(s string) uint32 {
	id := uint32(len(d.strs))
	d.strs = append(d.strs, s)
	d.roles = append(d.roles, 0)
	d.bytes += len(s)

	if d.ids != nil {
		d.ids[s] = id
	}
	return id
}

func (d *dict) fits(s string) bool {
	return len(s) <= maxInterned && len(d.strs) < maxDictStrings && d.bytes+len(s) <= maxDictBytes
}

// encoder writes one entry; strings that are new to the segment go to defs.
type encoder struct {
	dict *dict
	defs []byte
	out  []byte

	brief bool   // entries may have templates
	first uint64 // sequence number of the frame's first entry
	nonce uint64 // of the last brief batch in the frame
}

func (e *encoder) byte(b byte)      { e.out = append(e.out, b) }
func (e *encoder) uvarint(v uint64) { e.out = binary.AppendUvarint(e.out, v) }
func (e *encoder) varint(v int64)   { e.out = binary.AppendVarint(e.out, v) }

func (e *encoder) str(r Role, s string) {
	if s == "" {
		e.byte(refEmpty)
		return
	}

	id, known := e.dict.ids[s]
	if !known && !e.dict.fits(s) {
		e.dict.overflow |= r
		e.byte(refInPlace)
		e.inPlace(s)
		return
	}

	if !known {
		id = e.define(s)
	}

	e.dict.roles[id] |= r
	e.uvarint(uint64(id) + refFirst)
}

func (e *encoder) define(s string) uint32 {
	e.defs = binary.AppendUvarint(e.defs, uint64(len(s)))
	e.defs = append(e.defs, s...)
	return e.dict.define(s)
}

// fixed writes a digest or id: nothing for zeros.
func (e *encoder) fixed(r Role, b []byte) {
	for _, x := range b {
		if x != 0 {
			if id, ok := e.dict.ids[string(b)]; ok { // no allocation on the usual path
				e.dict.roles[id] |= r
				e.uvarint(uint64(id) + refFirst)
				return
			}
			e.str(r, string(b))
			return
		}
	}
	e.byte(refEmpty)
}

func (e *encoder) inPlace(s string) {
	e.uvarint(uint64(len(s)))
	e.out = append(e.out, s...)
}

// cursor reads what encoder wrote. The first fault sticks: every later read
// gives zero, and bad is true.
type cursor struct {
	b     []byte
	strs  []string
	learn *dict // where to note the places of strings; nil for readers, who share strs
	bad   bool

	redacted bool   // what comes begins with what was taken out
	brief    bool   // what comes has a template
	first    uint64 // sequence number of the frame's first entry
	nonce    uint64 // of a brief batch
}

// fail ends the reading: nothing behind a fault means anything.
func (c *cursor) fail() {
	c.bad = true
	c.b = nil
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.bad = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 { // most are small
		v := uint64(c.b[0])
		c.b = c.b[1:]
		return v
	}
	return c.longUvarint()
}

func (c *cursor) longUvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}

	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}

	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}

	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

// count reads the length of a list whose items take at least one byte each, so
// that no length allocates more than the bytes that carry it.
func (c *cursor) count() int {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.fail()
		return 0
	}
	return int(n)
}

func (c *cursor) str(r Role) string {
	switch ref := c.uvarint(); ref {
	case refEmpty:
		return ""
	case refInPlace:
		if c.learn != nil {
			c.learn.overflow |= r
		}
		return string(c.bytes(c.uvarint()))
	default:
		id := ref - refFirst
		if id >= uint64(len(c.strs)) {
			c.bad = true
			return ""
		}

		if c.learn != nil {
			c.learn.roles[id] |= r
		}
		return c.strs[id]
	}
}

func (c *cursor) fixed(r Role, dst []byte) {
	clear(dst)
	s := c.str(r)
	if s != "" && copy(dst, s) != len(s) {
		c.bad = true
	}
}

// ok reports whether everything was read and nothing is left over.
func (c *cursor) ok() bool { return !c.bad && len(c.b) == 0 }
