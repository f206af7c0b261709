package disk

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Tree is a directory as a file system of regular files and directories. Files
// are opened as Read opens them, but not bounded: that is for who reads them.
func Tree(dir string) fs.FS { return tree(dir) }

type tree string

// Open implements fs.FS. It refuses names that lead out of the tree, and
// whatever is neither a file nor a directory.
func (t tree) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}

	path := filepath.Join(string(t), filepath.FromSlash(name))
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return os.Open(path)
	}

	return open(path)
}
