// Package transforms runs signed WebAssembly modules over record batches.
//
// A module is hostile until shown otherwise, and even an approved one may be
// wrong, so nothing of it is trusted:
//
//   - Inspect reads its structure with our own bounded parser (package wasm)
//     before the engine sees a byte.
//   - Load refuses an import outside the grant, then rewrites the code so that
//     it pays for every loop turn and call from a small budget. When the budget
//     is spent the guest calls back into Go, which looks at the clock. Compiled
//     guest code cannot be preempted, so this is also what lets the garbage
//     collector stop the world: without it one endless loop would freeze the
//     process for good, its watchdog included.
//   - Chain.Run copies records in, calls the guest, and checks every pointer,
//     length, index and verdict that comes back.
//
// The guest ABI is docs/abi.md. The package knows neither Kafka frames nor the
// network, and does not decide who may run what: it is handed a Grant.
package transforms

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero"

	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// Info is what a module's structure tells, and ScanLimits bounds that structure.
// Rooms above need the scan's words but not its package.
type (
	Info       = wasm.Info
	ScanLimits = wasm.ScanLimits
)

// Inspect checks the structure of a module without running or compiling it. On a
// refusal, a *wasm.RefusedError, the Info holds what was read before it.
func Inspect(file []byte, limits ScanLimits) (Info, error) {
	scanned, err := wasm.Scan(file, limits)
	return scanned.Info(), err
}

// LogEvent is what a guest may say: a level and an entry of its own reason
// catalogue, never text of its own making.
type LogEvent struct {
	Module     string
	Level      int // 0 debug, 1 info, 2 warning, 3 error
	Reason     string
	Suppressed uint64 // events lost to the rate limit since the last one
}

// Config is what a Runtime needs from its owner.
type Config struct {
	// Log receives guardlock_log.log events, at most a few a second for each
	// module. It must not block and is called by many goroutines. Nil: dropped.
	Log func(LogEvent)
	// Output receives what guests write to their standard output and error (WASI's
	// fd_write). It may hold a record's bytes, so gateways leave it nil, which drops
	// the text; it is for those who develop a module.
	Output func(text []byte)
	// Scan bounds what Inspect accepts; zero fields take the defaults.
	Scan wasm.ScanLimits
	// Trial are the arguments that make this program call RunTrial, such as
	// [TrialCommand]. Without them files are compiled in this process, which an
	// approved but hostile file can then bring to its limits.
	Trial []string
	// Worker are the arguments that make this program call RunWorker, such as
	// [WorkerCommand]. Without them no module can be loaded apart.
	Worker []string

	// RecordClock makes the records' time the only one there is, also for what is
	// kept between batches. It is for tests that must come to the same on any day.
	RecordClock bool

	hostCalls func([]hostFunction) []hostFunction // in a worker: what runs instead
}

// Runtime loads modules and owns what they share: compiled code
// and the use counters of sealing keys. It is safe for concurrent use.
type Runtime struct {
	config      Config
	cache       wazero.CompilationCache
	turns       *turns
	compiling   chan struct{} // holds one token: compilation is costly, so one at a time
	code        *disk.Scratch // holds what children compiled; nil without any
	meter       func(*wasm.Binary, int) []byte
	trialBounds trialBounds
	metrics     metrics
	usages      usages

	mu       sync.Mutex
	closed   bool
	modules  map[*Module]struct{}
	codes    map[codeKey]*Code
	refusals refusedFiles
}

// New makes a Runtime. It starts no goroutine.
func New(config Config) (*Runtime, error) {
	r := &Runtime{
		config:      config,
		cache:       wazero.NewCompilationCache(),
		turns:       newTurns(),
		compiling:   make(chan struct{}, 1),
		meter:       wasm.Meter,
		trialBounds: defaultTrialBounds,
		modules:     make(map[*Module]struct{}),
		codes:       make(map[codeKey]*Code),
		refusals:    make(refusedFiles),
	}

	r.compiling <- struct{}{}
	r.openCodeDir()

	return r, nil
}

// openCodeDir makes the folder through which compiled code comes from children.
// Where there is no place for one, files are compiled once more here.
func (r *Runtime) openCodeDir() {
	if len(r.config.Trial) == 0 {
		return
	}

	code, err := disk.OpenScratch("guardlock-code-")
	if err != nil {
		return
	}

	cache, err := wazero.NewCompilationCacheWithDir(code.Dir)
	if err != nil {
		_ = code.Close()
		return
	}

	r.cache = cache
	r.code = code
}

// codeDir is where children leave compiled code; empty where there is no place.
func (r *Runtime) codeDir() string {
	if r.code == nil {
		return ""
	}
	return r.code.Dir
}

// Close closes every module, waiting for running batches until ctx ends, and
// drops the compiled code.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	modules := make([]*Module, 0, len(r.modules))
	for m := range r.modules {
		modules = append(modules, m)
	}
	r.mu.Unlock()

	var errs []error
	for _, m := range modules {
		errs = append(errs, m.Close(ctx))
	}

	if err := r.cache.Close(ctx); err != nil {
		errs = append(errs, fmt.Errorf("closing compilation cache: %w", err))
	}
	if r.code != nil {
		errs = append(errs, r.code.Close())
	}

	return errors.Join(errs...)
}

func (r *Runtime) adopt(m *Module) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return &Error{Kind: Closed, Module: m.name, Err: errRuntimeClosed}
	}
	r.modules[m] = struct{}{}
	return nil
}

func (r *Runtime) forget(m *Module) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.modules, m)
}
