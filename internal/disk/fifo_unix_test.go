//go:build unix

package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Nobody writes to the FIFO: who waits for it waits for ever.
func TestFIFOIsRefusedAndNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := Read(path, 10); !errors.Is(err, ErrNotRegular) {
		t.Errorf("read: %v", err)
	}
	if _, err := ReadPrivate(path); !errors.Is(err, ErrNotRegular) {
		t.Errorf("read as a secret: %v", err)
	}
	if _, err := fs.ReadFile(Tree(dir), "fifo"); !errors.Is(err, ErrNotRegular) {
		t.Errorf("read in a tree: %v", err)
	}
}

// A pipe is waited for, opening it as well as reading from it, and for no longer than who
// asked wants it.
func TestInputThatSaysNothingIsGivenUpWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	opened := make(chan error)
	go func() {
		_, err := ReadInput(ctx, path, 10)
		opened <- err
	}()
	stop()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("nobody has opened the other end: %v", err)
	}

	writer, err := os.OpenFile(path, os.O_RDWR, 0) // both ends: it never ends by itself
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := writer.WriteString("word"); err != nil {
		t.Fatal(err)
	}

	ctx, stop = context.WithCancel(t.Context())
	in, err := OpenInput(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()

	b := make([]byte, 10)
	if n, err := in.Read(b); err != nil || string(b[:n]) != "word" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	stop()
	if _, err := in.Read(b); !errors.Is(err, context.Canceled) {
		t.Errorf("nothing more is written: %v", err)
	}
}

func TestPipeIsReadAndWhatIsNeitherItNorAFileIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go os.WriteFile(path, []byte("word"), 0)
	if b, err := ReadPrivateInput(t.Context(), path); err != nil || string(b) != "word" {
		t.Errorf("read %q, %v", b, err)
	}

	for _, path := range []string{t.TempDir(), os.DevNull} {
		if _, err := ReadInput(t.Context(), path, 10); !errors.Is(err, ErrNotInput) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
