package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// ErrSlow is returned for a file whose disk did not answer in time. The file
// may be all right: who asks again later may get it.
var ErrSlow = errors.New("its disk does not answer")

// Reader reads files within a time. A disk that hangs (a network mount whose
// server is gone) holds up one goroutine for each name that is asked of it, and
// never who asks. It is safe for concurrent use.
type Reader struct {
	timeout time.Duration

	mu      sync.Mutex
	hanging map[string]bool // what was asked and not answered yet
}

// NewReader makes a Reader that gives up on a file once its disk has not
// answered for timeout.
func NewReader(timeout time.Duration) *Reader {
	return &Reader{timeout: timeout, hanging: map[string]bool{}}
}

// Read is the function Read, given up on after the Reader's timeout with
// ErrSlow. It returns early when ctx ends.
func (r *Reader) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	return Within(ctx, r, path, func() ([]byte, error) { return Read(path, limit) })
}

// ReadPrivate is the function ReadPrivate, given up on after the Reader's
// timeout with ErrSlow. It returns early when ctx ends.
func (r *Reader) ReadPrivate(ctx context.Context, path string) ([]byte, error) {
	return Within(ctx, r, path, func() ([]byte, error) { return ReadPrivate(path) })
}

// maxStamped bounds the files of a directory that a stamp looks at, so that a
// directory with very many does not hold up every look. What lies beyond does
// not change the stamp.
const maxStamped = 10_000

// Stamp sums up name, kind, size, time and identity of files, and of all that is
// in those that are directories: it changes when one of them does. It fails only
// when the disk does not answer; what is what the paths are together.
func (r *Reader) Stamp(ctx context.Context, what string, paths ...string) (string, error) {
	return Within(ctx, r, what, func() (string, error) {
		var b strings.Builder
		for _, path := range paths {
			stampTree(&b, path)
		}
		return b.String(), nil
	})
}

// stampTree writes what the file or directory at root looks like. Errors are
// part of that: a file that is missing differs from one that is there.
func stampTree(b *strings.Builder, root string) {
	seen := 0
	note := func(path string, _ fs.DirEntry, _ error) error {
		if seen++; seen > maxStamped {
			return fs.SkipAll
		}

		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(b, "%s missing\n", path)
			return nil
		}

		fmt.Fprintln(b, path, info.Mode(), info.Size(), info.ModTime().UnixNano(), identity(info))
		return nil
	}

	info, err := os.Stat(root)
	if err != nil || !info.IsDir() {
		note(root, nil, nil)
		return
	}

	// A link to a directory is walked as the directory: configurations are
	// mounted like that.
	if target, err := filepath.EvalSymlinks(root); err == nil {
		filepath.WalkDir(target, note)
	}
}

// Within runs do, which asks the disk about name, and returns what comes of it;
// ErrSlow if nothing did in time. The same name is not asked again before the
// disk has answered.
func Within[T any](ctx context.Context, r *Reader, name string, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}

	var none T
	if !r.begin(name) {
		return none, fmt.Errorf("%s: %w", name, ErrSlow)
	}

	answered := make(chan outcome, 1)
	go func() {
		value, err := do()
		r.end(name)
		answered <- outcome{value, err}
	}()

	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, ErrSlow)
	defer cancel()

	select {
	case o := <-answered:
		return o.value, o.err
	case <-ctx.Done():
		return none, fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
}

func (r *Reader) begin(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hanging[name] {
		return false
	}

	r.hanging[name] = true
	return true
}

func (r *Reader) end(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.hanging, name)
}
