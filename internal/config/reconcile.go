package config

import (
	"fmt"
	"path/filepath"
	"time"
)

// Reconcile has the gateway compare its clusters with its decisions, as `guardlock audit
// reconcile` does, and write what it found into the log. The gateway's own identity must be
// allowed to describe and read the topics that clients produce to.
type Reconcile struct {
	// Every is the time between two looks, from 1m on. Default: 0, nobody looks.
	Every time.Duration `yaml:"every"`
	// Logs are the directories of the decision logs of all other gateways in front of the same
	// clusters, and of those that were set aside (audit adopt). They must be the logs
	// themselves, not copies: what a copy lacks looks as if it had gone around every
	// gateway. One that cannot be read means that nothing is concluded. The gateway's own, by
	// another path, is looked into once, so that one list serves all. With audit.manifest
	// they must be just those that the manifest lists, and those that are not named here are
	// read where its dir says. Default: none.
	Logs []string `yaml:"logs"`
	// KeyFiles hold the audit keys of those gateways, which tell batches without a producer id
	// whose answer nobody saw yet. Default: audit.key beside each log, where there is one.
	KeyFiles []string `yaml:"key_files"`
}

// shortestReconcile keeps looks from following each other without a pause.
const shortestReconcile = time.Minute

func (r *Reconcile) validate(p *problems, own string) {
	const path = "audit.reconcile"
	if r.Every != 0 && r.Every < shortestReconcile {
		p.add(path+".every", "%s is less than 1m; 0 is never", r.Every)
	}
	if r.Every == 0 && len(r.Logs)+len(r.KeyFiles) > 0 {
		p.add(path, "needs every: without it nobody looks into the logs of others")
	}

	seen := map[string]bool{filepath.Clean(own): true}
	for i, dir := range r.Logs {
		at := fmt.Sprintf("%s.logs[%d]", path, i)
		clean := filepath.Clean(dir)
		switch {
		case dir == "":
			p.add(at, "names no directory")
		case seen[clean]:
			p.add(at, "%q is named twice, or is this gateway's own log (audit.dir), which is always looked into", dir)
		}
		seen[clean] = true
	}
	for i, file := range r.KeyFiles {
		if file == "" {
			p.add(fmt.Sprintf("%s.key_files[%d]", path, i), "names no file")
		}
	}
}
