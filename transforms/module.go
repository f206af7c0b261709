package transforms

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/guardlock/guardlock/transforms/wasm"
)

const (
	unspecified = "unspecified"

	compileTimeout = 30 * time.Second
)

// Module is a loaded module and its pool of instances. It is safe for
// concurrent use; each batch has an instance to itself.
type Module struct {
	// Fixed after Load.
	name   string
	digest [32]byte
	info   Info
	routes []string
	limits Limits
	// minSlices is the work that a call must have done before its deadline
	// counts: see Limits.Deadline.
	minSlices int
	keys      []guestKey
	config    []byte
	log       func(LogEvent)
	gate      logGate
	runtime   *Runtime
	engine    wazero.Runtime
	compiled  wazero.CompiledModule

	tokens chan struct{} // one for each instance that may exist
	closed chan struct{}
	close  sync.Once

	mu   sync.Mutex
	idle []*instance
}

// Load scans, rewrites, compiles and instantiates a module, and hands it its
// configuration. The caller has verified signatures and policy.
func (r *Runtime) Load(ctx context.Context, spec Spec) (*Module, error) {
	scanned, err := wasm.Scan(spec.Wasm, r.config.Scan)
	if err != nil {
		return nil, fmt.Errorf("loading module %q: %w", spec.Name, err)
	}

	functions, err := granted(scanned.Info(), spec.Grant)
	if err != nil {
		return nil, fmt.Errorf("loading module %q: %w", spec.Name, err)
	}

	m := &Module{
		name:    spec.Name,
		digest:  sha256.Sum256(spec.Wasm),
		info:    scanned.Info(),
		routes:  slices.Clone(spec.Grant.Routes),
		limits:  spec.Grant.Limits.withDefaults(),
		config:  slices.Clone(spec.Config),
		log:     r.config.Log,
		runtime: r,
		closed:  make(chan struct{}),
	}

	m.minSlices = int(m.limits.Deadline / (wasm.FuelSlice * slowest))
	if m.keys, err = r.keys(spec.Grant.Keys); err != nil {
		return nil, fmt.Errorf("loading module %q: %w", spec.Name, err)
	}
	if err := m.checkLimits(); err != nil {
		return nil, fmt.Errorf("loading module %q: %w", spec.Name, err)
	}
	if err := m.start(ctx, scanned, functions); err != nil {
		return nil, fmt.Errorf("loading module %q: %w", spec.Name, err)
	}

	return m, nil
}

func (m *Module) checkLimits() error {
	if m.info.MemoryMinPages > m.limits.pages() {
		return fmt.Errorf("checking memory: the module needs %d pages of 64 KiB, its limit is %d", m.info.MemoryMinPages, m.limits.pages())
	}
	if len(m.routes) > 256 {
		return fmt.Errorf("checking grant: %d routes exceed the limit of 256", len(m.routes))
	}
	return nil
}

// start compiles the module and makes its first instance, so that a module that
// cannot start is refused here and not under its first batch.
func (m *Module) start(ctx context.Context, scanned *wasm.Binary, functions []hostFunction) (err error) {
	m.engine = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().
		WithCompilationCache(m.runtime.cache).
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(m.limits.pages()).
		WithDebugInfoEnabled(false).
		WithCloseOnContextDone(false))

	defer func() {
		if err != nil {
			err = errors.Join(err, m.engine.Close(context.WithoutCancel(ctx)))
		}
	}()

	if err := m.compile(ctx, scanned); err != nil {
		return err
	}
	if err := instantiateHost(ctx, m.engine, functions); err != nil {
		return err
	}

	m.tokens = make(chan struct{}, m.limits.Instances)
	for range m.limits.Instances {
		m.tokens <- struct{}{}
	}

	first, err := m.newInstance(ctx)
	if err != nil {
		return err
	}

	m.idle = append(m.idle, first)
	return m.runtime.adopt(m)
}

func (m *Module) compile(ctx context.Context, scanned *wasm.Binary) (err error) {
	select {
	case <-m.runtime.compiling:
	case <-ctx.Done():
		return fmt.Errorf("compiling: %w", ctx.Err())
	}

	defer func() {
		m.runtime.compiling <- struct{}{}
		if r := recover(); r != nil { // a fault of the engine must not end the gateway
			err = fmt.Errorf("compiling: the engine failed: %v", r)
		}
	}()

	ctx, cancel := context.WithTimeout(ctx, compileTimeout)
	defer cancel()
	// With two workers the engine looks at ctx between functions.
	compiled, err := m.engine.CompileModule(experimental.WithCompilationWorkers(ctx, 2), m.runtime.meter(scanned, m.limits.StackBytes))
	if err != nil {
		return fmt.Errorf("compiling: %w", trapText(err))
	}

	m.compiled = compiled
	return nil
}

// Name is the name the module was loaded under.
func (m *Module) Name() string { return m.name }

// Digest is the SHA-256 of the module as it was signed.
func (m *Module) Digest() [32]byte { return m.digest }

// Info is what the scan found.
func (m *Module) Info() Info { return m.info }

// Reasons is the module's catalogue: Record.Reason is an index into it, and
// entry 0 is "unspecified".
func (m *Module) Reasons() []string { return append([]string{unspecified}, m.info.Reasons...) }

// Routes are the topics that Record.Route is an index into.
func (m *Module) Routes() []string { return slices.Clone(m.routes) }

func (m *Module) reason(i uint32) string {
	if i == 0 {
		return unspecified
	}
	return m.info.Reasons[i-1]
}

// acquire takes an instance out of the pool, or makes one. It waits until one
// is free, the deadline passes or ctx ends.
func (m *Module) acquire(ctx context.Context, deadline time.Time) (*instance, error) {
	select {
	case <-m.tokens:
	default:
		if err := m.wait(ctx, deadline); err != nil {
			return nil, err
		}
	}

	select {
	case <-m.closed:
		m.tokens <- struct{}{}
		return nil, &Error{Closed, m.name, errModuleClosed}
	default:
	}

	m.mu.Lock()
	var i *instance
	if n := len(m.idle); n > 0 {
		i = m.idle[n-1]
		m.idle = m.idle[:n-1]
	}
	m.mu.Unlock()

	if i != nil {
		return i, nil
	}
	i, err := m.newInstance(ctx)
	if err != nil {
		m.tokens <- struct{}{}
		return nil, err
	}

	return i, nil
}

func (m *Module) wait(ctx context.Context, deadline time.Time) error {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-m.tokens:
		return nil
	case <-m.closed:
		return &Error{Closed, m.name, errModuleClosed}
	case <-ctx.Done():
		return &Error{Timeout, m.name, ctx.Err()}
	case <-timer.C:
		return &Error{Timeout, m.name, errBusy}
	}
}

// release puts an instance back. One that failed is thrown away: its memory and
// its stack pointer are in an unknown state.
func (m *Module) release(ctx context.Context, i *instance, healthy bool) {
	if healthy {
		m.mu.Lock()
		m.idle = append(m.idle, i)
		m.mu.Unlock()
	} else {
		i.free(ctx)
	}
	m.tokens <- struct{}{}
}

// Close refuses new batches, waits for the running ones until ctx ends, and
// frees the module's memory. Batches end within their deadline, so that a wait
// is short.
func (m *Module) Close(ctx context.Context) error {
	var err error
	m.close.Do(func() {
		close(m.closed)
		m.runtime.forget(m)
		for range m.limits.Instances {
			select {
			case <-m.tokens:
			case <-ctx.Done():
				err = fmt.Errorf("closing module %q: waiting for its batches: %w", m.name, ctx.Err())
				return
			}
		}

		if e := m.engine.Close(ctx); e != nil {
			err = fmt.Errorf("closing module %q: %w", m.name, e)
		}
	})

	return err
}
