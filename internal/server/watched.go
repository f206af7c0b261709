package server

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/internal/disk"
)

// watched is what some files hold together, read again when one of them
// changes. Files that do not parse leave the old content in force: what was
// revoked before stays revoked. Readers may call now at any time; refresh is
// for one goroutine.
type watched[T any] struct {
	files   []watchedFile
	parse   func(contents [][]byte) (*T, error) // in the order of files
	content atomic.Pointer[T]
	stamp   string
	failure string // why the files at stamp are not in force
}

// watchedFile is a file that a field of the configuration names.
type watchedFile struct {
	field, path string
	private     bool // must not be readable by others
}

// watch reads files now, and again while s serves. Errors begin with the field.
func watch[T any](s *Server, parse func(contents [][]byte) (*T, error), files ...watchedFile) (*watched[T], error) {
	w := &watched[T]{files: files, parse: parse}
	w.stamp = w.stampNow() // before reading: what changes meanwhile is read again
	if err := w.load(); err != nil {
		return nil, err
	}
	s.files = append(s.files, w.refresh)
	return w, nil
}

// single makes a parser of one file's content one of a list.
func single[T any](parse func([]byte) (*T, error)) func([][]byte) (*T, error) {
	return func(contents [][]byte) (*T, error) { return parse(contents[0]) }
}

func (w *watched[T]) now() *T { return w.content.Load() }

func (w *watched[T]) load() error {
	contents := make([][]byte, len(w.files))
	var fields, paths []string
	for i, f := range w.files {
		var err error
		if contents[i], err = f.read(); err != nil {
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

func (f watchedFile) read() ([]byte, error) {
	if f.private {
		return disk.ReadPrivate(f.path)
	}
	return disk.Read(f.path, disk.MaxBytes)
}

// refresh reports whether there was something new, and why it is not in force.
// Files that failed are tried again: one that was half written may have got its
// rest without a change of size or time. A reason is told once.
func (w *watched[T]) refresh() (changed bool, err error) {
	stamp := w.stampNow()
	failure := w.failure
	if stamp == w.stamp && failure == "" {
		return false, nil
	}

	changed = stamp != w.stamp
	w.stamp = stamp
	w.failure = ""

	if err = w.load(); err == nil {
		return true, nil
	}
	if w.failure = err.Error(); !changed && w.failure == failure {
		return false, nil
	}

	return true, err
}

// stampNow changes when a file does.
func (w *watched[T]) stampNow() string {
	var b strings.Builder
	for _, f := range w.files {
		info, err := os.Stat(f.path)
		if err != nil {
			b.WriteString("missing\n")
			continue
		}
		fmt.Fprintln(&b, info.Size(), info.ModTime().UnixNano(), info.Mode())
	}

	return b.String()
}

// refreshFiles reads users, keys, passwords and certificates again. What is
// connected stays connected; new connections see the new content.
func (s *Server) refreshFiles() {
	for _, refresh := range s.files {
		switch changed, err := refresh(); {
		case err != nil:
			s.log.Error("reading a changed file failed; the old content stays in force", zap.Error(err))
		case changed:
			s.log.Info("read a changed file of users, keys, passwords or certificates")
		}
	}
}
