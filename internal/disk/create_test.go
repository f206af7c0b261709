package disk

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestOfManyWhoCreateAFileOneDoes: and nobody sees a part of it.
func TestOfManyWhoCreateAFileOneDoes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log.key")
	var made atomic.Int32
	var all sync.WaitGroup
	for i := range 32 {
		content := bytes.Repeat([]byte{byte('a' + i%26)}, 4<<10)
		all.Go(func() {
			switch err := Create(path, content, 0o600); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
			if b, err := os.ReadFile(path); err != nil || len(b) != 4<<10 || bytes.Count(b, b[:1]) != len(b) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
	all.Wait()

	if made.Load() != 1 {
		t.Errorf("%d made it", made.Load())
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v are left behind, %v", left, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestWhatCannotBeCreatedNamesTheFileThatWasAskedFor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nowhere", "file")
	if err := Create(path, nil, 0o600); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), Unfinished) {
		t.Errorf("%v", err)
	}

	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := Create(link, nil, 0o600); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), link) {
		t.Errorf("a link to nowhere: %v", err)
	}
}
