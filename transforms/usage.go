package transforms

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// Usage is what a module used since the start, by its name: a reload does not begin
// anew. Guests in processes of their own are not in it, since they do not tell.
type Usage struct {
	Module string
	Fuel   uint64 // in whole slices of [wasm.FuelSlice], since less than one is not told
	Memory uint64 // bytes: the most linear memory that one instance had after a batch
}

// usages are the counters of all modules of a runtime.
type usages struct {
	mu  sync.Mutex
	all map[string]*usage
}

type usage struct {
	slices atomic.Uint64
	memory atomic.Uint64
}

// of returns the counters of the modules of a name.
func (u *usages) of(module string) *usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[string]*usage{}
	}
	if u.all[module] == nil {
		u.all[module] = &usage{}
	}
	return u.all[module]
}

// spent counts a slice of fuel. A module in a process of its own has no usage here.
func (u *usage) spent() {
	if u != nil {
		u.slices.Add(1)
	}
}

// grew notes what an instance has grown to.
func (u *usage) grew(memory uint64) {
	for u != nil {
		old := u.memory.Load()
		if memory <= old || u.memory.CompareAndSwap(old, memory) {
			return
		}
	}
}

// Usage is what each module used since the start, in the order of their names.
func (r *Runtime) Usage() []Usage {
	r.usages.mu.Lock()
	defer r.usages.mu.Unlock()

	var all []Usage
	for module, u := range r.usages.all {
		all = append(all, Usage{module, u.slices.Load() * wasm.FuelSlice, u.memory.Load()})
	}
	slices.SortFunc(all, func(a, b Usage) int { return cmp.Compare(a.Module, b.Module) })
	return all
}
