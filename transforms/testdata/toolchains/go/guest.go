// Command guest makes every value upper case with the standard library, and
// tells of what it can see of the world for the value "world".
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"
)

// frame and desc are the blocks of docs/abi.md.
type frame struct {
	size, flags, in, inCount, out uint32
	rest                          [11]uint32
}

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

// made keeps the values of a call alive until the next.
var made []string

//go:wasmexport guardlock_transform_v1
func transform(at uint32) int32 {
	f := (*frame)(unsafe.Pointer(uintptr(at)))
	in := unsafe.Slice((*desc)(unsafe.Pointer(uintptr(f.in))), f.inCount)
	out := unsafe.Slice((*desc)(unsafe.Pointer(uintptr(f.out))), f.inCount)
	made = made[:0]

	for n := range in {
		out[n] = in[n]
		value := unsafe.String((*byte)(unsafe.Pointer(uintptr(in[n].value))), in[n].valLen)
		changed := strings.ToUpper(value)
		if value == "world" {
			changed = world()
		}
		if changed == "" {
			continue
		}
		made = append(made, changed)
		out[n].value = uint32(uintptr(unsafe.Pointer(unsafe.StringData(changed))))
		out[n].valLen = uint32(len(changed))
	}

	return int32(f.inCount)
}

func world() string {
	fmt.Println("what a guest prints")
	return fmt.Sprintf("args %d, env %d, time %d", len(os.Args), len(os.Environ()), time.Now().UnixMilli())
}

func main() {}
