package transforms

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A module of a stock toolchain imports WASI preview 1 (wasi_snapshot_preview1)
// for what its language's runtime does at the start. These are the functions
// that Go, Rust and C programs without files and sockets import. Each has to be
// granted like any other host function, and none of them reaches anything
// outside the guest: there are no arguments, no environment, no files; the clock
// is the records' time; what is written is counted and dropped; random bytes
// follow from the module. So the same module makes the same of the same records.
//
// The signatures and error numbers are those of
// github.com/WebAssembly/WASI/legacy/preview1/docs.md.
const wasiModule = "wasi_snapshot_preview1"

// WASI's error numbers.
const (
	wasiOK           = 0
	wasiBadFile      = 8
	wasiFault        = 21
	wasiInvalid      = 28
	wasiNotSupported = 58
	wasiSeek         = 70
)

// mostPieces bounds the pieces of one fd_write.
const mostPieces = 64

// wasiFunctions are the functions of WASI that a grant may hold, with the
// letters of their types.
func wasiFunctions() []hostFunction {
	return []hostFunction{
		{wasiModule, "args_get", "ii", "i", wasiNothing},
		{wasiModule, "args_sizes_get", "ii", "i", wasiNone},
		{wasiModule, "clock_res_get", "ii", "i", wasiClockResolution},
		{wasiModule, "clock_time_get", "iIi", "i", wasiClock},
		{wasiModule, "environ_get", "ii", "i", wasiNothing},
		{wasiModule, "environ_sizes_get", "ii", "i", wasiNone},
		{wasiModule, "fd_close", "i", "i", wasiFile(wasiNotSupported)},
		{wasiModule, "fd_fdstat_get", "ii", "i", wasiFileKind},
		{wasiModule, "fd_fdstat_set_flags", "ii", "i", wasiFile(wasiOK)},
		{wasiModule, "fd_prestat_dir_name", "iii", "i", wasiFails(wasiBadFile)},
		{wasiModule, "fd_prestat_get", "ii", "i", wasiFails(wasiBadFile)},
		{wasiModule, "fd_read", "iiii", "i", wasiRead},
		{wasiModule, "fd_seek", "iIii", "i", wasiFile(wasiSeek)},
		{wasiModule, "fd_write", "iiii", "i", wasiWrite},
		{wasiModule, "poll_oneoff", "iiii", "i", wasiFails(wasiNotSupported)},
		{wasiModule, "proc_exit", "i", "", wasiExit},
		{wasiModule, "random_get", "ii", "i", wasiRandom},
		{wasiModule, "sched_yield", "", "i", wasiNothing},
	}
}

func wasiNothing(*instance, []uint64) int32 { return wasiOK }

func wasiFails(code int32) func(*instance, []uint64) int32 {
	return func(*instance, []uint64) int32 { return code }
}

// wasiFile answers code for the files that there are, which are the three that
// every program has.
func wasiFile(code int32) func(*instance, []uint64) int32 {
	return func(_ *instance, a []uint64) int32 {
		if uint32(a[0]) > 2 {
			return wasiBadFile
		}
		return code
	}
}

// wasiNone is how many arguments or variables there are, and their size.
func wasiNone(i *instance, a []uint64) int32 {
	if !i.mem.WriteUint32Le(uint32(a[0]), 0) || !i.mem.WriteUint32Le(uint32(a[1]), 0) {
		return wasiFault
	}
	return wasiOK
}

// The clocks of WASI.
const (
	wasiRealtime  = 0
	wasiMonotonic = 1
	lastWasiClock = 3 // processor time of the process and of the thread
)

func wasiClockResolution(i *instance, a []uint64) int32 {
	if uint32(a[0]) > lastWasiClock {
		return wasiInvalid
	}
	if !i.mem.WriteUint64Le(uint32(a[1]), uint64(time.Millisecond)) {
		return wasiFault
	}
	return wasiOK
}

// wasiClock is clock_time_get(id, precision, out). The time of day is that of the
// first record of the call, in nanoseconds, and 0 while the module starts. The
// other clocks count how often they were asked, by the microsecond, since
// runtimes want time to pass.
func wasiClock(i *instance, a []uint64) int32 {
	now := uint64(0)
	switch id := uint32(a[0]); {
	case id == wasiRealtime:
		now = uint64(i.chunk.time() * int64(time.Millisecond))
	case id <= lastWasiClock:
		i.ticks++
		now = i.ticks * uint64(time.Microsecond)
	default:
		return wasiInvalid
	}

	if !i.mem.WriteUint64Le(uint32(a[2]), now) {
		return wasiFault
	}
	return wasiOK
}

// time is when the first record of the call was produced, in milliseconds since
// 1970; 0 outside a call.
func (c *chunk) time() int64 {
	if len(c.current) == 0 {
		return 0
	}
	return c.batch.Records[c.current[0]].Timestamp
}

// wasiFileKind is fd_fdstat_get: a character device that can be written and not
// sought.
func wasiFileKind(i *instance, a []uint64) int32 {
	const (
		size      = 24
		character = 2
		mayWrite  = 1 << 6
	)
	if uint32(a[0]) > 2 {
		return wasiBadFile
	}

	var stat [size]byte
	stat[0] = character
	binary.LittleEndian.PutUint64(stat[8:], mayWrite)
	if !i.mem.Write(uint32(a[1]), stat[:]) {
		return wasiFault
	}
	return wasiOK
}

// wasiRead finds the end of what there is to read.
func wasiRead(i *instance, a []uint64) int32 {
	if uint32(a[0]) != 0 {
		return wasiBadFile
	}
	if !i.mem.WriteUint32Le(uint32(a[3]), 0) {
		return wasiFault
	}
	return wasiOK
}

// wasiWrite is fd_write(file, pieces, count, written). The text goes nowhere in a
// gateway, since it could be a record's: that there was some is an event of the
// log, as often as those of guardlock_log.
func wasiWrite(i *instance, a []uint64) int32 {
	if file := uint32(a[0]); file != 1 && file != 2 {
		return wasiBadFile
	}
	if uint32(a[2]) > mostPieces {
		return wasiInvalid
	}

	written := uint32(0)
	for n := range uint32(a[2]) {
		piece, ok := i.input(a[1]+8*uint64(n), 8)
		if !ok {
			return wasiFault
		}
		length := binary.LittleEndian.Uint32(piece[4:])
		// All pieces together count as the input of one call.
		if written+length > maxHostBytes || length > maxHostBytes {
			return wasiInvalid
		}
		text, ok := i.input(uint64(binary.LittleEndian.Uint32(piece)), uint64(length))
		if !ok {
			return wasiFault
		}
		if output := i.module.code.runtime.config.Output; output != nil {
			output(text)
		}
		written += length
	}

	i.module.event(LogEvent{Level: 0, Reason: "wasi.fd_write"})
	if !i.mem.WriteUint32Le(uint32(a[3]), written) {
		return wasiFault
	}
	return wasiOK
}

func wasiExit(i *instance, a []uint64) int32 {
	i.stop(fmt.Errorf("the guest ended itself with code %d", uint32(a[0])))
	return 0
}

// wasiRandom is random_get(ptr, len). The bytes follow from the module and from
// how many an instance has drawn, so that a batch can be done again; they are no
// secret, and a guest that needs one has guardlock_crypto.
func wasiRandom(i *instance, a []uint64) int32 {
	out, ok := i.input(a[0], a[1])
	if !ok {
		return wasiFault
	}
	if i.random == nil {
		i.random = rand.NewChaCha8(i.module.code.key.digest)
	}

	drawn := make([]byte, len(out))
	_, _ = i.random.Read(drawn) // never fails
	if !i.mem.Write(uint32(a[0]), drawn) {
		return wasiFault
	}
	return wasiOK
}

// ImportAdvice is what to say of an import that is no host function, behind its
// name; empty where there is nothing to say.
func ImportAdvice(name string) string {
	module, function, _ := strings.Cut(name, ".")
	switch {
	case module == wasiModule && (strings.HasPrefix(function, "path_") || strings.HasPrefix(function, "sock_")):
		return ": a module has no files and no network; leave out what opens them"
	case module == wasiModule:
		return ": of WASI preview 1 there is only what runtimes need to start"
	case strings.HasPrefix(module, "wasi"):
		return ": of WASI there is preview 1 only, as wasm32-wasip1 and GOOS=wasip1 use it"
	}
	return ""
}
