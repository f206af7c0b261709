package admission

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/transforms"
)

// Pools holds the modules that run, one for each digest, configuration and grant,
// however many bindings and reloads use it. It is safe for concurrent use.
type Pools struct {
	mu  sync.Mutex
	all map[poolKey]*running
}

// NewPools makes a Pools in which nothing runs.
func NewPools() *Pools { return &Pools{all: map[poolKey]*running{}} }

// poolKey is a digest of all that a running module was made of. Whatever
// differs in one of them runs beside it.
type poolKey [32]byte

// running is a module that was started, or is being started, with what every
// binding needs of it.
type running struct {
	key   poolKey
	by    *Admitter     // who started it
	ready chan struct{} // closed once the fields below are set

	module  *transforms.Module
	reasons []string
	routes  []string
	tables  []string // that it looks things up in: name and digest of each, sorted
	err     error

	users int // guarded by mu of Pools
}

// poolKeyOf makes the key of what would run. Secrets are in it by their digests
// alone, so that a changed key runs anew and no key is kept twice.
func poolKeyOf(e *examination, spec transforms.Spec) poolKey {
	type secret struct {
		Name   string
		Digest [32]byte
	}

	made := struct {
		Name           string
		Digest, Config [32]byte
		Functions      []string
		Keys           []secret
		Routes         []string
		Limits         transforms.Limits
		Apart          bool
		Tables         map[string][32]byte
	}{spec.Name, e.digest, e.verified.ConfigDigest, spec.Grant.HostFunctions, nil, spec.Grant.Routes, spec.Grant.Limits, spec.Apart, map[string][32]byte{}}
	for _, k := range spec.Grant.Keys {
		made.Keys = append(made.Keys, secret{k.Name, sha256.Sum256(k.Secret)})
	}

	for name, table := range spec.Tables {
		made.Tables[name] = table.Digest()
	}

	raw, err := json.Marshal(made)
	if err != nil {
		panic("admission: encoding strings and integers failed: " + err.Error())
	}

	return sha256.Sum256(raw)
}

// take finds the module running, waits for another caller that starts it, or starts
// it. The caller gives it back. One that did not start is tried again by the next
// Admitter only: a thousand bindings are no reason to try a thousand times.
func (p *Pools) take(ctx context.Context, by *Admitter, key poolKey, spec transforms.Spec) (*running, error) {
	p.mu.Lock()
	r := p.all[key]
	fresh := r == nil || r.failed() && r.by != by
	if fresh {
		r = &running{key: key, by: by, ready: make(chan struct{})}
		p.all[key] = r
	}

	r.users++
	p.mu.Unlock()

	if fresh {
		r.module, r.err = by.Runtime.Load(ctx, spec)
		if r.err == nil {
			r.reasons = r.module.Reasons()
			r.routes = r.module.Routes()
			r.tables = tablesOf(spec)
		}
		close(r.ready)
	}

	select {
	case <-r.ready:
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.give(ctx, r))
	}

	if r.err != nil {
		return nil, r.err
	}
	return r, nil
}

// tablesOf names the tables of a module, each with the digest of its file.
func tablesOf(spec transforms.Spec) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(spec.Tables)) {
		all = append(all, name+" "+audit.Digest(spec.Tables[name].Digest()).String())
	}
	return all
}

// failed reports whether the module did not start. One that is being started
// has not failed.
func (r *running) failed() bool {
	select {
	case <-r.ready:
		return r.err != nil
	default:
		return false
	}
}

// give gives a module back. The last to do so closes it; batches under way are
// waited for until ctx ends.
func (p *Pools) give(ctx context.Context, r *running) error {
	p.mu.Lock()
	r.users--
	last := r.users == 0
	if last && p.all[r.key] == r {
		delete(p.all, r.key)
	}
	p.mu.Unlock()

	if !last {
		return nil
	}
	<-r.ready
	if r.module == nil {
		return nil
	}

	return r.module.Close(ctx)
}
