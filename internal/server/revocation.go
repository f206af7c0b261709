package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/signing"
)

// trustFile is what watchTrust knows of the trust root's file: how it looked
// when it was read, and what is wrong with it.
type trustFile struct {
	stamp  string
	alarm  alarm
	ageing alarm
}

// watchTrust looks at the trust root until ctx ends. It waits for nothing but that
// one file.
func (r *reloader) watchTrust(ctx context.Context) {
	lookUntil(ctx, r.trustAgain, func(woken bool) {
		if woken {
			r.trustFile.stamp = ""
		}

		r.lookAtTrust(ctx)
		r.judgeTrust(ctx)
	})
}

// lookAtTrust puts a trust root that changed into force. One that cannot be used
// changes nothing, which is said until it can: what was revoked before stays
// revoked, and what the file was to revoke is not.
func (r *reloader) lookAtTrust(ctx context.Context) {
	if r.trustPath() == "" {
		return
	}

	stamp, err := r.files.Stamp(ctx, "the trust root", r.trustPath())
	failing := r.trustFile.alarm.text != ""
	if err == nil && stamp == r.trustFile.stamp && !failing {
		r.trustSeen(ctx)
		return
	}

	if err == nil {
		err = r.loadTrust(ctx)
	}
	if ctx.Err() != nil {
		return
	}

	r.setFailing(err != nil)
	if err != nil {
		r.tellTrust(ctx, err)
		return
	}

	if r.trustFile.alarm.over() {
		r.log.Info("the trust root can be used again")
	}
}

func (r *reloader) setFailing(failing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = failing
}

// tellTrust raises the alarm about a trust root that cannot be used, and
// records the first time of each failure.
func (r *reloader) tellTrust(ctx context.Context, err error) {
	tell, begun := r.trustFile.alarm.ring(err, r.now())
	if tell {
		r.log.Error("TRUST ROOT NOT IN FORCE: the file cannot be used; the old one stays, and nothing that the file newly revokes is revoked; run guardlock check",
			zap.String("file", r.trustPath()), zap.Error(err))
	}

	if begun {
		r.note(ctx, r.refused(err))
	}
}

func (r *reloader) trustPath() string {
	cfg := r.termsNow().cfg
	if !cfg.NeedsTrust() {
		return ""
	}
	return cfg.File(cfg.Trust.Root)
}

// loadTrust reads the trust root and puts it into force. Without modules and a
// manifest there is none.
func (r *reloader) loadTrust(ctx context.Context) error {
	path := r.trustPath()
	if path == "" {
		return nil
	}

	// The stamp is taken first: what changes meanwhile is read again.
	file := r.termsNow().cfg.Trust.Root
	stamp, err := r.files.Stamp(ctx, "the trust root", path)
	if err != nil {
		return blame(file, fmt.Errorf("trust.root: %w", err))
	}

	raw, err := r.files.Read(ctx, path, signing.MaxTrustRootBytes)
	if err != nil {
		return blame(file, fmt.Errorf("trust.root: %w", err))
	}

	root, err := parseTrust(raw, r.termsNow().cfg)
	if err != nil {
		return blame(file, fmt.Errorf("trust.root %s: %w", filepath.Base(path), err))
	}

	r.trustFile.stamp = stamp
	r.setTrust(ctx, root)
	r.trustSeen(ctx)
	r.judgeTrust(ctx)
	return nil
}

// parseTrust reads a trust root as it holds for the configured gateway, its
// environment and its clock skew.
func parseTrust(raw []byte, cfg *config.Config) (*signing.TrustRoot, error) {
	root, err := signing.ParseTrustRoot(raw)
	if err != nil {
		return nil, err
	}

	return root.For(signing.Gateway{
		Name:        cfg.Node,
		Environment: cfg.Environment,
		ClockSkew:   *cfg.Trust.ClockSkew,
	}), nil
}

// setTrust puts a trust root into force: first for what is served now, at once,
// then for all that watch builds.
func (r *reloader) setTrust(ctx context.Context, root *signing.TrustRoot) {
	r.mu.Lock()
	r.trust = root
	r.edition++
	modules := r.modules

	gone := r.findRevoked(ctx)
	if len(gone) > 0 {
		r.serveAll()
	}
	r.mu.Unlock()

	wake(r.wake)

	for _, refused := range gone {
		r.recordRevoked(ctx, refused, root, modules[refused.Module].Package)
	}
}

// findRevoked asks of each module in force whether author and approvers still vouch
// for it, and returns those of which they do no more. The caller holds mu.
func (r *reloader) findRevoked(ctx context.Context) []*admission.Refused {
	a := admission.Admitter{Trust: r.trust, Now: r.now}
	var gone []*admission.Refused
	for name, m := range r.modules {
		if r.revoked[name] != nil {
			continue
		}
		if refused := a.Holds(ctx, m); refused != nil && ctx.Err() == nil {
			r.revoked[name] = refused
			gone = append(gone, refused)
		}
	}

	return gone
}

// recordRevoked writes down what was taken out of service. It was refused before:
// unlike a module that is let in, one that is kept out does not wait for the log.
func (r *reloader) recordRevoked(ctx context.Context, refused *admission.Refused, root *signing.TrustRoot, p signing.Package) {
	r.log.Warn("a module was taken out of service; its topics refuse everything",
		zap.String("module", refused.Module), zap.String("code", refused.Code), zap.Error(refused.Err))
	r.note(ctx, audit.ControlEntry{
		Kind:    audit.KindAdmission,
		Subject: "*", // every binding of the module
		Module:  audit.ModuleRef{Name: refused.Module, Digest: sha256.Sum256(p.Wasm)},
		Outcome: "denied",
		Reason:  refused.Code,
		Admission: &audit.Admission{
			Threshold: root.Threshold(),
			Config:    sha256.Sum256(p.Config),
			TrustRoot: root.Digest(),
		},
	})
}
