package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrNotRegular is returned for a FIFO, a socket, a device or a directory where
// a file should be. Reading one could wait for ever, or have an effect.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLarge is returned for a file with more bytes than its limit. No more
// than the limit was read of it.
var ErrTooLarge = errors.New("too large")

// Read reads a regular file of at most limit bytes. Symbolic links are
// followed, since configurations are mounted through them. It returns
// ErrNotRegular or ErrTooLarge, wrapped with the path.
func Read(path string, limit int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	return readAtMost(f, path, limit)
}

// Beside lists the files beside one whose names begin with its own and a dot, and end in
// suffix, by name. Where there is no directory, there are none.
func Beside(path, suffix string) (all []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking beside %s: %w", path, err)
	}

	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(path)+".") && strings.HasSuffix(e.Name(), suffix) {
			all = append(all, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return all, nil
}

// ReadPrivate reads a regular file that holds a key, a password or users, and
// refuses one that others may read: they may have.
func ReadPrivate(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	return readClosedToOthers(f, path, f.Stat)
}

// open opens a regular file without waiting for it. The kind is looked at twice:
// opening a device may have an effect, and a name may have got another file.
func open(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, notRegular(path)
	}

	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}

	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notRegular(path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}

	return f, nil
}

func notRegular(path string) error { return &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular} }

func readAtMost(r io.Reader, path string, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes: %w", path, limit, ErrTooLarge)
	}

	return content, nil
}

func readClosedToOthers(r io.Reader, path string, stat func() (fs.FileInfo, error)) ([]byte, error) {
	info, err := stat()
	if err != nil {
		return nil, err
	}

	if mode := info.Mode(); mode.IsRegular() && mode.Perm()&0o077 != 0 && !handedByRoot(info) {
		return nil, fmt.Errorf("%s may be read by others (mode %04o); run: chmod 600 %s", path, mode.Perm(), path)
	}
	return readAtMost(r, path, MaxBytes)
}
