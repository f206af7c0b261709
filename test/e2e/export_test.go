package e2e

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/guardlock/guardlock/audit/query"
)

// export formats, each with what makes rows of the bytes of one file.
var exportFormats = map[string]func([]byte) ([]string, error){
	"csv":     csvRows,
	"jsonl":   func(content []byte) ([]string, error) { return lineRows(content, "decision_id") },
	"parquet": parquetRows,
	"ocsf":    func(content []byte) ([]string, error) { return lineRows(content, "metadata", "uid") },
}

// csvRows are the ids in a CSV file.
func csvRows(content []byte) (ids []string, err error) {
	rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 || !bytes.HasSuffix(content, []byte("\n")) {
		return nil, errors.New("it is cut off")
	}

	column := slices.Index(rows[0], "decision_id")
	for _, row := range rows[1:] {
		ids = append(ids, row[column])
	}
	return ids, nil
}

// lineRows are the ids in a file of one object a line, where a path leads to in each.
func lineRows(content []byte, path ...string) (ids []string, err error) {
	if !bytes.HasSuffix(content, []byte("\n")) {
		return nil, errors.New("it is cut off")
	}
	for line := range bytes.Lines(content) {
		var at any
		if err := json.Unmarshal(line, &at); err != nil {
			return nil, err
		}
		for _, name := range path {
			at = at.(map[string]any)[name]
		}
		ids = append(ids, at.(string))
	}
	return ids, nil
}

// parquetRows are the ids in a Parquet file.
func parquetRows(content []byte) (ids []string, err error) {
	type row struct {
		ID string `parquet:"decision_id,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(content), int64(len(content)))
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids, err
}

// following is an export that follows a log, and is killed again and again.
type following struct {
	d      *deployment
	format string
	dir    string
	random *rand.Rand
}

// command is the export's, but for whether it follows.
func (f *following) command(more ...string) []string {
	return append([]string{"audit", "export", "--dir", f.d.audit(), "--format", f.format, "--output", f.dir}, more...)
}

// kill runs the export for a while, and then kills it in whatever it does. It says
// what is wrong with the files that are there then.
func (f *following) kill() error {
	cmd := command(f.d.t, f.command("--follow")...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}

	const longest = 1500 // ms: it begins to write at 100 or so, and looks for more each second
	death := time.AfterFunc(time.Duration(10+f.random.IntN(longest))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	if err := cmd.Wait(); death.Stop() {
		return fmt.Errorf("it ended by itself: %w: %s", err, &said)
	}

	_, err := f.rows()
	return err
}

// rows are the ids in all files, of which each must be whole, and end where the next
// begins.
func (f *following) rows() (ids []string, err error) {
	names, err := filepath.Glob(filepath.Join(f.dir, "decisions-*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)

	next := uint64(1)
	for _, name := range names {
		var node string
		var first, last uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "decisions-%8s-%d-%d.", &node, &first, &last); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if first != next {
			return nil, fmt.Errorf("%s begins at entry %d, and the one before it ends at %d", name, first, next-1)
		}
		next = last + 1

		content, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		found, err := exportFormats[f.format](content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		ids = append(ids, found...)
	}

	return ids, nil
}

// TestKilledFollowingExportLosesAndDoublesNothing: exports of each format follow a log
// that a gateway writes, and all of them are killed at random, the gateway too. In the
// end each has each row of the log once.
func TestKilledFollowingExportLosesAndDoublesNothing(t *testing.T) {
	d := deploy(t, crashPlan())
	gateway := serve(t, d)
	idempotent, plain := startLoads(t, d.address)
	idempotent.more(t, 1)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	var exports []*following
	var killing sync.WaitGroup
	rounds := killRounds()
	for format := range exportFormats {
		f := &following{d, format, filepath.Join(d.dir, "export-"+format), rand.New(rand.NewPCG(seed, uint64(len(format))))}
		exports = append(exports, f)
		killing.Go(func() {
			for round := range rounds {
				if err := f.kill(); err != nil {
					t.Errorf("%s: killed for the %d. time: %v", format, round+1, err)
					return
				}
			}
		})
	}

	const gatewayKills = 3
	for range gatewayKills {
		idempotent.more(t, 40)
		plain.more(t, 40)
		gateway.kill()
		gateway = serve(t, d)
	}
	killing.Wait()
	idempotent.finish(t)
	plain.finish(t)
	d.everyBatchIsSettled("idempotent")
	d.everyBatchIsSettled("plain")
	gateway.terminate()

	for _, f := range exports {
		f.holdsTheLog()
	}
}

// holdsTheLog ends the export in order, and compares it with the log.
func (f *following) holdsTheLog() {
	t := f.d.t
	t.Helper()
	before, err := f.rows()
	if err != nil {
		t.Errorf("%s: %v", f.format, err)
	}
	if out, exit := guardlock(t, f.command()...); exit != 0 || strings.Contains(out, "not exported to the end") {
		t.Errorf("%s: exit code %d\n%s", f.format, exit, out)
	}

	got, err := f.rows()
	if err != nil {
		t.Errorf("%s: %v", f.format, err)
	}
	var want []string
	for _, row := range decisions(t, f.d.audit(), query.Filter{Finer: query.Finer{ByRun: true}}) {
		want = append(want, row.ID.String())
	}

	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		once := slices.Compact(slices.Clone(got))
		t.Errorf("%s: %d rows, of which %d are there more than once; the log has %d", f.format, len(got), len(got)-len(once), len(want))
	}
	if len(before) == 0 {
		t.Errorf("%s: no export came to write before it was killed", f.format)
	}
	t.Logf("%s: %d rows, %d of them by exports that were killed", f.format, len(got), len(before))
}
