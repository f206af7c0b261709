package cases

import (
	"bytes"
	"encoding/base64"
	"fmt"
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
		indent := strings.Repeat(" ", node.Content[0].Column-1)
		lines = append(lines[:from:from], append(f.Cases[n].expected(indent, result), lines[to:]...)...)
	}

	return []byte(strings.Join(lines, "")), nil
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

// expected writes a result as the lines of an expectation.
func (c Case) expected(indent string, r Result) []string {
	inner := indent + "  "
	lines := []string{indent + "expect:\n", inner + "outcome: " + r.Outcome + "\n"}
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, inner+name+": "+value+"\n")
		}
	}
	add("reason", r.Reason)
	add("failure", r.Failure)
	if r.Route != "" {
		add("route", written([]byte(r.Route)))
	}

	if !stored(r.Outcome) {
		return lines
	}
	if !sameBytes(r.Key, c.Record.Key) {
		add("key", written(r.Key))
	}
	if !sameBytes(r.Value, c.Record.Value) {
		add("value", written(r.Value))
	}
	if bytes.Equal(appendHeaders(nil, r.Headers), appendHeaders(nil, c.Record.Headers)) {
		return lines
	}
	if len(r.Headers) == 0 {
		add("headers", "[]")
		return lines
	}

	lines = append(lines, inner+"headers:\n")
	for _, h := range r.Headers {
		lines = append(lines, fmt.Sprintf("%s  - {key: %s, value: %s}\n", inner, written([]byte(h.Key)), written(h.Value)))
	}
	return lines
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
