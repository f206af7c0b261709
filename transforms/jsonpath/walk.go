package jsonpath

import (
	"encoding/binary"
	"unicode/utf8"
)

// walker is a walk over one text.
type walker struct {
	path  *Path
	text  []byte
	at    int
	found []Place
	// outermost leaves out what lies inside of what was found.
	outermost bool
}

// Find appends the places of all values that the path leads to, in the order in which
// they begin.
func (p *Path) Find(to []Place, text []byte) ([]Place, error) { return p.walk(to, text, false) }

// FindOutermost is Find without the values that lie inside of others that are found,
// so that each can be replaced.
func (p *Path) FindOutermost(to []Place, text []byte) ([]Place, error) {
	return p.walk(to, text, true)
}

// Valid reports whether a text is JSON that Find takes.
func Valid(text []byte) bool {
	_, err := (&Path{}).Find(nil, text)
	return err == nil
}

func (p *Path) walk(to []Place, text []byte, outermost bool) ([]Place, error) {
	w := walker{path: p, text: text, found: to, outermost: outermost}
	if !utf8.Valid(text) {
		return to, ErrText
	}

	w.space()
	if !w.value(1, 0) {
		return to, ErrText
	}

	w.space()
	if w.at != len(text) {
		return to, ErrText
	}

	return w.found, nil
}

// next is the byte at hand, 0 at the end: no place in JSON takes a NUL.
func (w *walker) next() byte {
	if w.at < len(w.text) {
		return w.text[w.at]
	}
	return 0
}

func (w *walker) space() {
	for {
		switch w.next() {
		case ' ', '\n', '\t', '\r':
			w.at++
		default:
			return
		}
	}
}

// value reads one value, which the steps lead to, inside depth containers.
func (w *walker) value(steps uint64, depth int) bool {
	n := len(w.found)
	from := w.at
	hit := depth > 0 && steps>>len(w.path.steps)&1 != 0 // the text itself has no path
	if hit {
		w.found = append(w.found, Place{Off: uint32(from)})
		if w.outermost {
			steps = 0
		}
	}

	if !w.whole(steps, depth) {
		return false
	}
	if hit {
		w.found[n].Len = uint32(w.at - from)
	}

	return true
}

func (w *walker) whole(steps uint64, depth int) bool {
	switch c := w.next(); c {
	case '{', '[':
		return depth < maxDepth && w.container(steps, depth+1, c)
	case '"':
		return w.str()
	case 't':
		return w.word("true")
	case 'f':
		return w.word("false")
	case 'n':
		return w.word("null")
	}
	return w.number()
}

func (w *walker) word(word string) bool {
	if len(w.text)-w.at < len(word) || string(w.text[w.at:w.at+len(word)]) != word {
		return false
	}
	w.at += len(word)
	return true
}

// container reads an object or an array from its first bracket on.
func (w *walker) container(steps uint64, depth int, opens byte) bool {
	closes := opens + 2
	w.at++
	w.space()

	if w.next() == closes {
		w.at++
		return true
	}

	for index := 0; ; index++ {
		if !w.child(steps, depth, opens == '{', index) {
			return false
		}
		w.space()
		switch w.next() {
		case ',':
			w.at++
			w.space()
		case closes:
			w.at++
			return true
		default:
			return false
		}
	}
}

// child reads a member or an element.
func (w *walker) child(steps uint64, depth int, named bool, index int) bool {
	var name []byte
	if named {
		from := w.at
		if w.next() != '"' || !w.str() {
			return false
		}
		if steps != 0 {
			name = spelled(w.text[from:w.at])
		}

		w.space()
		if w.next() != ':' {
			return false
		}

		w.at++
		w.space()
	}

	return w.value(w.path.follow(steps, name, index), depth)
}

// str reads a text from its first quote on.
func (w *walker) str() bool {
	w.at++
	for {
		w.at += ordinary(w.text[w.at:])
		switch c := w.next(); {
		case c == '"':
			w.at++
			return true
		case c != '\\' || !w.escape():
			return false
		}
	}
}

// ordinary counts the bytes in front of a quote, a backslash or a control character,
// eight at once while there are as many. A borrow makes marks above the first one
// unsure, but never the first.
func ordinary(p []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(p)-n >= 8; n += 8 {
		v := binary.LittleEndian.Uint64(p[n:])
		quote := v ^ ones*'"'
		slash := v ^ ones*'\\'
		if ((v-ones*0x20)&^v|(quote-ones)&^quote|(slash-ones)&^slash)&high != 0 {
			break
		}
	}

	for n < len(p) && p[n] >= 0x20 && p[n] != '"' && p[n] != '\\' {
		n++
	}
	return n
}

// escape reads an escape from its backslash on.
func (w *walker) escape() bool {
	w.at++
	switch w.next() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		w.at++
		return true
	case 'u':
		w.at++
	default:
		return false
	}

	for range 4 {
		c := w.next()
		letter := c | 0x20
		if (c < '0' || c > '9') && (letter < 'a' || letter > 'f') {
			return false
		}
		w.at++
	}

	return true
}

func (w *walker) number() bool {
	if w.next() == '-' {
		w.at++
	}
	if w.next() == '0' {
		w.at++
	} else if !w.digits() {
		return false
	}

	if w.next() == '.' {
		w.at++
		if !w.digits() {
			return false
		}
	}

	if w.next()|0x20 != 'e' {
		return true
	}

	w.at++
	if c := w.next(); c == '+' || c == '-' {
		w.at++
	}

	return w.digits()
}

// digits reads one or more digits.
func (w *walker) digits() bool {
	from := w.at
	for c := w.next(); '0' <= c && c <= '9'; c = w.next() {
		w.at++
	}
	return w.at > from
}
