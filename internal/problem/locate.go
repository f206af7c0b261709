package problem

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Locate gives problems that name a field the line and column where it stands in
// raw, or what it would be part of. Those that have a line keep it.
func (l List) Locate(raw []byte) List {
	var doc yaml.Node
	if yaml.Unmarshal(raw, &doc) != nil || len(doc.Content) == 0 {
		return l
	}

	out := make(List, len(l))
	for i, p := range l {
		if p.Line == 0 && p.Path != "" {
			at := find(doc.Content[0], p.Path)
			p.Line = at.Line
			p.Column = at.Column
		}
		out[i] = p
	}

	return out
}

var pathStep = regexp.MustCompile(`[^.\[\]]+|\[[0-9]+\]`)

// find is the key of the field at path, or the last part of the way that is there;
// a node without a place if none is.
func find(n *yaml.Node, path string) *yaml.Node {
	at := &yaml.Node{}
	for _, step := range pathStep.FindAllString(path, -1) {
		key, value := child(n, step)
		if value == nil {
			return at
		}
		at = key
		n = value
	}

	return at
}

// child is one step down: a key with its value, or an item, which is its own key.
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	n = resolved(n)
	if index, ok := strings.CutPrefix(step, "["); ok {
		i, _ := strconv.Atoi(strings.TrimSuffix(index, "]"))
		if n.Kind != yaml.SequenceNode || i >= len(n.Content) {
			return nil, nil
		}
		return n.Content[i], n.Content[i]
	}

	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == step {
			return n.Content[i], n.Content[i+1]
		}
	}

	return nil, nil
}

func resolved(n *yaml.Node) *yaml.Node {
	for range 8 { // an alias may lead to another, and in a circle
		if n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	return n
}

// maxNested bounds how deep unknown keys are looked for: no document of ours is
// nested deeper, and a hostile one could be without end.
const maxNested = 32

// unknownKeys finds keys of a document that a Go type has no field for, and says
// which one may have been meant. What an alias stands for is looked at where it is
// written: following aliases could take for ever.
func unknownKeys(n *yaml.Node, t reflect.Type, depth int) List {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}

	var l List
	switch {
	case depth > maxNested || reflect.PointerTo(t).Implements(unmarshaler):
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, item := range n.Content {
			l = append(l, unknownKeys(item, t.Elem(), depth+1)...)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		fields := fieldsByKey(t)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if field, known := fields[key.Value]; known {
				l = append(l, unknownKeys(n.Content[i+1], field, depth+1)...)
			} else {
				l = append(l, unknownKey(key, fields))
			}
		}
	}

	return l
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

func unknownKey(key *yaml.Node, fields map[string]reflect.Type) Problem {
	message := unknown + key.Value
	if near := nearest(key.Value, fields); near != "" {
		message += fmt.Sprintf("; did you mean %s?", near)
	}

	return Problem{Line: key.Line, Column: key.Column, Message: message}
}

// fieldsByKey are the types of a struct's fields by their YAML keys. A field
// without a key in its tag has its own name in lower case, as the YAML library
// has it.
func fieldsByKey(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}

		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" {
			key = strings.ToLower(f.Name)
		}
		out[key] = f.Type
	}

	return out
}

// nearest is the key that a typing error may have been made in, "" if none is
// near: a third of its letters may differ.
func nearest(typed string, fields map[string]reflect.Type) string {
	best := ""
	least := len(typed)/3 + 2
	for key := range fields {
		d := distance(typed, key)
		if d < least || d == least && best != "" && key < best {
			best = key
			least = d
		}
	}

	return best
}

// distance is how many letters must be changed, added or left out to make a
// from b: Levenshtein's distance, in one row of memory.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}

	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}

	return row[len(b)]
}

// columnOf is the column where a value begins on a line, or else of whatever is
// first there. The library's errors name a line only. It is 0 if nothing stands
// on the line.
func columnOf(n *yaml.Node, line int, value string) int {
	first := 0
	for _, c := range n.Content {
		if c.Line == line && value != "" && strings.HasPrefix(c.Value, value) {
			return c.Column
		}
		if c.Line == line && first == 0 {
			first = c.Column
		}
		if deeper := columnOf(c, line, value); deeper != 0 && (first == 0 || value != "" && deeper > first) {
			first = deeper
		}
	}

	return first
}
