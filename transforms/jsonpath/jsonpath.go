// Package jsonpath finds places in JSON texts by paths, without building anything of
// them: a text is checked to its end and each place is an offset and a length.
//
// The language is the part of RFC 9535 that names places: $.a.b, $['a b'], $.a[2],
// $.a[*], $.a.*, $..name. [*] and .* take elements of an array and members of an object
// alike. A member that occurs twice is found twice, and a name that is written with
// escapes is the name that it spells: readers differ in which one they take. The
// grammar is RFC 8259 without leniency, the encoding UTF-8.
package jsonpath

import (
	"bytes"
	"encoding/json"
	"errors"
)

const (
	// MaxPath bounds the text of a path, and with it what a step of a walk costs.
	MaxPath  = 1024
	maxSteps = 63 // a set of steps, and the end, are bits of one word
	maxDepth = 128
)

var (
	errPath = errors.New("this is not a path")
	// ErrText says that a text is not JSON.
	ErrText = errors.New("this is not JSON, or is nested too deeply")
)

// Place is where a value lies in a text.
type Place struct{ Off, Len uint32 }

type kind uint8

const (
	byName kind = iota
	byIndex
	any1 // any one member or element
)

type step struct {
	kind  kind
	deep  bool // also further down
	name  []byte
	index int
}

// Path is a path that was parsed. It refers to its text.
type Path struct {
	steps []step
}

// Parse reads a path, in memory that is kept from one to the next.
func (p *Path) Parse(text []byte) error {
	p.steps = p.steps[:0]
	if len(text) < 2 || len(text) > MaxPath || text[0] != '$' {
		return errPath
	}

	for rest := text[1:]; len(rest) > 0; {
		s, after, ok := parseStep(rest)
		if !ok || len(p.steps) == maxSteps {
			return errPath
		}
		p.steps = append(p.steps, s)
		rest = after
	}

	return nil
}

func parseStep(p []byte) (s step, rest []byte, ok bool) {
	if p[0] == '[' {
		return parseBracket(p[1:])
	}
	rest, ok = bytes.CutPrefix(p, []byte("."))
	if !ok {
		return s, nil, false
	}

	rest, s.deep = bytes.CutPrefix(rest, []byte("."))
	if after, all := bytes.CutPrefix(rest, []byte("*")); all {
		s.kind = any1
		return s, after, !s.deep // "..*" would be everything
	}

	n := 0
	for n < len(rest) && plain(rest[n]) {
		n++
	}

	s.name = rest[:n]
	return s, rest[n:], n > 0
}

// plain reports whether a name without quotes can have this byte.
func plain(c byte) bool {
	letter := c | 0x20
	return '0' <= c && c <= '9' || 'a' <= letter && letter <= 'z' || c == '_' || c == '-' || c >= 0x80
}

// parseBracket reads what is left of [*], [12] and ['any text'].
func parseBracket(p []byte) (s step, rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(p, []byte("*]")); ok {
		return step{kind: any1}, rest, true
	}
	if quoted, ok := bytes.CutPrefix(p, []byte("'")); ok {
		name, rest, ok := bytes.Cut(quoted, []byte("']"))
		return step{name: name}, rest, ok && len(name) > 0 && !bytes.ContainsAny(name, `'\`)
	}

	digits, rest, ok := bytes.Cut(p, []byte("]"))
	if !ok || len(digits) == 0 || len(digits) > 9 {
		return s, nil, false
	}

	s.kind = byIndex
	for _, c := range digits {
		if c < '0' || c > '9' {
			return s, nil, false
		}
		s.index = s.index*10 + int(c-'0')
	}

	return s, rest, true
}

// follow is where a set of steps leads from a container to one of its children, which
// has a name, or an index where it has none.
func (p *Path) follow(from uint64, name []byte, index int) (to uint64) {
	if from == 0 {
		return 0
	}

	for n, s := range p.steps {
		if from>>n&1 == 0 {
			continue
		}
		if s.deep {
			to |= 1 << n
		}

		switch {
		case s.kind == any1, s.kind == byName && name != nil && bytes.Equal(s.name, name), s.kind == byIndex && name == nil && s.index == index:
			to |= 1 << (n + 1)
		}
	}

	return to
}

// spelled is the name that the bytes between a member's quotes spell.
func spelled(quoted []byte) []byte {
	if bytes.IndexByte(quoted[1:len(quoted)-1], '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}

	var name string
	if json.Unmarshal(quoted, &name) != nil {
		return nil
	}
	return append([]byte{}, name...)
}
