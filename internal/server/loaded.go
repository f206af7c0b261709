package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/policy"
)

// The roles of files in the decision log.
const (
	roleConfiguration = "configuration"
	roleTrustRoot     = "trust_root"
	roleRevocations   = "revocations"
	rolePolicy        = "policy"
	roleManifest      = manifest.Role
)

// builtInPolicy stands where the configuration names no policy.
const builtInPolicy = "built in"

// filesOf is what bindings are built from under these terms and this policy.
func filesOf(under terms, p *policy.Engine) []audit.File {
	files := []audit.File{{Role: roleConfiguration, Name: filepath.Base(under.cfg.Path), Digest: under.cfg.Digest}}
	if under.trust != nil {
		revoked := strings.Join(under.trust.Revoked(), "\n")
		files = append(files,
			audit.File{Role: roleTrustRoot, Name: under.cfg.Trust.Root, Digest: under.trust.Digest()},
			audit.File{Role: roleRevocations, Name: under.cfg.Trust.Root, Digest: sha256.Sum256([]byte(revoked))})
	}

	if p != nil {
		f := audit.File{Role: rolePolicy, Name: under.cfg.Policy.Path, Revision: p.BundleRevision()}
		if f.Name == "" {
			f.Name = builtInPolicy
		}
		if d, err := hex.DecodeString(p.Revision()); err == nil {
			copy(f.Digest[:], d)
		}

		files = append(files, f)
	}

	return files
}

// fault is an error of a file, by the name that the configuration has for it.
type fault struct {
	file string
	error
}

func (f *fault) Unwrap() error { return f.error }

// blame says that a file is at fault, if there is an error.
func blame(file string, err error) error {
	if err == nil {
		return nil
	}
	return &fault{file, err}
}

// maxFaultText is how much of an error's text goes into the log.
const maxFaultText = 1000

// recordApplied makes a configuration's entry durable before it takes effect.
func (r *reloader) recordApplied(ctx context.Context, files []audit.File) error {
	e := r.configEntry("applied")
	e.Loaded = &audit.Loaded{Files: files}
	return r.recordConfig(ctx, e)
}

// refused is the entry of files that cannot be used. It names the one at fault, and
// those that are in force all the same.
func (r *reloader) refused(err error) audit.ControlEntry {
	r.counts.refused.Add(1)
	e := r.configEntry("refused")
	e.Reason = "unreadable"
	e.Loaded = &audit.Loaded{Files: r.filesInForce()}

	text := err.Error()
	e.Steps = []audit.Step{{Name: "load", Verdict: "refused", Detail: text[:min(len(text), maxFaultText)]}}
	if f, ok := errors.AsType[*fault](err); ok {
		e.Loaded.Fault = f.file
	}

	return e
}

func (r *reloader) configEntry(outcome string) audit.ControlEntry {
	return audit.ControlEntry{Kind: audit.KindConfig, Subject: filepath.Base(r.termsNow().cfg.Path), Outcome: outcome}
}

func (r *reloader) recordConfig(ctx context.Context, e audit.ControlEntry) error {
	if err := r.record.Record(ctx, e); err != nil {
		return fmt.Errorf("recording the configuration: %w", err)
	}
	return nil
}

// note records what has happened already, and what goes on without its entry.
func (r *reloader) note(ctx context.Context, e audit.ControlEntry) {
	ctx, cancel := context.WithTimeout(ctx, noteWithin)
	defer cancel()
	if err := r.record.Record(ctx, e); err != nil {
		r.log.Error("the decision log did not take an entry", zap.String("subject", e.Subject), zap.String("reason", e.Reason), zap.Error(err))
	}
}

func (r *reloader) filesInForce() []audit.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loaded
}

func (r *reloader) setFiles(files []audit.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loaded = files
}
