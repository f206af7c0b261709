//go:build !unix

package disk

import "io/fs"

// handedByRoot is for systems where files have owners and groups.
func handedByRoot(fs.FileInfo) bool { return false }
