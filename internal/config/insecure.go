package config

// Insecure lists the unsafe choices in use by their field paths. They are shown
// at every start, so that none is forgotten (invariant 8).
func (c *Config) Insecure() []string {
	var out []string
	if c.UnboundTopics == "insecure_pass" {
		out = append(out, "unbound_topics: insecure_pass")
	}
	if c.Audit.NoSync {
		out = append(out, "audit.insecure_no_sync")
	}

	if c.Audit.Manifest.Unlisted {
		out = append(out, "audit.manifest.insecure_unlisted")
	}

	if c.Ops != nil && c.Ops.Open {
		out = append(out, "ops.insecure_open")
	}
	if c.Ops != nil && c.Ops.Traces != nil && c.Ops.Traces.Plaintext {
		out = append(out, "ops.traces.insecure_plaintext")
	}

	for _, cl := range c.Clusters {
		if cl.Listen.Telemetry {
			out = append(out, cl.Name+": listen.insecure_telemetry")
		}
		if s := cl.Listen.SASL; s != nil && s.Plaintext {
			out = append(out, cl.Name+": listen.sasl.insecure_plaintext")
		}
		if e := cl.Broker.Embedded; e != nil && e.NoSync {
			out = append(out, cl.Name+": broker.embedded.insecure_no_sync")
		}
	}

	return out
}
