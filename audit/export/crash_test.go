package export_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit/export"
	"github.com/guardlock/guardlock/audit/query"
)

// flavour says how the operation of a sink fails after which an export is dead.
type flavour string

const (
	failed    flavour = "failed"
	persisted flavour = "failed, but persisted"
	late      flavour = "arrives when the next export has begun"
)

var errKilled = errors.New("killed")

// place is a sink in memory, whose fatal operation fails, and all behind it.
type place struct {
	files   map[string][]byte
	delayed map[string][]byte // what arrives late
	ops     int
	fatal   int // counted from 1; 0: none
	flavour flavour
}

func newPlace() *place {
	return &place{files: make(map[string][]byte), delayed: make(map[string][]byte)}
}

// alive counts an operation, and reports whether it is done as it should.
func (p *place) alive() bool {
	p.ops++
	return p.fatal == 0 || p.ops < p.fatal
}

func (p *place) Put(_ context.Context, name string, content []byte) error {
	if p.alive() {
		p.files[name] = slices.Clone(content)
		return nil
	}

	if p.ops == p.fatal {
		switch p.flavour {
		case persisted:
			p.files[name] = slices.Clone(content)
		case late:
			p.delayed[name] = slices.Clone(content)
		}
	}
	return errKilled
}

func (p *place) Get(_ context.Context, name string) ([]byte, error) {
	if !p.alive() {
		return nil, errKilled
	}
	content, there := p.files[name]
	if !there {
		return nil, fs.ErrNotExist
	}
	return content, nil
}

// Names is what an export asks last before it goes on.
func (p *place) Names(context.Context) ([]string, error) {
	if !p.alive() {
		return nil, errKilled
	}
	return slices.Collect(maps.Keys(p.files)), nil
}

func (p *place) Close() error { return nil }

// restarted is the place for the next export. What is delayed arrives then.
func (p *place) restarted() *place {
	return &place{files: p.files, delayed: p.delayed}
}

func (p *place) arrive() {
	maps.Copy(p.files, p.delayed)
	clear(p.delayed)
}

func (p *place) rows(t *testing.T, format export.Format) (ids []string) {
	t.Helper()
	for name, content := range p.files {
		if name == export.StateName {
			continue
		}
		if format == export.JSONLines {
			ids = append(ids, idsOf(t, content)...)
			continue
		}
		for n := range rowsOf(t, format, content) { // other formats are counted
			ids = append(ids, fmt.Sprint(name, n))
		}
	}
	slices.Sort(ids)
	return ids
}

func (p *place) export(ctx context.Context, format export.Format, logs query.Logs, rows int) error {
	e := export.Exporter{Logs: logs, Format: format, Sink: p, Settle: 0}
	export.SetMaxRows(&e, rows)
	_, err := e.Run(ctx)
	return err
}

// An export dies at each operation on the place that it writes to: which failed, or
// failed but persisted, or which the place sees only when the next export has begun. The
// log has grown by then, so that files would be cut elsewhere. The next has each row once.
func TestExportThatDiesAnywhereLosesAndDoublesNothing(t *testing.T) {
	for _, format := range export.Formats() {
		for _, how := range []flavour{failed, persisted, late} {
			t.Run(fmt.Sprintf("%s %s", format, how), func(t *testing.T) { diesAnywhere(t, format, how) })
		}
	}
}

func diesAnywhere(t *testing.T, format export.Format, how flavour) {
	dir := filepath.Join(t.TempDir(), "log")
	w := newWriter(t, dir)
	w.add(6, true)
	logs, err := openLogs(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()

	whole := newPlace()
	if err := whole.export(t.Context(), format, logs, 7); err != nil {
		t.Fatal(err)
	}
	for fatal := range whole.ops {
		p := newPlace()
		p.fatal, p.flavour = fatal+1, how
		if err := p.export(t.Context(), format, logs, 7); !errors.Is(err, errKilled) {
			t.Fatalf("dead at operation %d: %v", fatal+1, err)
		}

		w.add(1, true)
		next := p.restarted()
		err := next.export(t.Context(), format, logs, 100) // what is delayed arrives behind it
		next.arrive()
		if err = errors.Join(err, next.restarted().export(t.Context(), format, logs, 100)); err != nil {
			t.Fatal(err)
		}

		got, want := next.rows(t, format), want(t, logs)
		if format != export.JSONLines && len(got) != len(want) || format == export.JSONLines && !slices.Equal(got, want) {
			t.Errorf("dead at operation %d: the export has %d rows, the log %d", fatal+1, len(got), len(want))
		}
	}
}

// A batch that is in a file which an export had begun is not held back from it by the
// next, which may have more patience: the file would have another name.
func TestFileThatWasBegunIsNotCutShort(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	w := newWriter(t, dir)
	w.add(2, true)
	e := w.entry()
	e.Time = time.Now()
	w.append(e, nil)
	w.add(1, true)
	logs, err := openLogs(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()

	const firstFile = 4 // reading the state, listing, the state, the file
	p := newPlace()
	p.fatal, p.flavour = firstFile, late
	if err := p.export(t.Context(), export.JSONLines, logs, 0); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}

	next := p.restarted()
	patient := export.Exporter{Logs: logs, Format: export.JSONLines, Sink: next, Settle: 24 * time.Hour}
	if _, err := patient.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	next.arrive()
	if got, want := next.rows(t, export.JSONLines), want(t, logs); !slices.Equal(got, want) {
		t.Errorf("the export has %d rows, the log %d", len(got), len(want))
	}
}
