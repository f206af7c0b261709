package cases

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// caseNodes are the cases of a file as YAML has them.
func caseNodes(raw []byte) []*yaml.Node {
	var doc yaml.Node
	if yaml.Unmarshal(raw, &doc) != nil || len(doc.Content) == 0 {
		return nil
	}
	_, list := member(doc.Content[0], "cases")
	if list == nil {
		return nil
	}

	return resolved(list).Content
}

// member is a member of a mapping; nil without one.
func member(n *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}

	return nil, nil
}

// Update returns the file with what became of some of its cases written as what must
// become of them. The rest of the file keeps every byte.
func (f File) Update(results map[int]Result) ([]byte, error) {
	if otherBreaks(f.raw) {
		return nil, fmt.Errorf("%s: lines end in something else than newlines, so it is for you to change", f.Name)
	}

	lines := strings.SplitAfter(strings.TrimRight(string(f.raw), "\n")+"\n", "\n")
	lines = lines[:len(lines)-1]

	nodes := caseNodes(f.raw)
	for n := len(nodes) - 1; n >= 0; n-- { // from the end, so that lines above keep their numbers
		result, ok := results[n]
		if !ok {
			continue
		}

		node := nodes[n]
		if node.Kind != yaml.MappingNode || node.Style&yaml.FlowStyle != 0 || len(node.Content) == 0 {
			return nil, fmt.Errorf("%s:%d: the case is not written as lines of its own, so it is for you to change", f.Name, node.Line)
		}

		from, to := expectLines(node, lines)
		e := newExpectation(node, lines)
		lines = append(lines[:from:from], append(f.Cases[n].expected(e, result), lines[to:]...)...)
	}

	after := []byte(strings.Join(lines, ""))
	fresh := caseNodes(after)
	if len(fresh) != len(nodes) {
		return nil, fmt.Errorf("%s: its cases refer to each other, so it is for you to change", f.Name)
	}
	for n := range nodes {
		if _, updated := results[n]; !sameCase(nodes[n], fresh[n], updated) {
			return nil, fmt.Errorf("%s:%d: a text of the case goes on where its lines end, so it is for you to change", f.Name, nodes[n].Line)
		}
	}

	return after, nil
}

// sameCase reports whether a case says what it said, but for the expectation of one
// that was updated.
func sameCase(was, is *yaml.Node, updated bool) bool {
	without := func(n *yaml.Node) *yaml.Node {
		out := *resolved(n)
		if key, _ := member(&out, "expect"); key != nil && updated {
			at := slices.Index(out.Content, key)
			out.Content = slices.Delete(slices.Clone(out.Content), at, at+2)
		}
		return &out
	}
	return sameNode(without(was), without(is))
}

// sameNode reports whether two nodes mean the same, wherever and however they stand.
func sameNode(a, b *yaml.Node) bool {
	if a.Kind == yaml.AliasNode || b.Kind == yaml.AliasNode {
		return a.Kind == b.Kind && a.Value == b.Value
	}
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && slices.EqualFunc(a.Content, b.Content, sameNode)
}

// otherBreaks reports whether YAML sees more lines than newlines end: at a carriage
// return alone, and at three characters of Unicode (YAML 1.1, 5.4).
func otherBreaks(raw []byte) bool {
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	return strings.ContainsAny(text, "\r\u0085\u2028\u2029")
}

// expectLines is where a case's expectation stands, or belongs: behind the case's
// other lines.
func expectLines(node *yaml.Node, lines []string) (from, to int) {
	key, _ := member(node, "expect")
	last := lastLine(node)
	if key == nil {
		return endOf(lines, last, node.Content[0].Column), endOf(lines, last, node.Content[0].Column)
	}

	return key.Line - 1, endOf(lines, key.Line, key.Column)
}

// endOf is the first line behind line number start that is not indented deeper than
// column: where the block that begins there ends. Blank lines at its end are not of it.
func endOf(lines []string, start, column int) int {
	end := start
	for n := start; n < len(lines); n++ {
		text := strings.TrimSpace(lines[n])
		indented := len(lines[n]) - len(strings.TrimLeft(lines[n], " "))
		if text == "" {
			continue
		}
		if indented < column {
			break
		}
		end = n + 1
	}

	return end
}

// lastLine is the last line on which a part of a node begins.
func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}

	return last
}

// expected writes a result as the lines of an expectation. What was written and holds
// stays as it was written, be it a pattern or a text in another form.
func (c Case) expected(old expectation, r Result) []string {
	e := c.Expect
	if e == nil {
		e = &Expectation{}
	}

	out := []string{old.indent + "expect:\n"}
	add := func(name, value string, holds bool) {
		if kept := old.member(name); holds && kept != nil {
			out = append(out, kept...)
		} else if value != "" {
			out = append(out, old.indent+"  "+name+": "+value+"\n")
		}
	}
	add("outcome", r.Outcome, e.Outcome == r.Outcome)
	add("reason", r.Reason, e.Reason == r.Reason)
	add("failure", r.Failure, e.Failure == r.Failure)
	add("route", writtenUnless(r.Route == "", []byte(r.Route)), e.Route == r.Route)

	if !stored(r.Outcome) {
		return out
	}
	add("key", writtenUnless(sameBytes(r.Key, c.Record.Key), r.Key), e.Key != nil && e.Key.is(r.Key))
	add("value", writtenUnless(sameBytes(r.Value, c.Record.Value), r.Value), e.Value != nil && e.Value.is(r.Value))

	same := bytes.Equal(appendHeaders(nil, r.Headers), appendHeaders(nil, c.Record.Headers))
	switch {
	case e.Headers != nil && len(c.compareHeaders(r.Headers)) == 0:
		add("headers", "", true)
	case !same && len(r.Headers) == 0:
		add("headers", "[]", false)
	case len(r.Headers) > 0 && (!same || e.Headers != nil):
		out = append(out, e.headers(old, r.Headers)...)
	}

	return out
}

// headers are all headers of a record, each that holds as it was written.
func (e *Expectation) headers(old expectation, got []Header) []string {
	lines := []string{old.indent + "  headers:\n"}
	for n, h := range got {
		value := written(h.Value)
		if n < len(e.Headers) && e.Headers[n].Key == h.Key && e.Headers[n].Value.is(h.Value) {
			value = cmp.Or(old.header(n), value)
		}
		lines = append(lines, fmt.Sprintf("%s    - {key: %s, value: %s}\n", old.indent, written([]byte(h.Key)), value))
	}

	return lines
}

// expectation is how a case's expectation is written.
type expectation struct {
	indent string
	node   *yaml.Node // nil: there is none to keep something of
	lines  []string   // of the file
}

// newExpectation finds a case's expectation. Of one that refers to other places, or that
// others may refer to, nothing is kept.
func newExpectation(node *yaml.Node, lines []string) expectation {
	e := expectation{indent: strings.Repeat(" ", node.Content[0].Column-1), lines: lines}
	_, expect := member(node, "expect")
	if expect != nil && expect.Kind == yaml.MappingNode && !refers(expect) {
		e.node = expect
	}

	return e
}

// refers reports whether a node has an anchor or an alias in it.
func refers(n *yaml.Node) bool {
	return n.Anchor != "" || n.Kind == yaml.AliasNode || slices.ContainsFunc(n.Content, refers)
}

// member is how a member is written: as its lines, or in one line where the expectation
// has no lines of its own. Nil without one, or where its lines are not its alone.
func (e expectation) member(name string) []string {
	if e.node == nil {
		return nil
	}
	key, value := member(e.node, name)
	if key == nil {
		return nil
	}
	if e.node.Style&yaml.FlowStyle != 0 {
		text := flow(value)
		if text == "" {
			return nil
		}
		return []string{e.indent + "  " + name + ": " + text + "\n"}
	}

	first := e.lines[key.Line-1]
	if strings.Trim(first[:min(key.Column-1, len(first))], " ") != "" || key.Column-1 != len(e.indent)+2 {
		return nil
	}
	return e.lines[key.Line-1 : endOf(e.lines, key.Line, key.Column)]
}

// header is how the value of a header is written, in one line; empty without one.
func (e expectation) header(n int) string {
	if e.node == nil {
		return ""
	}
	_, list := member(e.node, "headers")
	if list == nil || n >= len(list.Content) {
		return ""
	}
	_, value := member(list.Content[n], "value")
	if value == nil {
		return ""
	}

	return flow(value)
}

// flow is a node in one line, without its comments; empty if it cannot be.
func flow(n *yaml.Node) string {
	text, err := yaml.Marshal(inFlow(n))
	line := strings.TrimSuffix(string(text), "\n")
	if err != nil || strings.Contains(line, "\n") {
		return ""
	}

	return line
}

func inFlow(n *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style}
	if n.Kind != yaml.ScalarNode {
		out.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		out.Content = append(out.Content, inFlow(c))
	}

	return out
}

// writtenUnless is a key or value as a case has it, or nothing where it need not be said.
func writtenUnless(needless bool, p []byte) string {
	if needless {
		return ""
	}
	return written(p)
}

func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// written is a key or value as a case has it: quoted, so that YAML takes it for
// nothing else; in base64 where it is no text.
func written(p []byte) string {
	if p == nil {
		return "null"
	}

	text := string(p)
	if !utf8.Valid(p) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != ' ' }) {
		return "{base64: " + quoted(base64.StdEncoding.EncodeToString(p)) + "}"
	}

	return quoted(text)
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
