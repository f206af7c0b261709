package audit

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// DecisionID names one decision: of a record by its index in its batch, of a
// batch or control entry with index -1. Node is random for each log.
type DecisionID struct {
	Node  uint32
	Seq   uint64
	Index int
}

// digits is Crockford's base 32: no letter looks like another.
const digits = "0123456789abcdefghjkmnpqrstvwxyz"

// String gives gl-<node>-<seq>-<index>, without the index where it is -1.
func (id DecisionID) String() string {
	b := make([]byte, 0, 40)
	b = append(b, "gl-"...)
	b = hex.AppendEncode(b, binary.BigEndian.AppendUint32(nil, id.Node))
	b = append(b, '-')

	shift := 60
	for shift > 0 && id.Seq>>shift == 0 {
		shift -= 5
	}

	for ; shift >= 0; shift -= 5 {
		b = append(b, digits[id.Seq>>shift&31])
	}
	if id.Index >= 0 {
		b = append(b, '-')
		b = strconv.AppendInt(b, int64(id.Index), 10)
	}

	return string(b)
}

// MarshalText implements encoding.TextMarshaler.
func (id DecisionID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ParseDecisionID is the inverse of String.
func ParseDecisionID(s string) (DecisionID, error) {
	id, ok := parseDecisionID(s)
	if !ok || id.String() != s {
		return DecisionID{}, fmt.Errorf("parsing decision id %q: want gl-<node>-<number>-<index>", s)
	}
	return id, nil
}

func parseDecisionID(s string) (id DecisionID, ok bool) {
	parts := strings.Split(s, "-")
	if len(parts) < 3 || len(parts) > 4 || parts[0] != "gl" || len(parts[1]) != 8 || len(parts[2]) > 13 {
		return id, false
	}

	node, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return id, false
	}

	id.Node = uint32(node)
	id.Index = -1
	for _, c := range []byte(parts[2]) {
		d := strings.IndexByte(digits, c)
		if d < 0 {
			return id, false
		}
		id.Seq = id.Seq<<5 | uint64(d)
	}

	if len(parts) == 4 {
		id.Index, err = strconv.Atoi(parts[3])
	}
	return id, err == nil && id.Index >= -1
}

func nodeOf(logID [8]byte) uint32 { return binary.BigEndian.Uint32(logID[:]) }
