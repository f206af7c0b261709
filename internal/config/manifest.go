package config

import "path/filepath"

// Manifest is a list of the cluster's gateways and their logs, by which auditors know
// that a log is missing.
type Manifest struct {
	// File is the manifest that approvers of the trust root signed (`guardlock audit
	// manifest`), with their signatures beside it. Unless it has this gateway's name, log and log
	// key, the gateway does not start: then put the log into it, which the first start made.
	// It is read again when it changes; one that cannot be used, or is older, changes nothing, and
	// the gateway's log says so. Default: none.
	File string `yaml:"file"`
	// Unlisted lets the gateway start all the same, with an alarm. Danger: who reads the logs
	// of the cluster does not miss what this gateway decides.
	Unlisted bool `yaml:"insecure_unlisted"`
}

// AcceptedManifest is the file in the data directory that holds the last manifest that was
// in force, so that no older one follows it over a restart.
func (c *Config) AcceptedManifest() string {
	return filepath.Join(c.File(c.DataDir), "manifest.accepted.yaml")
}

// NeedsTrust reports whether anything is judged by the trust root.
func (c *Config) NeedsTrust() bool { return len(c.Modules) > 0 || c.Audit.Manifest.File != "" }

func (m *Manifest) validate(p *problems, trustRoot string) {
	if m.File != "" && trustRoot == "" {
		p.add("trust.root", "is needed: without it nobody can have signed audit.manifest.file")
	}
	if m.File == "" && m.Unlisted {
		p.add("audit.manifest.insecure_unlisted", "is of a file, and none is given")
	}
}
