// Command guest makes every value upper case. The toolchain's runtime imports
// WASI, which the gateway does not have: the file scans and is refused.
package main

import "unsafe"

type desc struct {
	flags, source uint32
	timestamp     uint64
	key, keyLen   uint32
	value, valLen uint32
	rest          [4]uint32
}

//go:wasmexport guardlock_alloc
func alloc(size, align uint32) uint32 {
	b := make([]byte, size+align)
	kept = append(kept, b)
	return (uint32(uintptr(unsafe.Pointer(&b[0]))) + align - 1) &^ (align - 1)
}

var kept [][]byte

//go:wasmexport guardlock_transform_v1
func transform(frame uint32) int32 { return int32(frame) }

func main() {}
