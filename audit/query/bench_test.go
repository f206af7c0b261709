package query_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// What the benchmarks of a cold query take from the environment.
const (
	benchDecisions = "GUARDLOCK_BENCH_DECISIONS" // in the log; a million if it is not set
	benchDir       = "GUARDLOCK_BENCH_DIR"       // logs are made here, kept, and found again
	benchChild     = "GUARDLOCK_BENCH_CHILD"     // the query that this process is to ask
	benchLog       = "GUARDLOCK_BENCH_LOG"       // the log that it is to ask
)

func TestMain(m *testing.M) {
	if name := os.Getenv(benchChild); name != "" {
		if err := askOnce(os.Getenv(benchLog), name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// coldQueries are asked by a process that knows nothing of the log.
var coldQueries = []struct {
	name string
	ask  func(*query.Reader, query.Totals) error
}{
	{"summary", func(r *query.Reader, all query.Totals) error {
		t, err := r.Summarize(context.Background(), query.Filter{})
		if err == nil && t.Decisions != all.Decisions {
			err = fmt.Errorf("%d decisions, want %d", t.Decisions, all.Decisions)
		}
		return err
	}},
	{"coordinate", func(r *query.Reader, all query.Totals) error {
		partition := int32(3)
		offset := all.Decisions / benchTopics / benchPartitions / 2
		f := query.Filter{Topics: []string{"topic-7"}, Partition: &partition, Offset: &offset}
		return expect(r, f, 1, 1)
	}},
	{"ten-seconds", func(r *query.Reader, all query.Totals) error {
		from := benchStart.Add(time.Duration(all.Decisions/2) * time.Second / benchRate)
		f := query.Filter{From: from, To: from.Add(10 * time.Second), Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true}
		return expect(r, f, 10*benchRate/1000, 10*benchRate)
	}},
}

// The log that is asked: benchRate decisions a second, spread over partitions.
const (
	benchTopics     = 20
	benchPartitions = 12
	benchRate       = 10_000
)

var benchStart = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func expect(r *query.Reader, f query.Filter, least, most int) error {
	n := 0
	for d, err := range r.Query(context.Background(), f) {
		if err != nil {
			return err
		}
		if d.Batch.State != query.StateStored {
			return fmt.Errorf("decision %s is %s", d.ID, d.Batch.State)
		}
		n++
	}

	if n < least || n > most {
		return fmt.Errorf("%d rows, want %d to %d", n, least, most)
	}
	return nil
}

// askOnce opens a log, asks and prints what that took.
func askOnce(dir, name string) error {
	decisions, err := strconv.ParseInt(os.Getenv(benchDecisions), 10, 64)
	if err != nil {
		return fmt.Errorf("reading %s: %w", benchDecisions, err)
	}

	began := time.Now()
	r, err := query.Open(dir)
	if err != nil {
		return err
	}

	for _, q := range coldQueries {
		if q.name != name {
			continue
		}
		if err := q.ask(r, query.Totals{Decisions: decisions}); err != nil {
			return err
		}
	}

	took := time.Since(began)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	peak, err := peakMemory()
	fmt.Printf("%d %d %d\n", took.Nanoseconds(), m.TotalAlloc, peak)

	return err
}

// peakMemory is the largest resident size that this process had; 0 where the
// system does not say.
func peakMemory() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, nil
	}

	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}

	return 0, nil
}

// BenchmarkCold asks a log of small and of large batches, each time in a process
// that knows nothing of it.
func BenchmarkCold(b *testing.B) {
	decisions := 1_000_000
	if s := os.Getenv(benchDecisions); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		decisions = n
	}

	for _, records := range []int{1, 100} {
		dir := syntheticLog(b, decisions, records)
		for _, q := range coldQueries {
			b.Run(fmt.Sprintf("batch=%d/%s", records, q.name), func(b *testing.B) {
				benchmarkCold(b, dir, decisions, q.name)
			})
		}
	}
}

func benchmarkCold(b *testing.B, dir string, decisions int, name string) {
	child(b, dir, decisions, name) // makes the indexes that it needs
	var sum cost
	n := int64(0)
	for b.Loop() {
		one := child(b, dir, decisions, name)
		sum.time += one.time
		sum.cpu += one.cpu
		sum.bytes += one.bytes
		sum.peak += one.peak
		n++
	}

	b.ReportMetric(float64(sum.time/n), "ns/query")
	b.ReportMetric(float64(sum.cpu.Nanoseconds()/n), "cpu-ns/query")
	b.ReportMetric(float64(sum.bytes/n), "B/query")
	b.ReportMetric(float64(sum.peak/n)/(1<<20), "peak-MiB")
	b.ReportMetric(0, "ns/op")
}

// cost is what one query took. Time and bytes are those of opening and asking,
// processor time and peak those of the whole process.
type cost struct {
	time  int64
	cpu   time.Duration
	bytes int64
	peak  int64
}

// child asks in a process of its own.
func child(b *testing.B, dir string, decisions int, name string) (c cost) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchChild+"="+name, benchLog+"="+dir, fmt.Sprintf("%s=%d", benchDecisions, decisions))
	cmd.Stderr = os.Stderr

	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Sscan(string(out), &c.time, &c.bytes, &c.peak); err != nil {
		b.Fatal(err)
	}

	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return c
}

// syntheticLog makes a log of so many decisions in batches of so many records, or
// finds the one that was made before.
func syntheticLog(b *testing.B, decisions, records int) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "log")
	if kept := os.Getenv(benchDir); kept != "" {
		dir = filepath.Join(kept, fmt.Sprintf("%d-by-%d", decisions, records))
	}
	if _, err := os.Stat(filepath.Join(dir, "committed")); err == nil {
		return dir
	}

	l, err := audit.Open(dir, audit.Options{InsecureNoSync: true})
	if err != nil {
		b.Fatal(err)
	}

	writeSynthetic(b, l, decisions, records)
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}

	return dir
}

func writeSynthetic(b *testing.B, l *audit.Log, decisions, records int) {
	b.Helper()
	module := audit.ModuleRef{Name: "gdpr", Digest: audit.Digest{1}}
	e := &audit.BatchEntry{
		Caller:    audit.Caller{ConnID: 7, Principal: "User:payments", ClientID: "payments-1", Source: "10.0.0.9"},
		Authority: audit.Authority{Modules: []audit.ModuleRef{module}, PolicyRevision: "sha256:00ff", GrantDigest: audit.Digest{5}},
		Payload:   audit.Payload{Records: records, BytesIn: 100 * records, BytesOut: 100 * records},
		Outcome:   audit.OutcomePassed,
	}

	e.Producer = audit.Producer{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
	e.Add(audit.Ruling{}, records)

	const together = 64 // batches that share a flush
	var seqs [together]uint64
	var offsets [benchTopics * benchPartitions]int64
	for i := 0; i < decisions/records; i += together {
		var last audit.Ticket
		n := min(together, decisions/records-i)
		for j := range n {
			at := (i + j) % len(offsets)
			e.Target = audit.Target{Cluster: "main", Topic: fmt.Sprintf("topic-%d", at%benchTopics), Partition: int32(at / benchTopics)}
			e.Time = benchStart.Add(time.Duration(i+j) * time.Duration(records) * time.Second / benchRate)
			last = l.Append(e, []byte{byte(i)})
			seqs[j] = last.Seq()
		}

		if err := last.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
		for j := range n {
			at := (i + j) % len(offsets)
			l.Place(seqs[j], audit.Placement{BaseOffset: offsets[at]})
			offsets[at] += int64(records)
		}
	}

	flush := audit.ControlEntry{Kind: audit.KindConfig, Subject: "end", Outcome: "applied"}
	if err := l.Record(b.Context(), flush); err != nil {
		b.Fatal(err)
	}
}
