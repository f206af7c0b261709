//go:build !unix

package disk

import "os"

// lockDir locks nothing here; an open handle keeps a directory from being
// removed.
func lockDir(dir string) (*os.File, error) { return os.Open(dir) }
