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
// outside the guest: there are no files; arguments and environment are empty, but for
// what Redpanda's ABI has there; the clock is the records' time; what is written is counted and dropped; random bytes
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
		{wasiModule, "args_get", "ii", "i", wasiTexts(arguments)},
		{wasiModule, "args_sizes_get", "ii", "i", wasiSizes(arguments)},
		{wasiModule, "clock_res_get", "ii", "i", wasiClockResolution},
		{wasiModule, "clock_time_get", "iIi", "i", wasiClock},
		{wasiModule, "environ_get", "ii", "i", wasiTexts(environment)},
		{wasiModule, "environ_sizes_get", "ii", "i", wasiSizes(environment)},
		{wasiModule, "fd_close", "i", "i", wasiFile(wasiNotSupported)},
		{wasiModule, "fd_fdstat_get", "ii", "i", wasiFileKind},
		{wasiModule, "fd_fdstat_set_flags", "ii", "i", wasiFile(wasiOK)},
		{wasiModule, "fd_prestat_dir_name", "iii", "i", wasiFails(wasiBadFile)},
		{wasiModule, "fd_prestat_get", "ii", "i", wasiFails(wasiBadFile)},
		{wasiModule, "fd_read", "iiii", "i", wasiRead},
		{wasiModule, "fd_seek", "iIii", "i", wasiFile(wasiSeek)},
		{wasiModule, "fd_write", "iiii", "i", wasiWrite},
		{wasiModule, "poll_oneoff", "iiii", "i", wasiPoll},
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

// arguments are the name of the program, where the ABI asks for one.
func arguments(i *instance) []string {
	if i.pull == nil {
		return nil
	}
	return []string{i.module.name}
}

func environment(i *instance) []string { return i.environment }

// wasiSizes is args_sizes_get and environ_sizes_get(count, bytes).
func wasiSizes(list func(*instance) []string) func(*instance, []uint64) int32 {
	return func(i *instance, a []uint64) int32 {
		size := 0
		for _, text := range list(i) {
			size += len(text) + 1
		}

		if !i.mem.WriteUint32Le(uint32(a[0]), uint32(len(list(i)))) || !i.mem.WriteUint32Le(uint32(a[1]), uint32(size)) {
			return wasiFault
		}
		return wasiOK
	}
}

// wasiTexts is args_get and environ_get(pointers, texts): each text ends with a zero.
func wasiTexts(list func(*instance) []string) func(*instance, []uint64) int32 {
	return func(i *instance, a []uint64) int32 {
		at := uint32(a[1])
		for n, text := range list(i) {
			if !i.mem.WriteUint32Le(uint32(a[0])+4*uint32(n), at) || !i.mem.Write(at, append([]byte(text), 0)) {
				return wasiFault
			}
			at += uint32(len(text)) + 1
		}

		return wasiOK
	}
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
// first record of the call, or of the one that was fetched last, in nanoseconds, and 0
// while the module starts. The other clocks count how often they were asked, by the
// microsecond, since runtimes want time to pass.
func wasiClock(i *instance, a []uint64) int32 {
	now := uint64(0)
	switch id := uint32(a[0]); {
	case id == wasiRealtime:
		now = uint64(i.recordTime() * int64(time.Millisecond))
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

// recordTime is when the record at hand was produced, in milliseconds since 1970; 0
// where there is none.
func (i *instance) recordTime() int64 {
	switch c := &i.chunk; {
	case len(c.current) == 0:
		return 0
	case i.pull != nil:
		return c.record(max(i.pull.read, 1) - 1).Timestamp
	default:
		return c.record(0).Timestamp
	}
}

// wasiPoll is poll_oneoff(subscriptions, events, count, happened). All that can be
// waited for is time, which passes at once: a guest that sleeps finds its clock later.
// Files are never ready.
func wasiPoll(i *instance, a []uint64) int32 {
	const (
		subscription = 48
		event        = 32
		absolute     = 1
	)
	if uint32(a[2]) == 0 || uint32(a[2]) > mostPieces {
		return wasiInvalid
	}

	for n := range uint64(uint32(a[2])) {
		wanted, ok := i.input(a[0]+subscription*n, subscription)
		if !ok {
			return wasiFault
		}

		var happened [event]byte
		copy(happened[:8], wanted[:8]) // what the guest knows it by
		kind := wanted[8]
		happened[10] = kind
		if kind != 0 {
			binary.LittleEndian.PutUint16(happened[8:], wasiNotSupported)
		} else if clock := binary.LittleEndian.Uint32(wanted[16:]); clock != wasiRealtime {
			i.sleep(binary.LittleEndian.Uint64(wanted[24:]), wanted[40]&absolute != 0)
		}
		if !i.mem.Write(uint32(a[1]+event*n), happened[:]) {
			return wasiFault
		}
	}

	if !i.mem.WriteUint32Le(uint32(a[3]), uint32(a[2])) {
		return wasiFault
	}
	return wasiOK
}

// sleep makes the guest's clock show a time, in nanoseconds, that may be one from now.
func (i *instance) sleep(nanoseconds uint64, absolute bool) {
	ticks := nanoseconds/uint64(time.Microsecond) + 1
	if absolute {
		i.ticks = max(i.ticks, ticks)
	} else {
		i.ticks += ticks
	}
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
	case strings.HasPrefix(module, "redpanda_"):
		return ": of Redpanda's ABI there are redpanda_transform, versions 1 and 2, and redpanda_schema_registry"
	}
	return ""
}
