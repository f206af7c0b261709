package server

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/disk"
)

func TestFileThatFailedIsTriedAgainAndToldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	var failure error
	w, err := watch(&Server{reader: disk.NewReader(time.Minute)}, single(func(raw []byte) (*string, error) {
		content := string(raw)
		return &content, failure
	}), watchedFile{field: "users", path: path})
	if err != nil {
		t.Fatal(err)
	}

	failure = errors.New("half of it")
	if err := os.WriteFile(path, []byte("longer"), 0o600); err != nil {
		t.Fatal(err)
	}

	for i, want := range []bool{true, false} {
		if changed, err := w.refresh(t.Context(), false); changed != want || (err != nil) != want || *w.now() != "x" {
			t.Fatalf("try %d: changed %t, %v, %q in force", i, changed, err, *w.now())
		}
	}

	failure = nil // its rest came without a change of size or time
	if changed, err := w.refresh(t.Context(), false); !changed || err != nil || *w.now() != "longer" {
		t.Fatalf("changed %t, %v, %q in force", changed, err, *w.now())
	}
	if changed, err := w.refresh(t.Context(), false); changed || err != nil {
		t.Fatalf("changed %t, %v without a change", changed, err)
	}
}
