package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

// Input is what a person named on the command line, open: a file, or a pipe, which is
// waited for until the context ends that it was opened under. One reads it at a time.
type Input struct {
	io.Reader
	file *os.File
}

// OpenInput opens a file, or a pipe once somebody writes to it. It returns the error of
// ctx when that ends first, and ErrNotInput for a directory, a device or a socket.
func OpenInput(ctx context.Context, path string) (*Input, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := input(path, info); err != nil {
		return nil, err
	}

	file, err := Waited(ctx, func() (*os.File, error) { return os.Open(path) })
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err == nil {
		err = input(path, info) // a name may have got another file
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}

	return &Input{Interruptible(ctx, file), file}, nil
}

// ErrNotInput is returned for a directory, a device or a socket where a file or a pipe
// should be.
var ErrNotInput = errors.New("neither a file nor a pipe")

func input(path string, info fs.FileInfo) error {
	if mode := info.Mode(); mode.IsRegular() || mode.Type() == fs.ModeNamedPipe {
		return nil
	}
	return &fs.PathError{Op: "open", Path: path, Err: ErrNotInput}
}

// Stat describes the file.
func (in *Input) Stat() (fs.FileInfo, error) { return in.file.Stat() }

// Close closes the file.
func (in *Input) Close() error { return in.file.Close() }

// ReadInput reads what a person named on the command line, as OpenInput opens it.
func ReadInput(ctx context.Context, path string, limit int64) ([]byte, error) {
	in, err := OpenInput(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()

	return readAtMost(in, path, limit)
}

// ReadPrivateInput is ReadInput of a secret. Like ReadPrivate it refuses a file
// that others may read; a pipe has no others, so that any is taken.
func ReadPrivateInput(ctx context.Context, path string) ([]byte, error) {
	in, err := OpenInput(ctx, path)
	if err != nil {
		return nil, err
	}
	defer in.Close()

	return readClosedToOthers(in, path, in.Stat)
}

// Interruptible is r, reading from which ends with the error of ctx once that has ended,
// also where nothing comes: a pipe, or a person, may say nothing for ever. What a reading
// that was given up takes from r later is lost.
func Interruptible(ctx context.Context, r io.Reader) io.Reader {
	return &interruptible{ctx: ctx, from: r}
}

type interruptible struct {
	ctx  context.Context
	from io.Reader
	buf  []byte // of the reading that is under way: p is its owner's again once Read returns
}

func (i *interruptible) Read(p []byte) (int, error) {
	if cap(i.buf) < len(p) {
		i.buf = make([]byte, len(p))
	}

	buf := i.buf[:len(p)]
	n := 0
	n, err := Waited(i.ctx, func() (int, error) { return i.from.Read(buf) })
	if i.ctx.Err() != nil {
		i.buf = nil
	}
	return copy(p, buf[:n]), err
}

// Waited runs do, and returns early with the error of ctx when that ends. Do then goes on
// by itself: it must be for what cannot be broken off, in a process that is about to end.
func Waited[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}

	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}

	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()

	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
