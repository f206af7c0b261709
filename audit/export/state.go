package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"strconv"

	"github.com/guardlock/guardlock/audit/query"
)

// StateName is the file that says how far an export came. Files that are moved away
// are not written again as long as it stays.
const StateName = "guardlock-export.json"

// ErrOtherExport means that a place holds an export of another format or version.
var ErrOtherExport = errors.New("another export is there")

// state says by log which entry was exported last, and with which the file ends that is
// being written behind it. An upload may arrive after who sent it was killed: whoever goes
// on writes a file of the same name, so that the one takes the place of the other.
type state struct {
	Version int               `json:"version"`
	Format  Format            `json:"format"`
	Logs    map[string]uint64 `json:"logs"`
	Writing map[string]uint64 `json:"writing,omitempty"`
}

const stateVersion = 1

func nodeName(node uint32) string { return fmt.Sprintf("%08x", node) }

// cursor is the state as a query takes it.
func (s *state) cursor() query.Cursor {
	c := make(query.Cursor)
	for name, seq := range s.Logs {
		node, err := strconv.ParseUint(name, 16, 32)
		if err == nil && seq > 0 {
			c[uint32(node)] = query.After{Seq: seq}
		}
	}
	return c
}

func (s *state) save(ctx context.Context, sink Sink) error {
	content, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the export's state: %w", err)
	}
	if err := sink.Put(ctx, StateName, append(content, '\n')); err != nil {
		return fmt.Errorf("writing the export's state: %w", err)
	}
	return nil
}

// resume reads how far the export came. The files that are there know better than
// the state, which is written behind them.
func (e *Exporter) resume(ctx context.Context) (*state, error) {
	s := &state{Version: stateVersion, Format: e.Format, Logs: make(map[string]uint64), Writing: make(map[string]uint64)}
	content, err := e.Sink.Get(ctx, StateName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the export's state: %w", err)
	}
	if err == nil {
		if s, err = parseState(content); err != nil {
			return nil, err
		}
	}
	if s.Format != e.Format || s.Version != stateVersion {
		return nil, fmt.Errorf("%w: of version %d, as %s; give each a place of its own", ErrOtherExport, s.Version, s.Format)
	}

	names, err := e.Sink.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the export: %w", err)
	}
	s.advance(names)
	return s, nil
}

func parseState(content []byte) (*state, error) {
	s := new(state)
	in := json.NewDecoder(bytes.NewReader(content))
	in.DisallowUnknownFields()
	if err := in.Decode(s); err != nil {
		return nil, fmt.Errorf("reading the export's state: %w", err)
	}
	if s.Logs == nil {
		s.Logs = make(map[string]uint64)
	}
	if s.Writing == nil {
		s.Writing = make(map[string]uint64)
	}
	return s, nil
}

// advance goes on over files that were written and that the state does not know.
func (s *state) advance(names []string) {
	next := make(map[string]map[uint64]uint64)
	for _, name := range names {
		if at, ok := parseSpan(name, s.Format); ok {
			if next[at.node] == nil {
				next[at.node] = make(map[uint64]uint64)
			}
			next[at.node][at.first] = max(next[at.node][at.first], at.last)
		}
	}

	for node, files := range next {
		for last := files[s.Logs[node]+1]; last != 0; last = files[s.Logs[node]+1] {
			s.Logs[node] = last
		}
	}
	maps.DeleteFunc(s.Writing, func(node string, last uint64) bool { return last <= s.Logs[node] })
}

// span is what a file's name says: the first and the last entry of a log that it
// speaks for.
type span struct {
	node        string
	first, last uint64
}

func (s span) name(f Format) string {
	return fmt.Sprintf("decisions-%s-%020d-%020d.%s", s.node, s.first, s.last, f.extension())
}

var spanName = regexp.MustCompile(`^decisions-([0-9a-f]{8})-([0-9]{20})-([0-9]{20})\.`)

func parseSpan(name string, f Format) (span, bool) {
	m := spanName.FindStringSubmatch(name)
	if m == nil {
		return span{}, false
	}

	first, err1 := strconv.ParseUint(m[2], 10, 64)
	last, err2 := strconv.ParseUint(m[3], 10, 64)
	s := span{m[1], first, last}
	return s, err1 == nil && err2 == nil && first > 0 && first <= last && s.name(f) == name
}
