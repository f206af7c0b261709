package transforms

import (
	"slices"
	"time"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// CheckImports says why no grant could let a module of this structure run: an
// import that is no host function, or one that is declared with another type.
func CheckImports(info Info) error {
	_, err := imported(info, func(string) bool { return true })
	return err
}

// NeedsNoGrant reports whether an import of this name is there for every module.
func NeedsNoGrant(name string) bool {
	return slices.ContainsFunc(alwaysGranted(), func(f hostFunction) bool { return f.module+"."+f.name == name })
}

// MemoryBytes is the linear memory of the module's largest idle instance: what it
// has grown to.
func (m *Module) MemoryBytes() uint64 {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()

	most := uint64(0)
	for _, i := range m.pool.idle {
		most = max(most, i.linear.used)
	}

	return most
}

// Fuel is what the module's idle instances were charged for what they ran, in whole
// slices of [wasm.FuelSlice], since less than one is not told.
func (m *Module) Fuel() uint64 {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()

	burnt := uint64(0)
	for _, i := range m.pool.idle {
		burnt += i.yields * wasm.FuelSlice
	}

	return burnt
}

// BatchTime is the processor time that the limits give a module for a batch of a size.
func (l Limits) BatchTime(size int) time.Duration { return l.withDefaults().batchTime(size) }

// Check says why a module of this structure cannot start under the limits.
func (l Limits) Check(info Info) error { return checkLimits(info, Grant{}, l.withDefaults()) }
