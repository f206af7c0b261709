package transforms

import (
	"context"

	"github.com/tetratelabs/wazero/experimental"
)

// linearMemory is the memory of one instance, within a limit that a call can
// raise. It implements experimental.LinearMemory.
type linearMemory struct {
	reserve func(size uint64) (view []byte, free func())

	view  []byte // all that may ever be used
	free  func()
	used  uint64
	limit uint64 // what may be used now: see Limits.memoryFor
}

// inMemory makes the next instance of ctx take its memory from m. The engine
// passes it through the context.
func inMemory(ctx context.Context, m *linearMemory) context.Context {
	return experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		m.view, m.free = m.reserve(most)
		return m
	}))
}

// Reallocate implements experimental.LinearMemory. Nil means that memory.grow
// fails, which the guest is told.
func (m *linearMemory) Reallocate(size uint64) []byte {
	if size > min(m.limit, uint64(len(m.view))) {
		return nil
	}

	m.used = size
	return m.view[:size]
}

// Free implements experimental.LinearMemory, and gives the memory back to the
// system.
func (m *linearMemory) Free() {
	if m.view != nil {
		m.view = nil
		m.free()
	}
}
