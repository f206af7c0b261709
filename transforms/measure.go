package transforms

// CheckImports says why no grant could let a module of this structure run: an
// import that is no host function, or one that is declared with another type.
func CheckImports(info Info) error {
	_, err := imported(info, func(string) bool { return true })
	return err
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
