package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/exit"
)

// evidenced is the directory of a gateway that signs a checkpoint each second.
type evidenced struct {
	t         *testing.T
	dir       string
	bootstrap string
}

func newEvidenced(t *testing.T) *evidenced {
	t.Helper()
	broker, err := startBroker()
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(broker.Close)
	e := &evidenced{t, t.TempDir(), broker.ListenAddrs()[0]}
	e.configure("")
	return e
}

// configure says more about evidence.
func (e *evidenced) configure(evidence string) {
	e.t.Helper()
	writeFiles(e.t, e.dir, 0o600, map[string]string{"gw.yaml": fmt.Sprintf(`
node: gw
listen: {address: "127.0.0.1:0"}
broker: {upstream: {bootstrap: [%q]}}
unbound_topics: record
ops: {address: "127.0.0.1:0"}
audit: {insecure_no_sync: true, evidence: {every: 1s%s}}
`, e.bootstrap, evidence)})
}

func (e *evidenced) path(name string) string { return filepath.Join(e.dir, name) }
func (e *evidenced) log() string             { return e.path("data/audit") }

func (e *evidenced) serve() *served {
	e.t.Helper()
	return serveConfig(e.t, e.path("gw.yaml"), 1)
}

// refuses has the gateway not start, and returns what it says.
func (e *evidenced) refuses() string {
	e.t.Helper()
	return guardlock(e.t, exit.Failure, "serve", "--config", e.path("gw.yaml"))
}

// copied is another directory with the same, as a backup has it, or a thief.
func (e *evidenced) copied() *evidenced {
	e.t.Helper()
	other := &evidenced{e.t, e.t.TempDir(), e.bootstrap}
	other.putBack(e)
	return other
}

// putBack makes the data what it is in a copy.
func (e *evidenced) putBack(from *evidenced) {
	e.t.Helper()
	if err := os.RemoveAll(e.path("data")); err != nil {
		e.t.Fatal(err)
	}

	// The mark is read first: it may be older than the segments, and never ahead.
	files := make(map[string]string)
	for _, name := range []string{"data/audit/committed", "gw.yaml", "data/audit.key", "data/log.key", "data/log.key.pub"} {
		b, err := os.ReadFile(from.path(name))
		if err != nil {
			e.t.Fatal(err)
		}
		files[name] = string(b)
	}
	if err := os.CopyFS(e.log(), os.DirFS(from.log())); err != nil {
		e.t.Fatal(err)
	}
	writeFiles(e.t, e.dir, 0o600, files)
}

// move renames a file of the directory.
func (e *evidenced) move(from, to string) {
	e.t.Helper()
	if err := os.Rename(e.path(from), e.path(to)); err != nil {
		e.t.Fatal(err)
	}
}

func (e *evidenced) mkdir(name string) {
	e.t.Helper()
	if err := os.Mkdir(e.path(name), 0o700); err != nil {
		e.t.Fatal(err)
	}
}

func (e *evidenced) remove(name string) {
	e.t.Helper()
	if err := os.Remove(e.path(name)); err != nil {
		e.t.Fatal(err)
	}
}

// proves waits until evidence of a record can be made, and has it verified.
func (e *evidenced) proves(offset int) {
	e.t.Helper()
	file := filepath.Join(e.t.TempDir(), "evidence.json")
	place := fmt.Sprintf("payments/0@%d", offset)
	eventually(e.t, place+" is proven", func() bool {
		return run(e.t.Context(), []string{"audit", "prove", place, "--dir", e.log(), "-o", file}, nil, io.Discard, io.Discard) == exit.OK
	})
	guardlock(e.t, exit.OK, "audit", "verify", file, "--log-key", e.path("data/log.key.pub"))
}

// verify verifies the log, and returns what is said of it.
func (e *evidenced) verify(want int, args ...string) string {
	e.t.Helper()
	return guardlock(e.t, want, append([]string{"audit", "verify", "--dir", e.log()}, args...)...)
}

// stores has a record stored in payments/0.
func (s *served) stores(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(s.addr["main"]))
	if err != nil {
		t.Fatal(err)
	}

	defer c.Close()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "payments", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatalf("%v:\n%s", err, s.log)
	}
}

func (s *served) says(t *testing.T, what string) {
	t.Helper()
	eventually(t, "the gateway says "+what, func() bool { return strings.Contains(s.log.String(), what) })
}

// measures waits until one of the gateway's metrics is 0, or is not.
func (s *served) measures(t *testing.T, name string, zero bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("metric %s is 0: %v", name, zero), func() bool {
		_, text := told(t, s.ops+"/metrics", "", "text/plain")
		for line := range strings.Lines(text) {
			if value, is := strings.CutPrefix(strings.TrimSpace(line), name+" "); is {
				return zero == (value == "0")
			}
		}
		return false
	})
}

func (s *served) isReady(t *testing.T) {
	t.Helper()
	if code, text := told(t, s.ops+"/readyz", "", ""); code != http.StatusOK {
		t.Errorf("it is not ready: %d %s", code, text)
	}
}

func (s *served) stops(t *testing.T) {
	t.Helper()
	if code := s.stop(); code != exit.OK {
		t.Errorf("exit code %d:\n%s", code, s.log)
	}
}

// TestGatewayServesWhileItsTreeCannotBeWritten: what is stored meanwhile is in the log,
// is said to be not provable yet, and is proven once the disk is well again.
func TestGatewayServesWhileItsTreeCannotBeWritten(t *testing.T) {
	e := newEvidenced(t)
	s := e.serve()
	s.stores(t)
	e.proves(0)

	const edge = "data/audit/tree/edge"
	e.move(edge, "edge")
	e.mkdir(edge)
	s.stores(t)
	s.says(t, "no checkpoint of the decision log could be made: what is newer than the last cannot be proven")
	s.measures(t, "guardlock_evidence_lag_entries", false)
	s.measures(t, "guardlock_evidence_failures_total", false)
	s.stores(t)
	s.isReady(t)

	// The auditor has what was written last.
	auditor := e.copied()
	auditor.remove(edge)
	if err := os.Link(e.path("edge"), auditor.path(edge)); err != nil {
		t.Fatal(err)
	}
	auditor.proves(0)
	auditor.verify(exit.OK)
	saysAll(t, guardlock(t, exit.NotFound, "audit", "prove", "payments/0@1", "--dir", auditor.log(), "-o", e.path("1")), "no checkpoint speaks for it yet")

	e.remove(edge)
	e.move("edge", edge)
	s.says(t, "the decision log is committed to again")
	for offset := range 3 {
		e.proves(offset)
	}
	s.stops(t)
}

// TestGatewayServesWithADamagedOldSegmentAndSaysSo: the tree has not come so far yet.
func TestGatewayServesWithADamagedOldSegmentAndSaysSo(t *testing.T) {
	dir := logWorld(t, map[string]string{"gw.yaml": "node: gw\nunbound_topics: record\naudit: {evidence: {every: 1s}}\n"})
	log := filepath.Join(dir, "data", "audit")
	path := filepath.Join(log, "audit-00000002.wal")
	segment, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	segment[300] ^= 1
	writeFiles(t, log, 0o600, map[string]string{filepath.Base(path): string(segment)})

	s := serveConfig(t, filepath.Join(dir, "gw.yaml"), 1)
	producedAndRead(t, s.addr["main"], "v")
	s.says(t, "what is newer than the last cannot be proven")
	saysAll(t, s.log.String(), "decision log corrupt: segment 2, byte 256")
	if code := s.stop(); code != exit.Failure {
		t.Errorf("exit code %d", code)
	}
	saysAll(t, guardlock(t, exit.Refused, "audit", "verify", "--dir", log), "segment 2, byte 256")
	saysAll(t, guardlock(t, exit.Refused, "audit", "query", "--dir", log, "-t", "payments"), "segment 2, byte 256", "payments/0@0")
}

// TestServeMakesNoLogKeyInThePlaceOfALostOne: its public half is what auditors have.
func TestServeMakesNoLogKeyInThePlaceOfALostOne(t *testing.T) {
	e := newEvidenced(t)
	s := e.serve()
	s.stores(t)
	e.proves(0)
	s.stops(t)

	e.move("data/log.key", "log.key")
	saysAll(t, e.refuses(), "log.key is missing", "hint: put the key back")
	if _, err := os.Stat(e.path("data/log.key")); err == nil {
		t.Error("there is a new log key")
	}
	e.proves(0)
	e.verify(exit.OK)

	e.move("log.key", "data/log.key")
	e.serve().stops(t)
}

// witnessing begins a witness of the gateway's log, has the gateway ask it, and writes
// auditors.yaml, by which its word is needed. At an address it is begun again.
func (e *evidenced) witnessing(address string) (listens string, end func()) {
	e.t.Helper()
	args := []string{"--name", "bank.example/witness", "--state", e.path("witness"), "--log-key", e.path("data/log.key.pub")}
	said, stop := witnessOutput(e.t, address, args...)
	key := strings.TrimPrefix(said[0], "witness  ")
	url := strings.TrimPrefix(said[1], "listens  ")
	e.configure(fmt.Sprintf(", witnesses: [{url: %q, key: %q}]", url, key))

	public, err := os.ReadFile(e.path("data/log.key.pub"))
	if err != nil {
		e.t.Fatal(err)
	}
	writeFiles(e.t, e.dir, 0o600, map[string]string{
		"auditors.yaml": fmt.Sprintf("logs: [%q]\nwitnesses: {threshold: 1, keys: [%q]}\n", strings.TrimSpace(string(public)), key),
	})
	return strings.TrimPrefix(url, "http://"), func() {
		e.t.Helper()
		if code := stop(); code != exit.OK {
			e.t.Errorf("the witness ended with code %d", code)
		}
	}
}

// isWitnessed waits until the last checkpoint is cosigned: the witness is asked once that
// is there.
func (e *evidenced) isWitnessed() {
	e.t.Helper()
	eventually(e.t, "the checkpoint is cosigned", func() bool {
		var out bytes.Buffer
		code := run(e.t.Context(), []string{"audit", "verify", "--dir", e.log(), "--trust", e.path("auditors.yaml")}, nil, &out, io.Discard)
		return code == exit.OK && strings.Contains(out.String(), ", cosigned by bank.example/witness")
	})
}

const notCosigned = `guardlock_evidence_witness_lag_entries{witness="bank.example/witness"}`

// TestWitnessThatIsDownIsMissedByWhoeverAsksForItAlone: the gateway serves and says so,
// what is new proves nothing to whoever asks for the witness, and all of it is cosigned
// once the witness is back.
func TestWitnessThatIsDownIsMissedByWhoeverAsksForItAlone(t *testing.T) {
	e := newEvidenced(t)
	e.serve().stops(t)
	address, end := e.witnessing("127.0.0.1:0")
	s := e.serve()
	s.stores(t)
	e.proves(0)
	e.isWitnessed()
	s.measures(t, notCosigned, true)

	end()
	s.stores(t)
	s.says(t, "a checkpoint of the decision log is signed, but not by every witness")
	s.measures(t, notCosigned, false)
	s.isReady(t)
	e.proves(1)
	e.verify(exit.OK)
	saysAll(t, e.verify(exit.Refused, "--trust", e.path("auditors.yaml")), "too few witnesses signed it: 0 ", "hint: the gateway asks its witnesses with each checkpoint: try again")
	guardlock(t, exit.OK, "audit", "prove", "payments/0@1", "--dir", e.log(), "-o", e.path("1"))
	saysAll(t, guardlock(t, exit.Refused, "audit", "verify", e.path("1"), "--trust", e.path("auditors.yaml")), "hint: a witness was down when the file was made")

	_, end = e.witnessing(address)
	s.measures(t, notCosigned, true)
	e.isWitnessed()
	s.stops(t)
	end()
}

// TestOfTwoGatewaysWithOneLogTheSecondStops: somebody serves a copy of the directory, and
// was the first to show the witness what comes next. Both histories are kept, each signed
// by the log's key, so that either shows that the other is one.
func TestOfTwoGatewaysWithOneLogTheSecondStops(t *testing.T) {
	e := newEvidenced(t)
	e.serve().stops(t)
	_, end := e.witnessing("127.0.0.1:0")
	s := e.serve()
	s.stores(t)
	e.proves(0)
	e.isWitnessed()

	thief := e.copied()
	other := thief.serve()
	other.stores(t)
	thief.proves(1)
	other.measures(t, notCosigned, true)

	s.stores(t)
	s.says(t, "the gateway has ended")
	if code := s.stop(); code != exit.Failure {
		t.Errorf("exit code %d", code)
	}
	saysAll(t, s.log.String(), "bank.example/witness", "hint: put the log back that was written last")
	other.stops(t)
	end()

	e.verify(exit.OK)
	thief.verify(exit.OK)
	saysAll(t, e.verify(exit.Refused, "--since", thief.path("data/audit/tree/checkpoint")), "the decision log does not contain its last checkpoint")
	thief.verify(exit.Refused, "--since", e.path("data/audit/tree/checkpoint"))
}

// TestDirectoryFromABackupIsNotGoneOnWith: a copy of a checkpoint elsewhere knows of
// more, so that a new log is begun, which links to what was lost.
func TestDirectoryFromABackupIsNotGoneOnWith(t *testing.T) {
	e := newEvidenced(t)
	e.mkdir("elsewhere")
	e.configure(", copies: [elsewhere/checkpoint]")
	s := e.serve()
	s.stores(t)
	e.proves(0)
	s.stops(t)

	backup := e.copied()
	s = e.serve()
	s.stores(t)
	e.proves(1)
	s.stops(t)
	last := e.copied()

	e.putBack(backup)
	e.verify(exit.OK) // nothing in the directory itself tells
	saysAll(t, e.verify(exit.Refused, "--since", e.path("elsewhere/checkpoint")), "and the last checkpoint for ")
	saysAll(t, e.refuses(), "elsewhere/checkpoint speaks for ", " entries, and the log has ", "hint: put the log back that was written last; ", "audit adopt")

	guardlock(t, exit.OK, "audit", "adopt", "--config", e.path("gw.yaml"), "--reason", "INC-812: restored from backup", "--by", "grace")
	s = e.serve()
	s.stores(t)
	e.proves(2)
	s.stops(t)
	e.verify(exit.Refused, "--goes-on-from", e.path("data/audit.1"))
	saysAll(t, e.verify(exit.OK, "--goes-on-from", last.log()), "INC-812: restored from backup")
}

// writeJumpyLog makes a log of segments with ten batches of an hour each, a batch a
// minute, by a clock that is set from hour to hour. Each batch has four records.
func writeJumpyLog(dir string, hours []int) error {
	now := auditStart
	l, err := audit.Open(dir, audit.Options{Key: testAuditKey, Node: "gw", SegmentBytes: 4096, Now: func() time.Time { return now }})
	if err != nil {
		return err
	}
	if err := admitProven(dir, l); err != nil {
		return err
	}
	checkpoint, err := testTree(dir, l)
	if err != nil {
		return err
	}

	for i := range 10 * len(hours) {
		now = auditStart.Add(time.Duration(hours[i/10]-auditStart.Hour())*time.Hour + time.Duration(i%10)*time.Minute)
		b := testBatch(now, audit.OutcomePassed)
		b.GrantDigest = audit.Digest{9}
		b.Principal = strings.Repeat("x", 200)
		b.Add(audit.Ruling{}, 4)
		if err := appendBatch(l, b, int64(4*i)); err != nil {
			return err
		}
	}
	if err := l.Record(context.Background(), audit.ControlEntry{Kind: audit.KindConfig, Time: now, Subject: "flush", Outcome: "applied"}); err != nil {
		return err
	}
	if err := checkpoint(); err != nil {
		return err
	}
	return l.Close()
}

// TestClocksThatAreSetChangeNoEvidence: the order is that of the log. What is asked for by
// time is found by the time that it has, wherever it lies.
func TestClocksThatAreSetChangeNoEvidence(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "audit")
	hours := []int{12, 15, 11, 23, 9, 12}
	if err := writeJumpyLog(log, hours); err != nil {
		t.Fatal(err)
	}

	saysAll(t, guardlock(t, exit.OK, "audit", "verify", "--dir", log, "--without-key"), "committed to ")
	for _, hour := range []int{9, 11, 12, 13, 15, 23} {
		want := 0
		for _, h := range hours {
			if h == hour {
				want += 10
			}
		}
		out := guardlock(t, exit.OK, "audit", "query", "--dir", log, "--by-batch", "--json", "-t", "payments",
			"--from", fmt.Sprintf("2030-01-15T%02d:00:00Z", hour), "--to", fmt.Sprintf("2030-01-15T%02d:59:59Z", hour))
		if got := strings.Count(out, `"payments"`); got != want {
			t.Errorf("of hour %d there are %d batches, want %d", hour, got, want)
		}
	}

	latest := guardlock(t, exit.OK, "audit", "query", "--dir", log, "--by-batch", "-t", "payments", "--latest", "1", "--json")
	saysAll(t, latest, `"time":"2030-01-15T12:09:00Z"`)
	for _, args := range [][]string{{"payments/0@85"}, {"payments/0@130"}, {"payments/0", "--offsets", "0-239"}} {
		file := filepath.Join(t.TempDir(), "evidence.json")
		guardlock(t, exit.OK, slices.Concat([]string{"audit", "prove"}, args, []string{"--dir", log, "-o", file})...)
		guardlock(t, exit.OK, "audit", "verify", file, "--log-key", filepath.Join(dir, "log.key.pub"))
	}
}
