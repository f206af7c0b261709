package audit_test

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/segment"
)

// small makes segments end often, so that the lock moves from one to the next.
var small = audit.Options{SegmentBytes: audit.MinSegmentBytes}

func removeLock(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// holdsAll demands that a directory is intact and has each batch.
func holdsAll(t *testing.T, dir string, seqs []uint64) {
	t.Helper()
	if report, err := keyed(dir); err != nil || !report.Proven {
		t.Fatalf("verifying: proven %v, %v", report.Proven, err)
	}

	r, err := query.Open(dir)
	if err != nil {
		t.Fatal(err)
	}

	defer r.Close()
	found := map[uint64]bool{}
	for _, d := range collect(t, r, query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true}) {
		found[d.Batch.Seq] = true
	}

	for _, seq := range seqs {
		if !found[seq] {
			t.Errorf("batch %d was acknowledged and is lost", seq)
		}
	}
}

// Without the lock's file a second gateway still finds the first at work, at any
// moment, and the first goes on.
func TestSecondGatewayFindsTheFirstWithoutItsLock(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, dir, small)
	done := make(chan struct{})
	var tries int
	go func() {
		defer close(done)
		for tries = 0; tries < 3; tries++ {
			removeLock(t, dir)
			o := small
			o.Key = testKey

			second, err := audit.Open(dir, o)
			if !errors.Is(err, audit.ErrLocked) {
				t.Errorf("try %d: the second got %v, want ErrLocked", tries, err)
			}
			if err == nil {
				second.Close()
			}
		}
	}()

	var acknowledged []uint64
	for running := true; running; {
		acknowledged = append(acknowledged, mustAppend(t, first, batchOf("cards", 0, 50), nil))
		select {
		case <-done:
			running = false
		default:
		}
	}

	mustClose(t, first)
	holdsAll(t, dir, acknowledged)
}

// The same between processes: what one acknowledged is there when it is killed.
func TestSecondProcessFindsTheFirstWithoutItsLock(t *testing.T) {
	dir := t.TempDir()
	cmd, in := startChild(t, dir)
	line := make([]byte, 12)
	var acknowledged []uint64
	for i := range 200 {
		if _, err := io.ReadFull(in, line); err != nil {
			t.Fatal(err)
		}
		acknowledged = append(acknowledged, binary.BigEndian.Uint64(line))
		if i == 100 {
			removeLock(t, dir)
			if _, err := audit.Open(dir, audit.Options{Key: testKey}); !errors.Is(err, audit.ErrLocked) {
				t.Errorf("got %v, want ErrLocked", err)
			}
		}
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	mustClose(t, mustOpen(t, dir, audit.Options{}))
	holdsAll(t, dir, acknowledged)
}

// Where files were taken away or replaced, so that no lock helps, the gateway
// whose files they were acknowledges nothing more.
func TestGatewayWhoseFilesWereTakenStops(t *testing.T) {
	last := segment.Name(1)
	for name, take := range map[string]func(t *testing.T, dir string) error{
		"segment removed": func(_ *testing.T, dir string) error { return os.Remove(filepath.Join(dir, last)) },
		"directory moved away": func(_ *testing.T, dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700))
		},
		"mark moved on by another": func(_ *testing.T, dir string) error {
			path := filepath.Join(dir, "committed")
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(make([]byte, 1024), 0)
			return errors.Join(err, f.Close())
		},
	} {
		dir := filepath.Join(t.TempDir(), "log")
		l := mustOpen(t, dir, audit.Options{})
		mustAppend(t, l, batchOf("cards", 0, 10), nil)

		if err := take(t, dir); err != nil {
			t.Fatal(err)
		}

		ticket := l.Append(batchOf("cards", 0, 10), nil)
		if err := ticket.Wait(t.Context()); !errors.Is(err, audit.ErrTakenOver) || !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrTakenOver", name, err)
		}
		if err := l.Append(batchOf("cards", 0, 10), nil).Wait(t.Context()); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("%s: afterwards: %v", name, err)
		}
	}
}

// A second gateway that runs on a copy of the segment, in the place of the one
// that the first has locked: the first stops, and nothing that either acknowledged
// is lost.
func TestSecondGatewayOnACopyOfTheSegmentStopsTheFirst(t *testing.T) {
	dir := t.TempDir()
	first := mustOpen(t, dir, audit.Options{})
	before := mustAppend(t, first, batchOf("cards", 0, 10), nil)

	removeLock(t, dir)
	path := filepath.Join(dir, segment.Name(1))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path+".copy", raw, 0o600), os.Rename(path+".copy", path)); err != nil {
		t.Fatal(err)
	}

	second := mustOpen(t, dir, audit.Options{})
	ticket := first.Append(batchOf("cards", 0, 10), nil)
	if err := ticket.Wait(t.Context()); !errors.Is(err, audit.ErrTakenOver) {
		t.Errorf("the first got %v, want ErrTakenOver", err)
	}

	after := mustAppend(t, second, batchOf("cards", 0, 10), nil)
	mustClose(t, second)
	holdsAll(t, dir, []uint64{before, after})
}
