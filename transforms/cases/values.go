package cases

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// maxAliases bounds how far an alias of an alias is followed.
const maxAliases = 8

func resolved(n *yaml.Node) *yaml.Node {
	for range maxAliases {
		if n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}

	return n
}

// formOf says in which form a key or value is written: a text of its own has none.
func formOf(node *yaml.Node) (form string, value *yaml.Node) {
	n := resolved(node)
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 {
		return n.Content[0].Value, resolved(n.Content[1])
	}

	return "", n
}

// bytes are a key or value: a text, null, or a mapping that says its form.
func (p *parser) bytes(at string, node yaml.Node) []byte {
	if node.IsZero() {
		return nil
	}

	form, value := formOf(&node)
	scalar := value.Kind == yaml.ScalarNode
	switch {
	case form == "json":
		return p.json(at+".json", value)
	case form == "text" && scalar:
		return []byte(value.Value)
	case form == "file" && scalar:
		return p.file(at+".file", value.Value)
	case form == "base64" && scalar:
		b, err := base64.StdEncoding.DecodeString(value.Value)
		if err != nil {
			p.problems.Add(at+".base64", "%v", err)
		}
		return b
	case form == "" && scalar && value.Tag == "!!null":
		return nil
	case form == "" && scalar && value.Tag == "!!str":
		return []byte(value.Value)
	case form == "" && scalar:
		p.problems.Add(at, "`%s` is a text only in quotes; a number or object is {json: …}", value.Value)
	default:
		p.problems.Add(at+"."+form, "it is a text, null, or one of {text: …}, {json: …}, {base64: …}, {file: …}")
	}

	return nil
}

// json writes a node as JSON without white space, members in the order in which
// they stand, doubled ones too, and numbers as they are spelled.
func (p *parser) json(at string, n *yaml.Node) []byte {
	var out bytes.Buffer
	if err := appendJSON(&out, n, 0); err != nil {
		p.problems.Add(at, "%v", err)
		return nil
	}

	return out.Bytes()
}

// maxJSONNodes and maxJSONDepth bound what aliases can unfold to.
const (
	maxJSONDepth = 1000
	maxJSONBytes = 16 << 20
)

func appendJSON(out *bytes.Buffer, n *yaml.Node, depth int) error {
	n = resolved(n)
	if depth > maxJSONDepth || out.Len() > maxJSONBytes {
		return fmt.Errorf("it is nested too deeply or too large")
	}

	switch n.Kind {
	case yaml.SequenceNode:
		return appendList(out, "[]", len(n.Content), func(i int) error { return appendJSON(out, n.Content[i], depth+1) })
	case yaml.MappingNode:
		return appendList(out, "{}", len(n.Content)/2, func(i int) error {
			writeText(out, n.Content[2*i].Value)
			out.WriteByte(':')
			return appendJSON(out, n.Content[2*i+1], depth+1)
		})
	case yaml.ScalarNode:
		return appendScalar(out, n)
	}

	return fmt.Errorf("it cannot be written as JSON")
}

// appendList writes n items between a pair of brackets.
func appendList(out *bytes.Buffer, brackets string, n int, item func(int) error) error {
	out.WriteByte(brackets[0])
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := item(i); err != nil {
			return err
		}
	}
	out.WriteByte(brackets[1])

	return nil
}

func appendScalar(out *bytes.Buffer, n *yaml.Node) error {
	switch n.Tag {
	case "!!null":
		out.WriteString("null")
	case "!!bool", "!!int", "!!float":
		if !json.Valid([]byte(n.Value)) {
			return fmt.Errorf("line %d: `%s` is not how JSON spells it", n.Line, n.Value)
		}
		out.WriteString(n.Value)
	default:
		writeText(out, n.Value)
	}

	return nil
}

func writeText(out *bytes.Buffer, s string) {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s)           // a text can be encoded, and a buffer takes it
	out.Truncate(out.Len() - 1) // the line end
}
