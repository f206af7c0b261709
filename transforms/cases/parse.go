package cases

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/guardlock/guardlock/internal/problem"
	"github.com/guardlock/guardlock/transforms"
)

// What a record has that says nothing of it.
const (
	DefaultTopic     = "test"
	DefaultTimestamp = 1767225600000 // 2026-01-01T00:00:00Z
)

// The documents as they are written.
type (
	fileDocument struct {
		Config     yaml.Node       `yaml:"config"`
		ConfigFile string          `yaml:"config_file"`
		Topic      string          `yaml:"topic"`
		Partition  int32           `yaml:"partition"`
		Timestamp  yaml.Node       `yaml:"timestamp"`
		Routes     []string        `yaml:"routes"`
		Keys       []keyDocument   `yaml:"keys"`
		Limits     limitsDocument  `yaml:"limits"`
		Cases      []*caseDocument `yaml:"cases"`
	}
	keyDocument struct {
		Name   string `yaml:"name"`
		Secret string `yaml:"secret"`
	}
	limitsDocument struct {
		MemoryBytes uint32 `yaml:"memory_bytes"`
		DeadlineMS  uint32 `yaml:"deadline_ms"`
	}
	caseDocument struct {
		Name       string          `yaml:"name"`
		Continues  bool            `yaml:"continues"`
		Config     yaml.Node       `yaml:"config"`
		ConfigFile string          `yaml:"config_file"`
		Record     *recordDocument `yaml:"record"`
		Expect     *expectDocument `yaml:"expect"`
	}
	recordDocument struct {
		Key       yaml.Node        `yaml:"key"`
		Value     yaml.Node        `yaml:"value"`
		Headers   []headerDocument `yaml:"headers"`
		Timestamp yaml.Node        `yaml:"timestamp"`
		Topic     string           `yaml:"topic"`
		Partition *int32           `yaml:"partition"`
	}
	headerDocument struct {
		Key   string    `yaml:"key"`
		Value yaml.Node `yaml:"value"`
	}
	expectDocument struct {
		Outcome string            `yaml:"outcome"`
		Reason  string            `yaml:"reason"`
		Route   string            `yaml:"route"`
		Failure string            `yaml:"failure"`
		Key     yaml.Node         `yaml:"key"`
		Value   yaml.Node         `yaml:"value"`
		Headers *[]headerDocument `yaml:"headers"`
	}
)

// Beside is what lies beside a module: its configuration, and how to read a file of
// its directory.
type Beside struct {
	Config []byte // nil: the module has none
	Read   func(path string) ([]byte, error)
}

// Table reads the file of a table beside a module: tables/NAME.csv or tables/NAME.mmdb.
func (b Beside) Table(name, format string) ([]byte, error) {
	path := "tables/" + name + "." + format
	if !filepath.IsLocal(filepath.FromSlash(path)) {
		return nil, fmt.Errorf("%q does not lie in the module's directory", path)
	}
	return b.Read(path)
}

// Parse reads one file of cases. Everything wrong with it is reported at once, each
// with its line and column.
func Parse(name string, raw []byte, beside Beside) (File, error) {
	var doc fileDocument
	if err := problem.DecodeYAML(raw, &doc); errors.Is(err, io.EOF) {
		return File{}, problem.List{{File: name, Message: "it has no cases"}}
	} else if err != nil {
		return File{}, inFile(name, err)
	}

	p := &parser{doc: doc, beside: beside}
	file := File{Name: name, Cases: p.cases(), raw: raw}
	if err := p.problems.Locate(raw).Err(); err != nil {
		return File{}, inFile(name, err)
	}

	for n, item := range caseNodes(raw) {
		file.Cases[n].Line = item.Line
	}

	return file, nil
}

// inFile gives each problem the file's name, and the column in its text: a place in
// a file is printed as file:line.
func inFile(name string, err error) error {
	list, ok := errors.AsType[problem.List](err)
	if !ok {
		return err
	}

	for n := range list {
		if list[n].Column > 0 {
			list[n].Message = fmt.Sprintf("column %d: %s", list[n].Column, list[n].Message)
		}
		list[n].File = name
	}
	list.Sort()

	return list
}

type parser struct {
	doc      fileDocument
	beside   Beside
	problems problem.List
}

func (p *parser) cases() []Case {
	setup := Setup{
		Config: p.config("", p.doc.Config, p.doc.ConfigFile, p.beside.Config),
		Keys:   p.keys(),
		Routes: p.doc.Routes,
		Tables: p.beside.Table,
		Limits: transforms.Limits{
			MemoryBytes: p.doc.Limits.MemoryBytes,
			Deadline:    time.Duration(p.doc.Limits.DeadlineMS) * time.Millisecond,
		},
	}
	if len(p.doc.Cases) == 0 {
		p.problems.Add("", "it has no cases")
	}

	var all []Case
	for n, d := range p.doc.Cases {
		at := fmt.Sprintf("cases[%d]", n)
		if d == nil {
			d = &caseDocument{}
		}
		if d.Name == "" {
			p.problems.Add(at, "the case has no name")
		}
		if d.Continues && n == 0 {
			p.problems.Add(at+".continues", "there is no case before")
		}

		c := Case{Name: d.Name, Continues: d.Continues, Setup: setup}
		c.Setup.Config = p.config(at+".", d.Config, d.ConfigFile, setup.Config)
		c.Record = p.record(at, d)
		c.Expect = p.expectation(at+".expect", d.Expect)
		all = append(all, c)
	}

	return all
}

// config is a configuration: JSON written as YAML, its exact text, or a file.
func (p *parser) config(at string, node yaml.Node, file string, otherwise []byte) []byte {
	switch {
	case !node.IsZero() && file != "":
		p.problems.Add(at+"config_file", "config is given too")
	case file != "":
		return p.file(at+"config_file", file)
	case !node.IsZero():
		n := resolved(&node)
		if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
			return []byte(n.Value)
		}
		return p.json(at+"config", n)
	}

	return otherwise
}

// keys are those of the file. A module that needs some and is told of none has the
// test keys.
func (p *parser) keys() []transforms.Key {
	var keys []transforms.Key
	for n, k := range p.doc.Keys {
		at := fmt.Sprintf("keys[%d]", n)
		if k.Name == "" {
			p.problems.Add(at, "the key has no name")
		}
		if len(k.Secret) < minSecretBytes {
			p.problems.Add(at+".secret", "a secret has at least %d bytes; this one protects nothing, so write any", minSecretBytes)
		}
		keys = append(keys, transforms.Key{Name: k.Name, Secret: []byte(k.Secret)})
	}

	return keys
}

func (p *parser) record(at string, d *caseDocument) Record {
	r := Record{Topic: p.doc.Topic, Partition: p.doc.Partition, Timestamp: p.time("timestamp", p.doc.Timestamp, DefaultTimestamp)}
	if r.Topic == "" {
		r.Topic = DefaultTopic
	}

	if d.Record == nil {
		if d.Expect == nil || d.Expect.Outcome != ConfigRefused {
			p.problems.Add(at, "the case has no record")
		}
		return r
	}

	at += ".record."
	r.Key = p.bytes(at+"key", d.Record.Key)
	r.Value = p.bytes(at+"value", d.Record.Value)
	r.Timestamp = p.time(at+"timestamp", d.Record.Timestamp, r.Timestamp)
	if d.Record.Topic != "" {
		r.Topic = d.Record.Topic
	}
	if d.Record.Partition != nil {
		r.Partition = *d.Record.Partition
	}
	for n, h := range d.Record.Headers {
		r.Headers = append(r.Headers, Header{h.Key, p.bytes(fmt.Sprintf("%sheaders[%d].value", at, n), h.Value)})
	}

	return r
}

func (p *parser) expectation(at string, d *expectDocument) *Expectation {
	if d == nil {
		return nil
	}
	if !slices.Contains(Outcomes(), d.Outcome) {
		p.problems.Add(at+".outcome", "it is one of %s", strings.Join(Outcomes(), ", "))
	}
	if d.Route != "" && !slices.Contains(p.doc.Routes, d.Route) {
		p.problems.Add(at+".route", "%q is not one of the file's routes", d.Route)
	}
	if !stored(d.Outcome) && (!d.Key.IsZero() || !d.Value.IsZero() || d.Headers != nil) {
		p.problems.Add(at+".outcome", "no record comes out of one that is %s", d.Outcome)
	}

	e := &Expectation{
		Outcome: d.Outcome,
		Reason:  d.Reason,
		Route:   d.Route,
		Failure: d.Failure,
		Key:     p.want(at+".key", d.Key),
		Value:   p.want(at+".value", d.Value),
	}
	if d.Headers == nil {
		return e
	}

	e.Headers = []WantHeader{}
	for n, h := range *d.Headers {
		value := p.want(fmt.Sprintf("%s.headers[%d].value", at, n), h.Value)
		if value == nil {
			value = &Want{}
		}
		e.Headers = append(e.Headers, WantHeader{h.Key, *value})
	}

	return e
}

// want is what a key or value must be; nil where the case does not say.
func (p *parser) want(at string, node yaml.Node) *Want {
	if node.IsZero() {
		return nil
	}

	form, value := formOf(&node)
	switch form {
	case "matches":
		pattern, err := regexp.Compile(value.Value)
		if err != nil {
			p.problems.Add(at+".matches", "%v", err)
		}
		return &Want{Pattern: pattern}
	default:
		return &Want{Bytes: p.bytes(at, node), JSON: form == "json"}
	}
}

// time is milliseconds, or a time as text.
func (p *parser) time(at string, node yaml.Node, otherwise int64) int64 {
	if node.IsZero() {
		return otherwise
	}

	var ms int64
	n := resolved(&node)
	if n.Tag == "!!int" && n.Decode(&ms) == nil {
		return ms
	}

	t, err := time.Parse(time.RFC3339Nano, n.Value)
	if err != nil {
		p.problems.Add(at, "it is neither milliseconds nor a time such as 2030-01-31T12:00:00Z")
	}

	return t.UnixMilli()
}

// file reads a file of the module's directory, and of no other.
func (p *parser) file(at, path string) []byte {
	if !filepath.IsLocal(filepath.FromSlash(path)) {
		p.problems.Add(at, "%q does not lie in the module's directory", path)
		return nil
	}

	content, err := p.beside.Read(path)
	if err != nil {
		p.problems.Add(at, "%v", err)
	}

	return content
}
