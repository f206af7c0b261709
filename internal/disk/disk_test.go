package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func put(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

func TestNoMoreIsReadThanTheLimit(t *testing.T) {
	dir := t.TempDir()
	sparse := put(t, filepath.Join(dir, "sparse"), "")
	if err := os.Truncate(sparse, 1<<40); err != nil {
		t.Fatal(err)
	}

	if _, err := Read(sparse, 1<<20); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file of a terabyte: %v", err)
	}
	if _, err := ReadPrivate(sparse); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a secret of a terabyte: %v", err)
	}

	full := put(t, filepath.Join(dir, "full"), "four")
	if got, err := Read(full, 4); err != nil || string(got) != "four" {
		t.Errorf("a file as large as its limit: %q, %v", got, err)
	}
	if _, err := Read(full, 3); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a file one byte larger: %v", err)
	}
}

func TestDirectoriesAndDevicesAreNoFiles(t *testing.T) {
	for _, path := range []string{t.TempDir(), os.DevNull} {
		if _, err := Read(path, 10); !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), path) {
			t.Errorf("reading %s: %v", path, err)
		}
		if _, err := ReadPrivate(path); !errors.Is(err, ErrNotRegular) {
			t.Errorf("reading %s as a secret: %v", path, err)
		}
	}
}

func TestLinksAreFollowed(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "v1", "a"), "content")
	if err := os.Symlink("v1", filepath.Join(dir, "now")); err != nil {
		t.Fatal(err)
	}

	if got, err := Read(filepath.Join(dir, "now", "a"), 10); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestTreeHoldsFilesAndDirectoriesOnly(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a", "b"), "content")
	if err := os.Symlink(os.DevNull, filepath.Join(dir, "device")); err != nil {
		t.Fatal(err)
	}

	tree := Tree(dir)
	if got, err := fs.ReadFile(tree, "a/b"); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := tree.Open("device"); !errors.Is(err, ErrNotRegular) {
		t.Errorf("a device: %v", err)
	}
	if _, err := tree.Open("../" + filepath.Base(dir)); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a way out: %v", err)
	}

	var names []string
	err := fs.WalkDir(tree, ".", func(name string, _ fs.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	if err != nil || !slices.Equal(names, []string{".", "a", "a/b", "device"}) {
		t.Errorf("walked %q, %v", names, err)
	}
}

func TestStampChangesWithEveryFile(t *testing.T) {
	dir := t.TempDir()
	file := put(t, filepath.Join(dir, "file"), "one")
	inside := put(t, filepath.Join(dir, "v1", "inside"), "one")

	linked := filepath.Join(dir, "linked")
	if err := os.Symlink("v1", linked); err != nil {
		t.Fatal(err)
	}

	r := NewReader(time.Minute)
	last := ""
	changed := func(what string, want bool) {
		t.Helper()
		stamp, err := r.Stamp(t.Context(), "files", file, linked, filepath.Join(dir, "missing"))
		if err != nil {
			t.Fatal(err)
		}
		if (stamp != last) != want {
			t.Errorf("%s: changed is %t", what, !want)
		}

		last = stamp
	}

	changed("at first", true)
	changed("nothing", false)

	put(t, inside, "three")
	changed("a file in a directory that is linked to", true)

	put(t, filepath.Join(dir, "v1", "more"), "")
	changed("a file more", true)

	put(t, filepath.Join(dir, "missing"), "")
	changed("a file that was missing", true)

	replaceInPlace(t, file)
	changed("another file of the same name, size and time", true)
}

// replaceInPlace gives path another file that has everything but its identity.
func replaceInPlace(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}

	other := put(t, path+".other", strings.Repeat("x", int(info.Size())))
	if err := os.Chtimes(other, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
}

// A disk that hangs costs who asks no more than the time, and one goroutine.
func TestReaderGivesUpOnADiskThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReader(2 * time.Second)
		disk := make(chan struct{})
		var asked atomic.Int32
		ask := func() (int, error) {
			return Within(t.Context(), r, "mount/file", func() (int, error) {
				asked.Add(1)
				<-disk
				return 7, nil
			})
		}

		began := time.Now()
		for range 3 {
			if _, err := ask(); !errors.Is(err, ErrSlow) || !strings.Contains(err.Error(), "mount/file") {
				t.Errorf("got %v", err)
			}
		}

		if took := time.Since(began); took != 2*time.Second || asked.Load() != 1 {
			t.Errorf("took %s, and the disk was asked %d times", took, asked.Load())
		}

		close(disk)
		synctest.Wait()
		if got, err := ask(); got != 7 || err != nil || asked.Load() != 2 {
			t.Errorf("once it answers: %d, %v", got, err)
		}
	})
}

func TestReaderStopsWaitingWhenItsCallerDoes(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()

	disk := make(chan struct{})
	defer close(disk)
	_, err := Within(ctx, NewReader(time.Hour), "file", func() (int, error) {
		<-disk
		return 0, io.EOF
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestFilesBesideOneAreThoseOfItsName(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cluster.yaml", "cluster.yaml.grace.sigstore.json", "cluster.yaml.sigstore.json", "other.yaml.grace.sigstore.json", "cluster.yaml.linus.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	path := filepath.Join(dir, "cluster.yaml")
	got, err := Beside(path, ".sigstore.json")
	if err != nil || len(got) != 2 || got[0] != path+".grace.sigstore.json" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := Beside(filepath.Join(dir, "gone", "cluster.yaml"), ".sigstore.json"); err != nil || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
