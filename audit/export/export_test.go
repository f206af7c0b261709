package export_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/export"
	"github.com/guardlock/guardlock/audit/query"
)

// childDir tells the test's own program that it is the export to be killed.
const childDir = "GUARDLOCK_EXPORT_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child exports the log in dir/log to dir/out, and says each file that is there.
func child(dir string, out io.Writer) error {
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	sink, err := export.OpenDir(filepath.Join(dir, "out"))
	if err != nil {
		return err
	}

	e := export.Exporter{Logs: logs, Format: export.JSONLines, Sink: sink, Wrote: func(f export.File) { fmt.Fprintln(out, f.Name) }}
	export.SetMaxRows(&e, 5)
	_, err = e.Run(context.Background())
	return err
}

func openLogs(dirs ...string) (query.Logs, error) {
	var logs query.Logs
	for _, dir := range dirs {
		r, err := query.Open(dir)
		if err != nil {
			return nil, err
		}
		node, err := r.Node()
		if err != nil {
			return nil, err
		}
		logs = append(logs, query.Log{Gateway: filepath.Base(dir), Node: node, Reader: r})
	}
	return logs, nil
}

// writer writes a log of which some batches are forwarded and some refused.
type writer struct {
	t    testing.TB
	log  *audit.Log
	sent int64
}

func newWriter(t testing.TB, dir string) *writer {
	t.Helper()
	l, err := audit.Open(dir, audit.Options{Node: filepath.Base(dir), Key: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &writer{t: t, log: l}
}

var fraud = audit.ModuleRef{Name: "fraud", Digest: audit.Digest{7}}

// entry is a batch of ten records, of which one was changed.
func (w *writer) entry() *audit.BatchEntry {
	w.sent++
	e := &audit.BatchEntry{
		Time:      time.Date(2020, 1, 15, 12, 0, 0, 0, time.UTC).Add(time.Duration(w.sent) * time.Second),
		Target:    audit.Target{Cluster: "main", Topic: "payments"},
		Caller:    audit.Caller{Principal: "=User:ada", ClientID: "till\n4", Source: "10.0.0.9"},
		Authority: audit.Authority{PolicyRevision: "r1", Modules: []audit.ModuleRef{fraud}},
		Outcome:   audit.OutcomeModified,
		Payload:   audit.Payload{Records: 10, BytesIn: 100, BytesOut: 110},
	}
	e.Add(audit.Ruling{}, 4)
	e.Add(audit.Ruling{Verdict: audit.Modified, Module: 0, Reason: "masked"}, 1)
	e.Add(audit.Ruling{}, 5)
	return e
}

// add appends batches. Those whose answer is not said stay unknown.
func (w *writer) add(n int, answered bool) {
	w.t.Helper()
	for range n {
		e := w.entry()
		seq := w.append(e, nil)
		if answered {
			w.log.Place(seq, audit.Placement{BaseOffset: w.sent * 10, AppendTime: e.Time})
		}
	}
	w.record(audit.KindConfig) // makes the answers durable
}

func (w *writer) append(e *audit.BatchEntry, evidence []byte) uint64 {
	w.t.Helper()
	ticket := w.log.Append(e, evidence)
	if err := ticket.Wait(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return ticket.Seq()
}

func (w *writer) record(kind audit.Kind) {
	w.t.Helper()
	err := w.log.Record(w.t.Context(), audit.ControlEntry{Kind: kind, Subject: "fraud", Outcome: "denied", Reason: "why", Module: fraud, Principal: "User:root"})
	if err != nil {
		w.t.Fatal(err)
	}
}

func run(t testing.TB, dir string, format export.Format, logs query.Logs, settle time.Duration, rows int) (export.Result, error) {
	t.Helper()
	sink, err := export.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()

	e := export.Exporter{Logs: logs, Format: format, Sink: sink, Settle: settle}
	export.SetMaxRows(&e, rows)
	return e.Run(t.Context())
}

// files are the contents of an export's files, in the order of their names.
func files(t testing.TB, dir string) (all [][]byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "decisions-*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, content)
	}
	return all
}

// want are the rows that an export of the logs has, as ids.
func want(t testing.TB, logs query.Logs) (ids []string) {
	t.Helper()
	for d, err := range logs.Query(t.Context(), query.Filter{Finer: query.Finer{ByRun: true}}, nil) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, d.ID.String())
	}
	slices.Sort(ids)
	return ids
}

// idsIn are the ids in an export as JSON lines.
func idsIn(t testing.TB, dir string) (ids []string) {
	t.Helper()
	for _, content := range files(t, dir) {
		ids = append(ids, idsOf(t, content)...)
	}
	slices.Sort(ids)
	return ids
}

func idsOf(t testing.TB, content []byte) (ids []string) {
	t.Helper()
	for line := range bytes.Lines(content) {
		var row struct {
			ID string `json:"decision_id"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, row.ID)
	}
	return ids
}

// An export is killed after every number of files, while the log grows, and in the end
// it has each row of the log once.
func TestKilledExportLosesAndRepeatsNothing(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, filepath.Join(dir, "log"))
	w.add(20, true)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	killed := 0
	for range 40 {
		w.add(5, true)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}

		lines := bufio.NewScanner(out)
		for n := random.IntN(6); n > 0 && lines.Scan(); n-- {
		}
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			killed++
		}
		if random.IntN(4) == 0 { // the state may be older than the files
			if err := os.Remove(filepath.Join(dir, "out", export.StateName)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	if killed == 0 {
		t.Error("no export was killed")
	}

	if err := child(dir, io.Discard); err != nil {
		t.Fatal(err)
	}
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	if got, want := idsIn(t, filepath.Join(dir, "out")), want(t, logs); !slices.Equal(got, want) {
		t.Errorf("the export has %d rows, the log %d", len(got), len(want))
	}
}

// Files that were moved away are not written again.
func TestExportGoesOnBehindFilesThatWereMovedAway(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, filepath.Join(dir, "log"))
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()

	var got []string
	out := filepath.Join(dir, "out")
	for range 3 {
		w.add(7, true)
		if _, err := run(t, out, export.JSONLines, logs, 0, 5); err != nil {
			t.Fatal(err)
		}
		got = append(got, idsIn(t, out)...)
		moved, err := filepath.Glob(filepath.Join(out, "decisions-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range moved {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}

	slices.Sort(got)
	if want := want(t, logs); !slices.Equal(got, want) {
		t.Errorf("exports have %d rows, the log %d", len(got), len(want))
	}
}

func TestBatchIsHeldBackForItsAnswer(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, filepath.Join(dir, "log"))
	w.add(2, true)
	e := w.entry()
	e.Time = time.Now()
	w.append(e, nil)
	w.add(1, true)

	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	out := filepath.Join(dir, "out")
	r, err := run(t, out, export.JSONLines, logs, 24*time.Hour, 0)
	if err != nil || r.Held != 1 || r.Rows != 2+2*3 {
		t.Errorf("held back: %+v, %v", r, err)
	}
	r, err = run(t, out, export.JSONLines, logs, 0, 0)
	if err != nil || r.Held != 0 || r.Rows != 1+2*3 {
		t.Errorf("after that: %+v, %v", r, err)
	}
}

func TestAnotherExportIsNotGoneOnWith(t *testing.T) {
	dir := t.TempDir()
	newWriter(t, filepath.Join(dir, "log")).add(1, true)
	newWriter(t, filepath.Join(dir, "other")).add(1, true)
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	others, err := openLogs(filepath.Join(dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	defer others.Close()

	out := filepath.Join(dir, "out")
	if _, err := run(t, out, export.CSV, logs, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, out, export.Parquet, logs, 0, 0); !errors.Is(err, export.ErrOtherExport) {
		t.Errorf("another format: %v", err)
	}
	if _, err := run(t, out, export.CSV, others, 0, 0); !errors.Is(err, query.ErrForeignCursor) {
		t.Errorf("without the log that was exported: %v", err)
	}

	sink, err := export.OpenDir(out)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if second, err := export.OpenDir(out); err == nil {
		t.Errorf("two exports at a time: %v", second.Close())
	}
}

// Every format has as many rows as the log, from two gateways.
func TestEveryFormatHasEveryRow(t *testing.T) {
	dir := t.TempDir()
	newWriter(t, filepath.Join(dir, "gw-a")).add(30, true)
	newWriter(t, filepath.Join(dir, "gw-b")).add(20, true)
	logs, err := openLogs(filepath.Join(dir, "gw-a"), filepath.Join(dir, "gw-b"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()

	for _, format := range export.Formats() {
		out := filepath.Join(dir, string(format))
		r, err := run(t, out, format, logs, 0, 40)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		for _, content := range files(t, out) {
			rows += rowsOf(t, format, content)
		}
		if n := len(want(t, logs)); rows != n || r.Rows != int64(n) || r.Files < 4 {
			t.Errorf("%s: %d rows, said to be %d in %d files, and the logs have %d", format, rows, r.Rows, r.Files, n)
		}
	}
}

func rowsOf(t *testing.T, format export.Format, content []byte) int {
	t.Helper()
	switch format {
	case export.CSV:
		rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(content, []byte("\n")); lines != len(rows) || bytes.Contains(content, []byte(",=User")) {
			t.Errorf("%d rows in %d lines, or a formula", len(rows), lines)
		}
		return len(rows) - 1
	case export.Parquet:
		f, err := parquet.OpenFile(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		return int(f.NumRows())
	}
	return bytes.Count(content, []byte("\n"))
}

// What is read back from a Parquet file is what the log says.
func TestParquetHoldsTheRows(t *testing.T) {
	dir := t.TempDir()
	newWriter(t, filepath.Join(dir, "log")).add(1, true)
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	if _, err := run(t, filepath.Join(dir, "out"), export.Parquet, logs, 0, 0); err != nil {
		t.Fatal(err)
	}

	type row struct {
		Kind      string  `parquet:"kind,optional"`
		Topic     string  `parquet:"topic,optional"`
		Time      int64   `parquet:"time,optional,timestamp(microsecond)"`
		Offset    *int64  `parquet:"first_offset,optional"`
		Records   *int64  `parquet:"records,optional"`
		Reason    *string `parquet:"reason,optional"`
		Principal string  `parquet:"principal,optional"`
	}
	content := files(t, filepath.Join(dir, "out"))[0]
	rows, err := parquet.Read[row](bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 5 || rows[0].Kind != "open" || rows[0].Offset != nil || rows[0].Records != nil {
		t.Fatalf("%+v", rows)
	}
	got := rows[2]
	at := time.Date(2020, 1, 15, 12, 0, 1, 0, time.UTC).UnixMicro()
	if got.Topic != "payments" || got.Time != at || *got.Offset != 14 || *got.Records != 1 || *got.Reason != "masked" || got.Principal != "=User:ada" {
		t.Errorf("%+v", got)
	}
}

func TestEventsAreValidOCSF(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("testdata/ocsf-1.9.0.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := newWriter(t, filepath.Join(dir, "log"))
	w.add(3, true)
	w.add(1, false)
	for _, kind := range []audit.Kind{audit.KindAdmission, audit.KindConfig, audit.KindAdmin, audit.KindConduct} {
		w.record(kind)
	}
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	if _, err := run(t, filepath.Join(dir, "out"), export.OCSF, logs, 0, 0); err != nil {
		t.Fatal(err)
	}

	classes := map[string]int{}
	for line := range bytes.Lines(files(t, filepath.Join(dir, "out"))[0]) {
		event, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(event); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		classes[fmt.Sprint(event.(map[string]any)["class_uid"])]++
	}
	if classes["6003"] < 5 || classes["6005"] != 12 {
		t.Errorf("classes %v", classes)
	}
}

// Whatever a record held, no format has any of it.
func TestNothingOfARecordIsInAnExport(t *testing.T) {
	const secret = "IBAN-DE02120300000000202051"
	dir := t.TempDir()
	w := newWriter(t, filepath.Join(dir, "log"))
	e := w.entry()
	e.Evidence = audit.EvidenceContent
	w.append(e, []byte(strings.Repeat(secret, 10)))
	w.add(1, true)
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()

	for _, format := range export.Formats() {
		out := filepath.Join(dir, string(format))
		if _, err := run(t, out, format, logs, 0, 0); err != nil {
			t.Fatal(err)
		}
		for _, content := range files(t, out) {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s holds the record", format)
			}
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"version":1,"format":"csv","logs":{"0a0b0c0d":7}}`), "decisions-0a0b0c0d-00000000000000000008-00000000000000000009.csv")
	f.Fuzz(func(t *testing.T, content []byte, name string) {
		before, after, ok := export.Advanced(content, name)
		if !ok {
			return
		}
		for node, seq := range before {
			if after[node] < seq {
				t.Errorf("%s with %s goes back to %d", content, name, after[node])
			}
		}
	})
}
