package config

import "reflect"

// Reloaded is what holds once fresh was read while c is being served: everything
// that a start is not needed for. The names of settings that differ and do need
// one are returned; those stay as they are.
func (c *Config) Reloaded(fresh *Config) (merged *Config, needStart []string) {
	out := *fresh
	keep := func(name string, running, wanted any, put func()) {
		if !reflect.DeepEqual(running, wanted) {
			needStart = append(needStart, name)
		}
		put()
	}

	keep("node", c.Node, fresh.Node, func() { out.Node = c.Node })
	keep("data_dir", c.DataDir, fresh.DataDir, func() { out.DataDir = c.DataDir })
	keep("listen, broker, clusters", c.Clusters, fresh.Clusters, func() { out.Clusters = c.Clusters })
	keep("audit", c.Audit, fresh.Audit, func() { out.Audit = c.Audit })
	keep("limits", c.Limits, fresh.Limits, func() { out.Limits = c.Limits })
	keep("log", c.Log, fresh.Log, func() { out.Log = c.Log })
	keep("ops", c.Ops, fresh.Ops, func() { out.Ops = c.Ops })

	return &out, needStart
}
