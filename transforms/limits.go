package transforms

import (
	"runtime"
	"time"
)

const (
	wasmPage = 64 << 10

	defaultMemoryBytes = 16 << 20
	defaultDeadline    = 50 * time.Millisecond
	defaultStackBytes  = 1 << 20
	minSecretBytes     = 16

	// slowest is the time for an instruction above which a guest counts as
	// waiting for a processor and not as running.
	slowest = time.Nanosecond
)

// Limits bounds one module. A zero field takes the safe default.
type Limits struct {
	// MemoryBytes bounds the linear memory of one instance; default 16 MiB,
	// rounded down to whole pages of 64 KiB.
	MemoryBytes uint32
	// Deadline bounds one call, which is one chunk of at most 256 KiB; default
	// 50 ms of wall time. A guest that ran less than one instruction a nanosecond
	// of it was kept from running by a busy machine, and goes on until
	// BatchDeadline.
	Deadline time.Duration
	// BatchDeadline bounds all of this module's work on one batch, the wait for
	// a free instance included; default five times Deadline.
	BatchDeadline time.Duration
	// OutputBytes bounds the changed bytes of one batch; default four times the
	// bytes given to the module plus 64 KiB.
	OutputBytes int
	// Instances bounds the instances, and so the batches at work at one time;
	// default GOMAXPROCS.
	Instances int
	// StackBytes bounds the guest's call stack, by an estimate of the frames'
	// sizes; default 1 MiB.
	StackBytes int
}

func (l Limits) withDefaults() Limits {
	if l.MemoryBytes == 0 {
		l.MemoryBytes = defaultMemoryBytes
	}
	if l.Deadline <= 0 {
		l.Deadline = defaultDeadline
	}
	if l.BatchDeadline <= 0 {
		l.BatchDeadline = 5 * l.Deadline
	}
	if l.Instances <= 0 {
		l.Instances = runtime.GOMAXPROCS(0)
	}
	if l.StackBytes <= 0 {
		l.StackBytes = defaultStackBytes
	}

	return l
}

func (l Limits) pages() uint32 { return l.MemoryBytes / wasmPage }

// outputLimit is the number of changed bytes allowed for input bytes.
func (l Limits) outputLimit(input int) int {
	if l.OutputBytes > 0 {
		return l.OutputBytes
	}
	return 4*input + 64<<10
}

// Key is a secret that host functions use for a guest. The guest names it by
// its index in Grant.Keys and never sees it.
type Key struct {
	Name   string
	Secret []byte
}

// Grant is everything a module may do. What it does not hold is refused.
type Grant struct {
	HostFunctions []string // such as "guardlock_crypto.sha256"
	Keys          []Key
	Routes        []string // topics that the module may send records to
	Limits        Limits
}

// Spec is a module to load. Signatures and approvals were checked by the caller.
type Spec struct {
	Name   string
	Wasm   []byte
	Config []byte // handed to guardlock_init_v1; JSON by convention
	Grant  Grant
}
