package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// A shape is the layout of a body in one line, read by checker:
//
//	b h i q u   1, 2, 4, 8, 16 bytes      s  string      y  bytes
//	[x]         array of x                {…} array of structures
//	(…)         structure                 ?(…) structure behind a presence byte
//	x3+ x-2 x3-5 x4   x in versions from 3, up to 2, 3 to 5, 4 only
//
// Structures end with tagged fields in flexible versions. Strings and arrays
// may be null wherever they stand: whether null makes sense is the broker's to say.
type checker struct {
	reader
	version int16
	shape   string
}

// MaxDecoded bounds the bodies that are decoded into structures off the hot
// path. A decoded structure takes up to some fifty times its bytes.
const MaxDecoded = 1 << 20

// CheckRequest walks a request body and reports whether every length, count
// and tagged field lies within it. What passes can be decoded at a cost
// proportional to its size. Bytes behind the last field are ignored, as brokers
// ignore them. The version must be served.
func CheckRequest(key kmsg.Key, version int16, body []byte) error {
	api, ok := Lookup(key)
	if !ok || !api.Serves(version) {
		return ErrUnsupportedVersion
	}
	if !fits(api.Request, version, api.IsFlexible(version), body) {
		return malformed(api.Name + " request")
	}

	return nil
}

// fits walks body by shape and reports whether it is of that shape to the last
// byte.
func fits(shape string, version int16, flex bool, body []byte) bool {
	c := checker{reader: reader{src: body, flex: flex}, version: version, shape: shape}
	c.structure(0)
	return !c.bad
}

// structure walks the fields from shape position pos up to the closing bracket
// or the end, then the tagged fields. It returns the position behind them.
func (c *checker) structure(pos int) int {
	for pos < len(c.shape) && c.shape[pos] != '}' && c.shape[pos] != ')' {
		if c.shape[pos] == ' ' {
			pos++
			continue
		}
		pos = c.field(pos)
	}

	c.tags()
	return pos + 1
}

func (c *checker) field(pos int) int {
	end := typeEnd(c.shape, pos)
	lo, hi, next := versions(c.shape, end)
	if c.version >= lo && c.version <= hi {
		c.value(pos)
	}
	return next
}

// value walks one value whose type starts at pos of the shape.
func (c *checker) value(pos int) {
	switch c.shape[pos] {
	case '[', '{':
		c.array(pos)
	case '(':
		c.structure(pos + 1)
	case '?':
		if c.i8() != -1 && !c.bad {
			c.structure(pos + 2)
		}
	case 's':
		c.str()
	case 'y':
		c.nullableBytes()
	default:
		c.skip(width(c.shape[pos]))
	}
}

func (c *checker) array(pos int) {
	for n := c.arrayLen(1); n > 0 && !c.bad; n-- {
		if c.shape[pos] == '{' {
			c.structure(pos + 1)
		} else {
			c.value(pos + 1)
		}
	}
}

func width(kind byte) int {
	switch kind {
	case 'b':
		return 1
	case 'h':
		return 2
	case 'i':
		return 4
	case 'q':
		return 8
	default:
		return 16
	}
}

// typeEnd returns the position in shape behind the type that starts at pos.
func typeEnd(shape string, pos int) int {
	for depth := 0; pos < len(shape); pos++ {
		switch shape[pos] {
		case '?':
			continue
		case '[', '{', '(':
			depth++
		case ']', '}', ')':
			depth--
		}
		if depth == 0 {
			return pos + 1
		}
	}
	return pos
}

// versions reads the range of versions that follows a type in a shape. None
// means all versions.
func versions(shape string, pos int) (lo, hi int16, next int) {
	lo, pos, given := number(shape, pos)
	hi = lo
	if pos < len(shape) && shape[pos] == '+' {
		return lo, maxVersion, pos + 1
	}

	if pos < len(shape) && shape[pos] == '-' {
		hi, pos, _ = number(shape, pos+1)
		return lo, hi, pos
	}

	if !given {
		hi = maxVersion
	}
	return lo, hi, pos
}

const maxVersion = 1<<15 - 1

func number(shape string, pos int) (n int16, next int, given bool) {
	for ; pos < len(shape) && shape[pos] >= '0' && shape[pos] <= '9'; pos++ {
		n = n*10 + int16(shape[pos]-'0')
		given = true
	}
	return n, pos, given
}
