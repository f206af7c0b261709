//go:build !unix

package disk

import "os"

// lockDir takes no lock where the system has none of this kind: an open handle
// keeps a directory from being removed there, which is all that its caller
// needs.
func lockDir(dir string) (*os.File, error) { return os.Open(dir) }
