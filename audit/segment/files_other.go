//go:build unix && !linux

package segment

import "os"

// datasync uses File.Sync, which is F_FULLFSYNC where fsync alone does not
// reach the medium.
func datasync(f *os.File) error { return f.Sync() }

func reserve(*os.File, int64) error { return nil }

func renameNew(from, to string) error { return renameChecked(from, to) }
