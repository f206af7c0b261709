package server

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/internal/disk"
)

// watched is what some files hold together, read again when one of them
// changes. Files that do not parse leave the old content in force: what was
// revoked before stays revoked. Readers may call now at any time; refresh is
// for one goroutine.
type watched[T any] struct {
	reader  *disk.Reader
	files   []watchedFile
	parse   func(contents [][]byte) (*T, error) // in the order of files
	content atomic.Pointer[T]
	stamp   string
	failure string // why the files at stamp are not in force
}

// watchedFile is a file that a field of the configuration names, and by which
// errors about it begin.
type watchedFile struct {
	field, path string
	private     bool // must not be readable by others
}

// refresher is a watched of any type, as watchFiles needs it.
type refresher interface {
	refresh(ctx context.Context, again bool) (changed bool, err error)
}

// watch reads files now, and again while s serves. Errors begin with the field
// that names the file.
func watch[T any](s *Server, parse func(contents [][]byte) (*T, error), files ...watchedFile) (*watched[T], error) {
	w := &watched[T]{reader: s.reader, files: files, parse: parse}
	ctx := context.Background() // the reader ends what takes too long
	w.stamp = w.stampNow(ctx)   // before reading: what changes meanwhile is read again

	if err := w.load(ctx); err != nil {
		return nil, err
	}
	s.files = append(s.files, w)
	return w, nil
}

// single makes a parser of one file's content one of a list that holds this one
// file.
func single[T any](parse func([]byte) (*T, error)) func([][]byte) (*T, error) {
	return func(contents [][]byte) (*T, error) { return parse(contents[0]) }
}

func (w *watched[T]) now() *T { return w.content.Load() }

func (w *watched[T]) load(ctx context.Context) error {
	contents := make([][]byte, len(w.files))
	var fields, paths []string
	for i, f := range w.files {
		var err error
		if contents[i], err = f.read(ctx, w.reader); err != nil {
			return fmt.Errorf("%s: %w", f.field, err)
		}
		fields = append(fields, f.field)
		paths = append(paths, f.path)
	}

	content, err := w.parse(contents)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", strings.Join(fields, ", "), strings.Join(paths, ", "), err)
	}

	w.content.Store(content)
	return nil
}

func (f watchedFile) read(ctx context.Context, files *disk.Reader) ([]byte, error) {
	if f.private {
		return files.ReadPrivate(ctx, f.path)
	}
	return files.Read(ctx, f.path, disk.MaxBytes)
}

// refresh reads what changed, or everything if again is true, and reports whether
// there was something new, and why it is not in force. Files that failed are tried
// again: one that was half written may have got its rest without a change of size
// or time. A reason is told once.
func (w *watched[T]) refresh(ctx context.Context, again bool) (changed bool, err error) {
	stamp := w.stampNow(ctx)
	failure := w.failure
	if stamp == w.stamp && failure == "" && !again {
		return false, nil
	}

	changed = stamp != w.stamp || again
	w.stamp = stamp
	w.failure = ""

	if err = w.load(ctx); err == nil {
		return true, nil
	}
	if w.failure = err.Error(); !changed && w.failure == failure {
		return false, nil
	}

	return true, err
}

// stampNow changes when a file does. A disk that does not answer is a change of
// its own.
func (w *watched[T]) stampNow(ctx context.Context) string {
	var paths []string
	for _, f := range w.files {
		paths = append(paths, f.path)
	}

	stamp, err := w.reader.Stamp(ctx, "the files of "+w.files[0].field, paths...)
	if err != nil {
		return err.Error()
	}
	return stamp
}

// lookUntil calls look every watchEvery, and at once when somebody wakes it, until
// ctx ends. It tells look whether it was woken. A nil wake means that only time
// passes.
func lookUntil(ctx context.Context, wake <-chan struct{}, look func(woken bool)) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			look(false)
		case <-wake:
			look(true)
		}
	}
}

// watchFiles reads users, keys, passwords and certificates again until ctx ends.
// What is connected stays connected; new connections see the new content.
func (s *Server) watchFiles(ctx context.Context) {
	lookUntil(ctx, nil, func(bool) {
		again := s.filesAgain.Swap(false)
		for _, f := range s.files {
			switch changed, err := f.refresh(ctx, again); {
			case ctx.Err() != nil:
				return
			case err != nil:
				s.log.Error("reading a changed file failed; the old content stays in force", zap.Error(err))
			case changed:
				s.log.Info("read a changed file of users, keys, passwords or certificates")
			}
		}
	})
}
