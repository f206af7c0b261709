package transforms

import (
	"runtime"
	"time"
)

const (
	wasmPage = 64 << 10
	maxPages = 1<<16 - 1 // so that no address and length wrap around

	defaultMemoryBytes = 16 << 20
	defaultDeadline    = 50 * time.Millisecond
	defaultStackBytes  = 1 << 20
	minSecretBytes     = 16

	// What is above a chunk of the usual size takes more time and memory.
	timePerMiB      = 8         // times Deadline
	memoryPerByte   = 8         // bytes of memory for a byte of a record above a chunk
	memoryAllowance = 128 << 20 // the most that records add to MemoryBytes
	// keptGrowth is how much larger than MemoryBytes an instance may have grown
	// and still be kept for other batches.
	keptGrowth = 32 << 20
	// waitFactor is how much longer than its own time a batch waits for an
	// instance. What it waits for is others' time, and the machine's.
	waitFactor = 20
)

// Limits bounds one module. A zero field takes the safe default. Times are of a
// processor and not of the clock on the wall: a busy machine does not count.
type Limits struct {
	// MemoryBytes bounds the linear memory of one instance; default 16 MiB,
	// rounded down to whole pages of 64 KiB. A record larger than a chunk adds
	// eight times what it is larger by, 128 MiB at most.
	MemoryBytes uint32
	// Deadline bounds one call, which is one chunk of at most 256 KiB or one larger
	// record; default 50 ms. Each MiB that the call is given adds eight times as much.
	Deadline time.Duration
	// BatchDeadline bounds all of this module's work on one batch; default five
	// times Deadline. Each MiB of the batch adds to it as to a call.
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

// withDefaults fills in every limit that is not given.
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

// pages is how many pages of memory an instance starts within.
func (l Limits) pages() uint32 { return l.MemoryBytes / wasmPage }

// mostPages is what the engine lets an instance grow to that starts within pages.
func mostPages(pages uint32) uint32 {
	return uint32(min(uint64(pages)+memoryAllowance/wasmPage, maxPages))
}

// memoryFor is the memory that an instance may have for a call of size bytes.
func (l Limits) memoryFor(size int) uint64 {
	above := uint64(max(size-chunkBytes, 0))
	return uint64(l.pages())*wasmPage + min(memoryPerByte*above, memoryAllowance)
}

// perMiB is the share of rate, which is for a MiB, that size bytes have.
func perMiB(rate time.Duration, size int) time.Duration {
	return time.Duration(float64(rate) * float64(size) / (1 << 20))
}

func (l Limits) callTime(size int) time.Duration {
	return l.Deadline + perMiB(timePerMiB*l.Deadline, size)
}

func (l Limits) batchTime(size int) time.Duration {
	return l.BatchDeadline + perMiB(timePerMiB*l.Deadline, size)
}

// waitTime is how long a batch may wait for an instance, by the clock on the wall.
func (l Limits) waitTime(size int) time.Duration { return waitFactor * l.batchTime(size) }

// LargestRecord is the size of the largest record that a module of this structure
// can be given under the limits, if what it makes of the record is no larger. A
// module that keeps copies of its own takes less.
func (l Limits) LargestRecord(info Info) int {
	l = l.withDefaults()
	// The blocks of a fresh instance, then one for the record, up to an eighth larger
	// (reserveInput), and an output block of twice its size (growArena).
	eighths := uint64(9 + 16)
	fixed := uint64(info.MemoryMinPages)*wasmPage + 2*chunkRecords*descriptorSize + 2*chunkBytes + wasmPage
	if info.Pulls() {
		// The SDKs read a record into one buffer and write it in another, which
		// grows by doubling.
		eighths = 36
		fixed = uint64(info.MemoryMinPages) * wasmPage
	}

	largest := 0
	for step := 1 << 30; step > 0; step /= 2 {
		n := largest + step
		if fixed+uint64(n)/8*eighths <= l.memoryFor(n) {
			largest = n
		}
	}

	return largest
}

// outputLimit is the number of changed bytes that a batch with so many bytes of
// input may have.
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
	Name string
	Wasm []byte
	// Config is handed to guardlock_init_v1, JSON by convention. Of a module of
	// Redpanda's ABI it is a JSON object of texts, its environment variables.
	Config []byte
	// Topic is what a guest of Redpanda's ABI is told before it sees a batch: each
	// instance of one is started for a topic and sees no other.
	Topic string
	Grant Grant
	// Tables are those that guests may look up in, by name.
	Tables map[string]*Table
	// Apart runs each guest in a worker process of its own (worker.go).
	Apart bool
}
