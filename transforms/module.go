package transforms

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/guardlock/guardlock/transforms/state"
	"github.com/guardlock/guardlock/transforms/wasm"
)

const unspecified = "unspecified"

var errOtherLimits = errors.New("the code was compiled for other limits of memory or stack")

// Module is code with a configuration, a grant and a pool of instances. It is
// safe for concurrent use; each batch has an instance to itself.
type Module struct {
	name   string
	code   *Code
	info   Info
	routes []string
	limits Limits
	config []byte
	topic  string // that a guest is told of before there is a batch
	resources
	log   func(LogEvent)
	gate  logGate
	pool  *pool
	queue queue // of its batches that wait for a turn

	apart    bool // its guests run in workers, one each
	restarts restarts

	variables []string // of its guests' environment, as NAME=VALUE
}

// resources are what a module's host functions work with, as far as it has them.
type resources struct {
	keys     []guestKey
	counters []*atomic.Uint64 // by their place in the catalogue of metrics
	usage    *usage
	state    *state.Store // nil for a module that keeps none
	tables   map[string]*Table
}

// Load compiles a module, or finds it compiled, and instantiates it with its
// configuration. The caller has verified signatures and policy.
func (r *Runtime) Load(ctx context.Context, spec Spec) (*Module, error) {
	m, err := r.load(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("loading module %q: %w", spec.Name, err)
	}

	return m, nil
}

// load scans, checks and compiles a file, and makes a module of it. The cheap
// refusals come first.
func (r *Runtime) load(ctx context.Context, spec Spec) (*Module, error) {
	scanned, err := wasm.Scan(spec.Wasm, r.config.Scan)
	if err != nil {
		return nil, err
	}

	// What the grant forbids is refused before anything is compiled, which
	// costs seconds.
	if _, err := granted(scanned.Info(), spec.Grant); err != nil {
		return nil, err
	}

	limits := spec.Grant.Limits.withDefaults()
	if err := checkLimits(scanned.Info(), spec.Grant, limits); err != nil {
		return nil, err
	}

	code, err := r.compile(ctx, spec.Wasm, scanned, limits.codeKey(sha256.Sum256(spec.Wasm)))
	if err != nil {
		return nil, err
	}

	defer code.Close()

	return code.load(ctx, spec)
}

// newModule makes a module without instances, under limits that its file can be
// run with.
func newModule(c *Code, spec Spec) (*Module, error) {
	limits := spec.Grant.Limits.withDefaults()
	if err := checkLimits(c.info, spec.Grant, limits); err != nil {
		return nil, err
	}

	keys, err := newKeys(spec.Grant.Keys)
	if err != nil {
		return nil, err
	}

	var variables []string
	if c.info.Pulls() {
		if variables, err = parseVariables(spec.Config); err != nil {
			return nil, &Error{GuestFailed, spec.Name, fmt.Errorf("reading the configuration: %w", err)}
		}
	}

	return &Module{
		name:   spec.Name,
		code:   c,
		info:   c.info,
		routes: slices.Clone(spec.Grant.Routes),
		limits: limits,
		config: slices.Clone(spec.Config),
		topic:  spec.Topic,
		resources: resources{
			keys:     keys,
			counters: c.runtime.metrics.of(spec.Name, c.info.Metrics),
			usage:    c.runtime.usages.of(spec.Name),
			state:    c.newState(),
			tables:   spec.Tables,
		},
		log:   c.runtime.config.Log,
		apart: spec.Apart,
		pool:  newPool(limits.Instances),

		variables: variables,
	}, nil
}

func checkLimits(info Info, grant Grant, limits Limits) error {
	if info.MemoryMinPages > limits.pages() {
		return fmt.Errorf("checking memory: the module needs %d pages of 64 KiB, its limit is %d", info.MemoryMinPages, limits.pages())
	}
	if len(grant.Routes) > 256 {
		return fmt.Errorf("checking grant: %d routes exceed the limit of 256", len(grant.Routes))
	}

	return nil
}

// start makes the module's first instance, so that a module which cannot start
// is refused when it is loaded.
func (m *Module) start(ctx context.Context) error {
	first, err := m.newInstance(ctx, m.topic)
	if err != nil {
		return err
	}

	m.pool.put(first)
	if err := m.code.runtime.adopt(m); err != nil {
		first.free(ctx)
		return err
	}

	return nil
}

// Name is the name that the module was loaded under.
func (m *Module) Name() string { return m.name }

// Digest is the SHA-256 of the module's file as it was signed.
func (m *Module) Digest() [32]byte { return m.code.Digest() }

// Info is what the scan found in the module's file.
func (m *Module) Info() Info { return m.info }

// Reasons is the module's catalogue: Record.Reason is an index into it, and
// entry 0 is "unspecified".
func (m *Module) Reasons() []string { return append([]string{unspecified}, m.info.Reasons...) }

// Routes are the topics that Record.Route is an index into, in the order of the
// grant.
func (m *Module) Routes() []string { return slices.Clone(m.routes) }

func (m *Module) reason(i uint32) string {
	if i == 0 {
		return unspecified
	}

	return m.info.Reasons[i-1]
}
