package transforms

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// Code is one compiled file. Every Module that was made of the same file under
// the same limits of memory and stack shares it. It holds no configuration, no
// key and no memory of a guest, and is safe for concurrent use.
type Code struct {
	// Fixed by Compile.
	runtime   *Runtime
	key       codeKey
	info      Info
	functions []hostFunction // behind its imports
	file      []byte         // as it was given, for workers; nil where there are none

	// Fixed when ready is closed.
	ready    chan struct{}
	err      error
	engine   wazero.Runtime
	compiled wazero.CompiledModule

	users int // guarded by the runtime's mu
}

// codeKey is what compiled code depends on. The limits are part of the code: the
// stack's budget is a constant in it.
type codeKey struct {
	digest     [32]byte
	pages      uint32
	stackBytes int
}

func (l Limits) codeKey(digest [32]byte) codeKey {
	return codeKey{digest, l.pages(), l.StackBytes}
}

// Compile scans, rewrites and compiles a file, or finds it compiled. Of limits it
// uses those of memory and stack. The caller closes the Code; the modules that
// were loaded from it live on.
func (r *Runtime) Compile(ctx context.Context, file []byte, limits Limits) (*Code, error) {
	scanned, err := wasm.Scan(file, r.config.Scan)
	if err != nil {
		return nil, err
	}

	return r.compile(ctx, file, scanned, limits.withDefaults().codeKey(sha256.Sum256(file)))
}

// compile finds the code in the runtime, waits for another caller that compiles
// it just now, or compiles it.
func (r *Runtime) compile(ctx context.Context, file []byte, scanned *wasm.Binary, key codeKey) (*Code, error) {
	functions, err := imported(scanned.Info(), func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	if r.config.hostCalls != nil {
		functions = r.config.hostCalls(functions)
	}

	for {
		fresh := &Code{
			runtime:   r,
			key:       key,
			info:      scanned.Info(),
			functions: functions,
			ready:     make(chan struct{}),
		}

		if len(r.config.Worker) > 0 {
			fresh.file = file
		}
		c, err := r.share(fresh)
		if err != nil {
			return nil, err
		}

		if c == fresh {
			c.err = c.build(ctx, file, scanned)
			close(c.ready)
		}

		select {
		case <-c.ready:
		case <-ctx.Done():
			c.Close()
			return nil, fmt.Errorf("compiling: %w", ctx.Err())
		}

		if c.err == nil {
			return c, nil
		}

		c.Close()
		if c == fresh || !gaveUp(c.err) {
			return nil, c.err
		}
		// The other caller went away before it was done, which says nothing about the file.
	}
}

// gaveUp reports whether an error is its caller's, who went away, and not the
// file's.
func gaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// share returns the code that the runtime has of fresh's key, or makes fresh that
// code. Either way it has one user more.
func (r *Runtime) share(fresh *Code) (*Code, error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if r.closed {
		return nil, &Error{Kind: Closed, Err: errRuntimeClosed}
	}

	c := r.codes[fresh.key]
	if c == nil || c.failed() {
		c = fresh
		r.codes[c.key] = c
	}

	c.users++

	return c, nil
}

// failed reports whether the compilation ended in an error. One that is under
// way has not failed.
func (c *Code) failed() bool {
	select {
	case <-c.ready:
		return c.err != nil
	default:
		return false
	}
}

// retain gives the code one user more, who closes it.
func (c *Code) retain() {
	c.runtime.mu.Lock()
	defer c.runtime.mu.Unlock()
	c.users++
}

// Close ends the caller's use of the code. The last user frees the machine
// code.
func (c *Code) Close() {
	if !c.released() || c.engine == nil {
		return
	}
	// An error could only come from closing instances, which are gone by now.
	_ = c.engine.Close(context.Background())
}

// released takes one user away and reports whether it was the last.
func (c *Code) released() bool {
	c.runtime.mu.Lock()
	defer c.runtime.mu.Unlock()

	c.users--
	if c.users > 0 {
		return false
	}
	if c.runtime.codes[c.key] == c {
		delete(c.runtime.codes, c.key)
	}

	return true
}

// Digest is the SHA-256 of the file that was compiled.
func (c *Code) Digest() [32]byte { return c.key.digest }

// Info is what the scan found in the file.
func (c *Code) Info() Info { return c.info }

// build makes an engine that holds the host functions which the file imports, and
// nothing else, and compiles the file in it.
func (c *Code) build(ctx context.Context, file []byte, scanned *wasm.Binary) error {
	// The engine outlives ctx, whose values it would otherwise keep.
	c.engine = wazero.NewRuntimeWithConfig(context.WithoutCancel(ctx), wazero.NewRuntimeConfigCompiler().
		WithCompilationCache(c.runtime.cache).
		WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(mostPages(c.key.pages)).
		WithDebugInfoEnabled(false).
		WithCloseOnContextDone(false))

	if err := c.translate(ctx, file, scanned); err != nil {
		return err
	}

	return instantiateHost(ctx, c.engine, c.functions)
}

// translate compiles the metered file, one at a time in the process, after a
// child has survived the same. What the engine panics with is an error.
func (c *Code) translate(ctx context.Context, file []byte, scanned *wasm.Binary) (err error) {
	select {
	case <-c.runtime.compiling:
	case <-ctx.Done():
		return fmt.Errorf("compiling: %w", ctx.Err())
	}

	defer func() {
		c.runtime.compiling <- struct{}{}
		if r := recover(); r != nil { // a fault of the engine must not end the gateway
			err = fmt.Errorf("compiling: the engine failed: %v", r)
		}
	}()

	if err := c.runtime.try(ctx, file, c.key); err != nil {
		return err
	}

	// With two workers the engine looks at ctx between functions.
	compiled, err := c.engine.CompileModule(experimental.WithCompilationWorkers(ctx, 2), c.runtime.meter(scanned, c.key.stackBytes))
	if err != nil {
		return fmt.Errorf("compiling: %w", trapText(err))
	}

	c.compiled = compiled

	return nil
}

// Load makes a module of the code: a pool of instances with a configuration and
// a grant. It makes the first instance, so that a module that cannot start is
// refused here and not under its first batch. Of spec it does not use Wasm.
func (c *Code) Load(ctx context.Context, spec Spec) (*Module, error) {
	m, err := c.load(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("loading module %q: %w", spec.Name, err)
	}

	return m, nil
}

// load makes a module of the code under a grant, which must have the limits
// that the code was made for.
func (c *Code) load(ctx context.Context, spec Spec) (*Module, error) {
	if _, err := granted(c.info, spec.Grant); err != nil {
		return nil, err
	}

	limits := spec.Grant.Limits.withDefaults()
	if limits.codeKey(c.key.digest) != c.key {
		return nil, errOtherLimits
	}

	if spec.Apart && c.file == nil {
		return nil, errWorkers
	}

	m, err := newModule(c, spec)
	if err != nil {
		return nil, err
	}

	c.retain()
	if err := m.start(ctx); err != nil {
		c.Close()
		return nil, err
	}

	return m, nil
}
