// Package scenario holds the client matrix's cases for clients in Go, over an adapter that hides which client does the
// work. README.md, in the directory above, says what each case is; the programs in other languages hold the same.
package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Record is what is produced, and what was read again, in the same form for every client.
type Record struct {
	Key, Value string
	N          string // the value of its one header, "n"
	Partition  int32
	Offset     int64
}

// Batch is a call to produce: its records go out together.
type Batch struct {
	Topic      string
	Records    []Record
	Codec      string
	Idempotent bool
	Partition  int32 // -1 leaves it to the client
}

// Adapter is a client as the cases use it. Every method ends when ctx does.
type Adapter interface {
	Name() string
	// Produce returns one outcome a record: "ok", or the Kafka error's name.
	Produce(ctx context.Context, b Batch) ([]string, error)
	// Transact produces in one transaction and commits or aborts it.
	Transact(ctx context.Context, id string, b Batch, commit bool) error
	// Read returns every record from the topic's start to its end as it is now.
	Read(ctx context.Context, topic string, committed bool) ([]Record, error)
	// FirstAt seeks and returns the first record that comes, or false at the end.
	FirstAt(ctx context.Context, topic string, partition int32, offset int64) (Record, bool, error)
	// Join makes a member of a group, which starts at the earliest offset and commits when told to.
	Join(group, topic string) (Member, error)
}

// Member is one consumer in a group, which may have to give partitions to others.
type Member interface {
	Poll(ctx context.Context) ([]Record, error) // waits at most about 100 ms
	Assignment() []int32
	Commit(ctx context.Context) error
	Close() error
}

// Job is what a program reads from its standard input, as JSON.
type Job struct {
	Bootstrap string            `json:"bootstrap"`
	Run       string            `json:"run"`
	Topics    map[string]string `json:"topics"`
	Cases     []string          `json:"cases"` // empty means all
	Security  *Security         `json:"security"`
}

// Result is one case's result, as it goes into the report.
type Result map[string]any

var codecs = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// Main reads a job, runs its cases with the client that open makes, and prints the report as JSON.
func Main(ctx context.Context, in io.Reader, out io.Writer, open func(bootstrap []string, s *Security) (Adapter, error)) error {
	var job Job
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		return fmt.Errorf("reading job: %w", err)
	}

	a, err := open(strings.Split(job.Bootstrap, ","), job.Security)
	if err != nil {
		return fmt.Errorf("preparing client: %w", err)
	}

	r := &run{a: a, topics: job.Topics, id: job.Run}
	report := make(map[string]Result)
	for name, do := range r.cases() {
		if len(job.Cases) > 0 && !slices.Contains(job.Cases, name) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
		res, err := do(ctx)
		cancel()

		if err != nil {
			res = Result{"error": err.Error()}
		}
		report[name] = res
	}

	return json.NewEncoder(out).Encode(map[string]any{"client": r.a.Name(), "cases": report})
}

type run struct {
	a      Adapter
	topics map[string]string
	id     string
}

type testCase func(ctx context.Context) (Result, error)

func (r *run) cases() map[string]testCase {
	all := map[string]testCase{
		"idempotent":  func(ctx context.Context) (Result, error) { return r.roundTrip(ctx, "idempotent", "none", true) },
		"transaction": r.transaction, "group": r.group, "seek": r.seek, "upper": r.upper,
	}
	for _, c := range codecs {
		all["codec/"+c] = func(ctx context.Context) (Result, error) { return r.roundTrip(ctx, "codec-"+c, c, false) }
	}

	for how, idempotent := range map[string]bool{"plain": false, "idempotent": true} {
		all["reject/"+how] = func(ctx context.Context) (Result, error) { return r.reject(ctx, idempotent) }
		all["drop/"+how] = func(ctx context.Context) (Result, error) { return r.drop(ctx, idempotent) }
	}
	return all
}

// records numbers values from first; their keys carry run, case and number.
func (r *run) records(name string, first int, values ...string) []Record {
	var all []Record
	for i, v := range values {
		n := strconv.Itoa(first + i)
		all = append(all, Record{Key: r.id + "/" + name + "/" + n, Value: v, N: n})
	}
	return all
}

// stored is what a topic holds of one case, in order of production.
func (r *run) stored(ctx context.Context, topic, name string, committed bool) ([]Record, error) {
	all, err := r.a.Read(ctx, r.topics[topic], committed)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", topic, err)
	}

	var mine []Record
	for _, rec := range all {
		if strings.HasPrefix(rec.Key, r.id+"/"+name+"/") {
			mine = append(mine, rec)
		}
	}

	slices.SortStableFunc(mine, func(a, b Record) int { return number(a) - number(b) })
	return mine, nil
}

func number(r Record) int {
	n, _ := strconv.Atoi(r.Key[strings.LastIndexByte(r.Key, '/')+1:])
	return n
}

func values(records []Record) []string {
	all := []string{}
	for _, r := range records {
		all = append(all, r.Value)
	}
	return all
}

func acked(outcomes []string) (n int) {
	for _, o := range outcomes {
		if o == "ok" {
			n++
		}
	}
	return n
}

func (r *run) roundTrip(ctx context.Context, name, codec string, idempotent bool) (Result, error) {
	var vals []string
	for i := range 20 {
		vals = append(vals, fmt.Sprintf("value %d of %s %s", i, name, strings.Repeat("x", 100)))
	}

	sent := r.records(name, 0, vals...)
	outcomes, err := r.a.Produce(ctx, Batch{r.topics["plain"], sent, codec, idempotent, -1})
	if err != nil {
		return nil, err
	}

	got, err := r.stored(ctx, "plain", name, false)
	if err != nil {
		return nil, err
	}

	bare := slices.Clone(got)
	for i := range bare {
		bare[i].Partition = 0
		bare[i].Offset = 0
	}

	return Result{"acked": acked(outcomes), "read": len(got), "intact": reflect.DeepEqual(bare, sent)}, nil
}

// committed counts what a transaction left. The commit is answered before its
// markers are in every partition: what it holds may take a moment to be readable.
func (r *run) committed(ctx context.Context, name string, want int) (int, error) {
	for end := time.Now().Add(20 * time.Second); ; {
		got, err := r.stored(ctx, "plain", name, true)
		if err != nil || len(got) >= want || time.Now().After(end) {
			return len(got), err
		}
	}
}

func (r *run) transaction(ctx context.Context) (Result, error) {
	count := make(map[bool]int)
	for commit, name := range map[bool]string{true: "tx-kept", false: "tx-undone"} {
		recs := r.records(name, 0, slices.Repeat([]string{name}, 10)...)
		if err := r.a.Transact(ctx, r.id+"-tx", Batch{Topic: r.topics["plain"], Records: recs, Partition: -1}, commit); err != nil {
			return nil, err
		}

		want := 0
		if commit {
			want = len(recs)
		}

		got, err := r.committed(ctx, name, want)
		if err != nil {
			return nil, err
		}

		count[commit] = got
	}

	return Result{"kept": count[true], "undone": count[false]}, nil
}

func (r *run) seek(ctx context.Context) (Result, error) {
	recs := r.records("seek", 0, slices.Repeat([]string{"sought"}, 5)...)
	if _, err := r.a.Produce(ctx, Batch{r.topics["plain"], recs, "none", false, 0}); err != nil {
		return nil, err
	}

	got, err := r.stored(ctx, "plain", "seek", false)
	if err != nil {
		return nil, err
	}
	if len(got) != 5 {
		return nil, fmt.Errorf("%d records of 5", len(got))
	}

	first, _, err := r.a.FirstAt(ctx, r.topics["plain"], got[2].Partition, got[2].Offset)
	return Result{"offset": first.Offset == got[2].Offset, "key": first.Key == got[2].Key}, err
}

func (r *run) upper(ctx context.Context) (Result, error) {
	recs := r.records("upper", 0, "hello 0", "hello 1", "hello 2", "hello 3", "hello 4")
	outcomes, err := r.a.Produce(ctx, Batch{r.topics["upper"], recs, "none", false, 0})
	if err != nil {
		return nil, err
	}
	got, err := r.stored(ctx, "upper", "upper", false)
	return Result{"acked": acked(outcomes), "values": values(got)}, err
}

func (r *run) reject(ctx context.Context, idempotent bool) (Result, error) {
	name := fmt.Sprintf("reject-%t", idempotent)
	n := 0
	var outcomes [][]string
	for _, batch := range [][]string{{"fine 0"}, {"fine 1", "BAD 2", "fine 3"}, {"fine 4"}} {
		o, err := r.a.Produce(ctx, Batch{r.topics["strict"], r.records(name, n, batch...), "none", idempotent, 0})
		if err != nil {
			return nil, err
		}
		outcomes = append(outcomes, o)
		n += len(batch)
	}

	got, err := r.stored(ctx, "strict", name, false)
	return Result{"outcomes": outcomes, "values": values(got)}, err
}

func (r *run) drop(ctx context.Context, idempotent bool) (Result, error) {
	name := fmt.Sprintf("drop-%t", idempotent)
	n := 0
	ok := 0
	for _, batch := range [][]string{{"keep 0", "drop 1", "keep 2"}, {"drop 3", "drop 4"}, {"keep 5"}} {
		o, err := r.a.Produce(ctx, Batch{r.topics["dropping"], r.records(name, n, batch...), "none", idempotent, 0})
		if err != nil {
			return nil, err
		}
		ok += acked(o)
		n += len(batch)
	}

	got, err := r.stored(ctx, "dropping", name, false)
	if err != nil {
		return nil, err
	}

	i := slices.IndexFunc(got, func(rec Record) bool { return rec.Value == "keep 2" })
	if i < 0 {
		return nil, errors.New("keep 2 is not stored")
	}

	first, _, err := r.a.FirstAt(ctx, r.topics["dropping"], 0, got[i].Offset+1)
	return Result{"acked": ok, "values": values(got), "after_hole": first.Value}, err
}
