//go:build !linux

package transforms

// reserve takes the memory of the Go heap.
func reserve(size uint64) ([]byte, func()) { return make([]byte, size), func() {} }
