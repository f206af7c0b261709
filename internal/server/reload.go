package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
)

// reload reads trust, policy and modules again, admits everything anew, and
// swaps the bindings. If trust or policy cannot be read, the bindings stay as
// they are and the failure is recorded: what was revoked before stays revoked.
func (s *Server) reload(ctx context.Context) error {
	a, err := s.admitter(ctx)
	if err != nil {
		if s.refused != err.Error() { // once, however often it is tried
			s.refused = err.Error()
			err = errors.Join(err, s.recordConfig(ctx, "refused", "unreadable"))
		}
		return err
	}

	s.refused = ""
	modules := map[string]admission.Module{}
	for _, m := range s.cfg.Modules {
		modules[m.Name] = s.readModule(m)
	}

	fresh := map[string]*admission.Set{}
	for _, cl := range s.cfg.Clusters {
		set, err := a.Build(ctx, s.rules(cl.Name), modules)
		if err != nil {
			return fmt.Errorf("building the bindings: %w", err)
		}

		for _, r := range set.Refusals {
			s.log.Warn("module refused; its topics refuse everything", zap.String("module", r.Module), zap.String("code", r.Code), zap.Error(r.Err))
		}
		fresh[cl.Name] = set
	}

	if err := s.recordConfig(ctx, "applied", ""); err != nil {
		return err
	}
	s.swap(ctx, fresh)
	return nil
}

func (s *Server) recordConfig(ctx context.Context, outcome, reason string) error {
	err := s.journal.Record(ctx, audit.ControlEntry{
		Kind:    audit.KindConfig,
		Subject: filepath.Base(s.cfg.Path),
		Outcome: outcome,
		Reason:  reason,
	})
	if err != nil {
		return fmt.Errorf("recording the configuration: %w", err)
	}

	return nil
}

// swap serves under the fresh sets and closes the old ones once their last
// batches are through.
func (s *Server) swap(ctx context.Context, fresh map[string]*admission.Set) {
	for name, set := range fresh {
		s.gateway.Cluster(name).SetBindings(gateway.NewBindings(set.Bindings, s.unbound()))
	}
	s.mu.Lock()
	old := s.set
	s.set = fresh
	s.mu.Unlock()

	for _, set := range old {
		if err := set.Close(ctx); err != nil {
			s.log.Warn("closing replaced modules", zap.Error(err))
		}
	}
}

func (s *Server) unbound() *gateway.Grant {
	switch s.cfg.UnboundTopics {
	case "record":
		return &gateway.Grant{Binding: "unbound", RejectCode: kerr.InvalidRecord.Code, KeepCodec: true}
	case "insecure_pass":
		return &gateway.Grant{Binding: "unbound", Unaudited: true}
	default:
		return gateway.RefuseUnbound()
	}
}

func (s *Server) admitter(ctx context.Context) (*admission.Admitter, error) {
	a := &admission.Admitter{
		Runtime: s.runtime,
		Keys:    s.keys,
		Record:  s.journal,
		Node:    s.cfg.Node,
		Version: build.Read().Version,
		Now:     time.Now,
	}

	var err error
	if a.Policy, err = loadPolicy(ctx, s.cfg); err != nil {
		return nil, err
	}
	if len(s.cfg.Modules) == 0 {
		return a, nil
	}

	raw, err := os.ReadFile(s.cfg.File(s.cfg.Trust.Root))
	if err != nil {
		return nil, fmt.Errorf("trust.root: %w", err)
	}
	if a.Trust, err = signing.ParseTrustRoot(raw); err != nil {
		return nil, fmt.Errorf("trust.root %s: %w", s.cfg.Trust.Root, err)
	}

	return a, nil
}

func loadPolicy(ctx context.Context, cfg *config.Config) (*policy.Engine, error) {
	path := cfg.File(cfg.Policy.Path)
	switch {
	case path == "":
		return policy.Load(ctx, policy.Default())
	case strings.HasSuffix(path, ".tar.gz"):
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("policy.path: %w", err)
		}
		return policy.LoadBundle(ctx, raw, policy.Options{})
	default:
		return policy.Load(ctx, os.DirFS(path))
	}
}

// readModule reads a module's files. One that cannot be read is refused at
// admission like any other fault of the package.
func (s *Server) readModule(m config.Module) admission.Module {
	out := admission.Module{Name: m.Name}
	var errs []error
	read := func(field, name string) []byte {
		if name == "" {
			return nil
		}
		raw, err := os.ReadFile(s.cfg.File(name))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}

		return raw
	}

	out.Package = signing.Package{Wasm: read("wasm", m.Wasm), Config: read("config", m.Config), Signature: read("signature", m.Signature)}
	for _, a := range m.Approvals {
		out.Package.Approvals = append(out.Package.Approvals, read("approvals", a))
	}

	out.Missing = errors.Join(errs...)
	return out
}

// rules are the bindings of one cluster.
func (s *Server) rules(cluster string) []admission.Rule {
	var out []admission.Rule
	for _, b := range s.cfg.Bindings {
		if b.Cluster != "" && b.Cluster != cluster {
			continue
		}
		r := admission.Rule{
			Modules:    b.Modules,
			RejectCode: kerr.InvalidRecord.Code,
			KeepCodec:  b.Recompress == "same",
			Place:      place(b),
		}

		if b.RejectWith == "policy_violation" {
			r.RejectCode = kerr.PolicyViolation.Code
		}
		if !r.KeepCodec {
			r.Recompress, _ = recordbatch.ParseCompression(b.Recompress) // validated
		}
		if b.Evidence == "content" {
			r.Evidence = audit.EvidenceContent
		}

		out = append(out, r)
	}

	return out
}

// place is the binding as admission knows it. The configuration is valid.
func place(b config.Binding) admission.Place {
	at := admission.Place{
		Binding:    b.Name,
		Topics:     b.Topics,
		Principals: b.Principals,
		ClientIDs:  b.ClientIDs,
		DataClass:  b.DataClass,
	}

	at.TLS, _ = gateway.ParseTLSLevel(b.TLS)
	for _, s := range b.Sources {
		prefix, _ := gateway.ParseSource(s)
		at.Sources = append(at.Sources, prefix)
	}

	return at
}

// watchEvery bounds how long a revocation takes to be seen: invariant 2 says
// within a second on every topic.
const watchEvery = 250 * time.Millisecond

// retryAfter is the pause after a failed reload: short, since what waits may be
// a revocation.
const retryAfter = 500 * time.Millisecond

// watch reloads when a file that admission reads has changed, or when the first
// grant ends, until ctx ends.
func (s *Server) watch(ctx context.Context) {
	seen := s.stamp()
	failed := time.Time{}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}

		s.refreshFiles()
		now := s.stamp()
		if now == seen && !s.grantEnded() || time.Since(failed) < retryAfter {
			continue
		}

		if err := s.reload(ctx); err != nil {
			// A file that is half written is whole a moment later, perhaps with
			// the same size and time.
			failed = time.Now()
			s.log.Error("reloading failed; the bindings stay as they are; trying again", zap.Error(err))
			continue
		}

		seen = now
		s.log.Info("reloaded trust, policy and modules")
	}
}

// grantEnded reports whether a grant that is served under has ended; a reload
// then records why its topics refuse.
func (s *Server) grantEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, set := range s.set {
		if e := set.Expires(); !e.IsZero() && time.Now().After(e) {
			return true
		}
	}

	return false
}

// stamp sums up name, size and time of every file that admission reads.
func (s *Server) stamp() string {
	var b strings.Builder
	note := func(path string) {
		if path == "" {
			return
		}
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%s missing\n", path)
			return
		}

		fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}

	note(s.cfg.File(s.cfg.Trust.Root))
	if p := s.cfg.File(s.cfg.Policy.Path); p != "" {
		filepath.WalkDir(p, func(path string, _ fs.DirEntry, _ error) error { note(path); return nil })
	}

	for _, m := range s.cfg.Modules {
		for _, f := range append([]string{m.Wasm, m.Config, m.Signature}, m.Approvals...) {
			note(s.cfg.File(f))
		}
	}

	return b.String()
}
