package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

// makeFixture is set once for each version that is released: `go test ./test/e2e -run
// OlderVersions -make v0.2` leaves what that version writes in testdata/upgrade/v0.2.
var makeFixture = flag.String("make", "", "make what this version writes a fixture, under that `name`")

const fixtures = "testdata/upgrade"

// TestWhatOlderVersionsWroteIsReadAndServedUpon takes the directory of a gateway as each
// released version left it: configuration, trust root, module, signature and approval,
// keys, decision log, tree over it, and what the embedded broker stored.
func TestWhatOlderVersionsWroteIsReadAndServedUpon(t *testing.T) {
	if *makeFixture != "" {
		writeFixture(t, filepath.Join(fixtures, *makeFixture))
	}

	versions := must(filepath.Glob(filepath.Join(fixtures, "v*")))(t)
	if len(versions) == 0 {
		t.Fatal("no version is kept")
	}
	for _, from := range versions {
		t.Run(filepath.Base(from), func(t *testing.T) { upgrade(t, from) })
	}
}

// The fixture's records: what of them is stored, and how many batches were refused.
var (
	fixtureSent   = []string{"a", "m", "x"}
	fixtureStored = []string{"a", "M"}
)

// fixtureLasts is how long the fixture's approval lasts. Then the module is refused.
const fixtureLasts = 300 * 24 * time.Hour

// writeFixture runs this version, and keeps what it leaves.
func writeFixture(t *testing.T, to string) {
	t.Helper()
	m := judgeModule("in")
	m.lasts = fixtureLasts
	d := deploy(t, plan{modules: []module{m}, bindings: map[string]string{"in": "judge", "plain": ""}})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation())
	mustSend(t, c, "plain", 0, "1")
	for _, value := range fixtureSent {
		send(t, c, "in", 0, value)
	}
	gateway.terminate()

	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(d.dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gateway.log", "data/broker/lock", "data/broker/socket"} {
		if err := os.Remove(filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}

	for _, path := range must(filepath.Glob(filepath.Join(to, segments)))(t) {
		raw := must(os.ReadFile(path))(t)
		if err := os.WriteFile(path, bytes.TrimRight(raw, "\x00"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Segments are laid out at their full size in advance. The zeros at their ends are not
// kept in a fixture, and are there again before it is used.
const (
	segments    = "data/audit/audit-*.wal"
	segmentSize = 64 << 20
)

// unpack puts a fixture where a gateway can run on it, at an address that is free.
func unpack(t *testing.T, from string) *deployment {
	t.Helper()
	d := &deployment{t: t, dir: t.TempDir(), address: fmt.Sprintf("127.0.0.1:%d", freePorts(t, 5))}
	if err := os.CopyFS(d.dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600) // git keeps no modes
	})
	if err != nil {
		t.Fatal(err)
	}

	for _, path := range must(filepath.Glob(filepath.Join(d.dir, segments)))(t) {
		if err := os.Truncate(path, segmentSize); err != nil {
			t.Fatal(err)
		}
	}

	d.config = filepath.Join(d.dir, "guardlock.yaml")
	text := string(must(os.ReadFile(d.config))(t))
	d.write("guardlock.yaml", []byte(regexp.MustCompile(`address: \S+`).ReplaceAllString(text, "address: "+d.address)))
	return d
}

func upgrade(t *testing.T, from string) {
	d := unpack(t, from)
	key := filepath.Join(d.dir, "data", "audit.key")
	verify := func(when string) {
		t.Helper()
		if out, code := guardlock(t, "audit", "verify", "--dir", d.audit(), "--audit-key", key); code != 0 {
			t.Errorf("%s verify exits with %d:\n%s", when, code, out)
		}
	}

	if out, code := guardlock(t, "check", d.config); code != 0 {
		t.Errorf("check exits with %d:\n%s", code, out)
	}
	verify("as it was left,")
	before := decisions(t, d.audit(), query.Filter{Topics: []string{"in"}})
	if len(before) != len(fixtureSent) {
		t.Errorf("the log has %d decisions, want %d", len(before), len(fixtureSent))
	}

	gateway := serve(t, d)
	for i, want := range fixtureStored {
		if got := readAll(t, d.address, "in", 0); len(got) < len(fixtureStored) || got[i].value != want {
			t.Errorf("the topic holds %v", got)
		}
	}

	// The approval ends one day: then the gateway must still say so, and go on with its log.
	c := client(t, d.address)
	mustSend(t, c, "plain", 0, "2")
	err := send(t, c, "in", 0, "a")[0]
	gateway.terminate()
	after := decisions(t, d.audit(), query.Filter{Topics: []string{"in"}})
	if len(after) <= len(before) {
		t.Errorf("the log does not go on: %d decisions, and then %d (the producer was told %v)", len(before), len(after), err)
	}
	if err != nil && !strings.Contains(fmt.Sprint(after[len(after)-1].Batch.Reason), "expired") {
		t.Errorf("a record is refused: %v, %s", err, after[len(after)-1].Batch.Reason)
	}
	if starts := decisions(t, d.audit(), query.Filter{Kinds: []audit.Kind{audit.KindStart}}); len(starts) != 2 {
		t.Errorf("the log has %d starts, want both", len(starts))
	}
	verify("afterwards")
}
