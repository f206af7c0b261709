package cases

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
	"github.com/guardlock/guardlock/transforms/wasm"
)

const (
	minSecretBytes = 16
	testKeys       = 4
)

// TestKeys are the keys of a module that needs some and is told of none. Anyone can
// compute what is made with them.
func TestKeys() []transforms.Key {
	var keys []transforms.Key
	for n := range testKeys {
		keys = append(keys, transforms.Key{
			Name:   fmt.Sprintf("test%d", n),
			Secret: fmt.Appendf(nil, "guardlock test key %d, no secret", n),
		})
	}

	return keys
}

// Sandbox is one compiled module. The caller closes it.
type Sandbox struct {
	runtime *transforms.Runtime
	code    map[transforms.Limits]*transforms.Code
	file    []byte
	info    transforms.Info
	names   map[uint32]string
	content map[string]*transforms.TableContent // by the tables' names, as read
	printed *printed
}

// Open scans a module. trial is what makes this program compile files in a child, as
// in transforms.Config.
func Open(file []byte, trial []string) (*Sandbox, error) {
	info, err := transforms.Inspect(file, transforms.ScanLimits{})
	if err != nil {
		return nil, err
	}
	if err := transforms.CheckImports(info); err != nil {
		return nil, err
	}

	said := &printed{}
	runtime, err := transforms.New(transforms.Config{Trial: trial, RecordClock: true, Output: said.write})
	if err != nil {
		return nil, err
	}

	return &Sandbox{
		runtime: runtime,
		code:    map[transforms.Limits]*transforms.Code{},
		file:    file,
		info:    info,
		names:   wasm.FunctionNames(file),
		content: map[string]*transforms.TableContent{},
		printed: said,
	}, nil
}

// Info is what the scan found.
func (s *Sandbox) Info() transforms.Info { return s.info }

// Metrics are what the module has counted so far.
func (s *Sandbox) Metrics() []transforms.Metric { return s.runtime.Metrics() }

// Close ends the sandbox and what was started in it.
func (s *Sandbox) Close(ctx context.Context) error {
	for _, c := range s.code {
		c.Close()
	}

	return s.runtime.Close(ctx)
}

// Guest is a module that was started, with one instance: what it keeps in its memory
// it still has when the next record comes.
type Guest struct {
	sandbox *Sandbox
	module  *transforms.Module
	chain   *transforms.Chain
	batch   record.Batch
	loaded  loaded // for measuring
}

// Start starts the module with the grant that it asks for.
func (s *Sandbox) Start(ctx context.Context, setup Setup) (*Guest, error) {
	limits := setup.Limits
	limits.Instances = 1
	code := s.code[limits]
	if code == nil {
		var err error
		if code, err = s.runtime.Compile(ctx, s.file, limits); err != nil {
			return nil, err
		}
		s.code[limits] = code
	}

	grant := transforms.Grant{
		HostFunctions: setup.HostFunctions,
		Keys:          setup.Keys,
		Routes:        setup.Routes,
		Limits:        limits,
	}
	if grant.HostFunctions == nil {
		grant.HostFunctions = s.asksFor()
	}
	if grant.Keys == nil {
		grant.Keys = TestKeys()
	}

	tables, err := s.tables(setup)
	if err != nil {
		return nil, err
	}

	m, err := code.Load(ctx, transforms.Spec{
		Name:   cmp.Or(setup.Name, "module"),
		Config: setup.Config,
		Topic:  DefaultTopic,
		Grant:  grant,
		Tables: tables,
	})
	if err != nil {
		return nil, err
	}

	return &Guest{sandbox: s, module: m, chain: transforms.NewChain(m)}, nil
}

// tables are what the configuration declares, each of the file of its digest.
func (s *Sandbox) tables(setup Setup) (map[string]*transforms.Table, error) {
	if !transforms.UsesTables(s.info) || setup.Tables == nil {
		return nil, nil
	}

	return transforms.OpenTables(setup.Config, func(name, format string) (*transforms.TableContent, error) {
		if s.content[name] == nil {
			raw, err := setup.Tables(name, format)
			if err != nil {
				return nil, err
			}
			s.content[name] = transforms.NewTableContent(raw)
		}
		return s.content[name], nil
	})
}

// asksFor are the host functions that the module imports.
func (s *Sandbox) asksFor() []string {
	var names []string
	for _, im := range s.info.Imports {
		if name := im.String(); transforms.KnownHostFunction(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}

	return names
}

// Close ends the guest.
func (g *Guest) Close(ctx context.Context) error { return g.module.Close(ctx) }

// Fuel is what the sandbox has charged the guest for what it ran.
func (g *Guest) Fuel() uint64 { return g.module.Fuel() }

// MemoryBytes is what the guest's memory has grown to.
func (g *Guest) MemoryBytes() uint64 { return g.module.MemoryBytes() }

// Result is what became of one record.
type Result struct {
	Outcome  string
	Module   int    // which of a chain's modules decided; 0 of what is passed
	Reason   string // of what is not passed or failed
	Route    string
	Failure  string   // which kind
	Problem  string   // the failure in words
	Calls    []string // functions that were running, the innermost first
	Key      []byte   // as they came out
	Value    []byte
	Headers  []Header
	Took     time.Duration
	MemoryAt uint64 // what the guest's memory has grown to
	Printed  Printed
}

// Refusal is what became of a case whose module could not be started.
func (s *Sandbox) Refusal(err error) Result {
	r := s.failure(err)
	if failed, ok := errors.AsType[*transforms.Error](err); ok && failed.Kind == transforms.GuestFailed {
		r.Outcome = ConfigRefused
		r.Failure = ""
	}

	return r
}

func (s *Sandbox) failure(err error) Result {
	r := Result{Outcome: Failed, Problem: err.Error(), Calls: s.calls(err), Printed: s.printed.take()}
	if failed, ok := errors.AsType[*transforms.Error](err); ok {
		r.Failure = failed.Kind.String()
		r.Problem = failed.Err.Error()
	}

	return r
}

// calls names the functions that were running. One without a name has its number.
func (s *Sandbox) calls(err error) []string {
	var names []string
	for _, f := range transforms.Backtrace(err) {
		name, ok := s.names[f]
		if !ok {
			name = fmt.Sprintf("function %d", f)
		}
		names = append(names, readable(name))
	}

	return ownCalls(names)
}

// fill lays records out as a decoded batch has them.
func fill(b *record.Batch, records []Record) {
	b.Reset()
	for _, r := range records {
		start := len(b.Data)
		b.Data = append(b.Data, 0) // stands for the varints in front
		rec := record.Record{
			Timestamp: r.Timestamp,
			Key:       appendSpan(b, r.Key),
			Value:     appendSpan(b, r.Value),
			Headers:   appendSpan(b, appendHeaders(nil, r.Headers)),
		}

		rec.Whole = record.Span{Off: uint32(start), Len: int32(len(b.Data) - start)}
		b.Records = append(b.Records, rec)
	}
}

func appendSpan(b *record.Batch, p []byte) record.Span {
	if p == nil {
		return record.Null
	}
	s := record.Span{Off: uint32(len(b.Data)), Len: int32(len(p))}
	b.Data = append(b.Data, p...)

	return s
}

// appendHeaders writes Kafka's header block: a count, then each key and value, with
// their lengths as zigzag varints.
func appendHeaders(dst []byte, headers []Header) []byte {
	dst = binary.AppendVarint(dst, int64(len(headers)))
	for _, h := range headers {
		dst = append(binary.AppendVarint(dst, int64(len(h.Key))), h.Key...)
		if h.Value == nil {
			dst = binary.AppendVarint(dst, -1)
			continue
		}
		dst = append(binary.AppendVarint(dst, int64(len(h.Value))), h.Value...)
	}

	return dst
}

// readHeaders reads a header block that the sandbox has found well formed.
func readHeaders(block []byte) []Header {
	count, n := binary.Varint(block)
	block = block[max(n, 0):]

	var headers []Header
	for range count {
		var h Header
		key, rest, _ := readField(block)
		h.Key = string(key)
		h.Value, block, _ = readField(rest)
		headers = append(headers, h)
	}

	return headers
}

// readField reads a length and as many bytes; a negative length is null.
func readField(p []byte) (field, rest []byte, ok bool) {
	length, n := binary.Varint(p)
	if n <= 0 || length > int64(len(p)-n) {
		return nil, nil, false
	}
	if length < 0 {
		return nil, p[n:], true
	}

	return p[n : n+int(length) : n+int(length)], p[n+int(length):], true
}

// RunFile runs a file's cases, each in an instance of its own if it does not continue.
func (s *Sandbox) RunFile(ctx context.Context, f File) []Result {
	var all []Result
	var guest *Guest
	end := func() {
		if guest != nil {
			_ = guest.Close(ctx) // its memory is given back either way
		}
	}

	defer func() { end() }()

	for _, c := range f.Cases {
		if !c.Continues || guest == nil {
			end()
			var err error
			if guest, err = s.Start(ctx, c.Setup); err != nil {
				guest = nil
				all = append(all, s.Refusal(err))
				continue
			}
		}

		all = append(all, guest.Run(ctx, c.Record).Kept())
	}

	return all
}

// Kept is a result that outlives the batch in which its bytes lie.
func (r Result) Kept() Result {
	r.Key = bytes.Clone(r.Key)
	r.Value = bytes.Clone(r.Value)
	for n := range r.Headers {
		r.Headers[n].Value = bytes.Clone(r.Headers[n].Value)
	}

	return r
}
