package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/policy"
)

// roleManifestSignature is that of each signature of the manifest that counts, by its
// signer.
const roleManifestSignature = "manifest_signature"

// rolePolicyBundle is that of a signed policy as it was read, signature and all.
const rolePolicyBundle = "policy_bundle"

// objectStore is where the objects are kept that authority entries name.
func (s *Server) objectStore() *objects.Store {
	store := objects.Of(s.cfg.File(s.cfg.Audit.Dir))
	store.Repaired = func(path string) {
		s.log.Error("an object of the decision log was damaged; it is written again", zap.String("path", path))
	}
	return store
}

// recordAuthority makes durable what the gateway is about to serve under, and the
// objects that say it, unless that is what was recorded last. Nothing is served under it
// before this returns nil.
func (r *reloader) recordAuthority(ctx context.Context, under terms, files []audit.File, sets map[string]*admission.Set) error {
	a := authority{store: r.objects, places: map[string]int{}}
	a.snapshot = objects.Snapshot{
		Format:   objects.Format,
		Gateway:  under.cfg.Node,
		Version:  build.Read().Version,
		Files:    files,
		Modules:  []objects.Module{},
		Bindings: []objects.Binding{},
	}

	a.keepFiles(under, r.work.policy)
	a.keepManifest(r.manifestInForce(), files)
	for _, cl := range under.cfg.Clusters {
		a.addBindings(under.cfg, cl.Name, sets[cl.Name])
	}

	raw, err := a.snapshot.Encode()
	if err = errors.Join(a.err, err); err != nil {
		return fmt.Errorf("keeping what bindings were built from: %w", err)
	}

	digest := audit.Digest(sha256.Sum256(raw))
	if digest == r.work.authority {
		return nil
	}
	if err := r.objects.KeepAs(digest, raw); err != nil {
		return fmt.Errorf("keeping what bindings were built from: %w", err)
	}

	e := r.configEntry("in_force")
	e.Kind = audit.KindAuthority
	e.Loaded = &audit.Loaded{Files: append(slices.Clone(a.snapshot.Files), audit.File{Role: objects.RoleSnapshot, Name: under.cfg.Node, Digest: digest})}
	if r.work.policy != nil {
		e.Revision = r.work.policy.Revision()
	}

	if err := r.recordConfig(ctx, e); err != nil {
		return err
	}
	r.work.authority = digest
	return nil
}

// authority is a snapshot in the making. It keeps the objects that it names, and holds
// what went wrong first.
type authority struct {
	store    *objects.Store
	snapshot objects.Snapshot
	places   map[string]int // of modules in the snapshot
	err      error
}

func (a *authority) keep(content []byte) audit.Digest {
	d := audit.Digest(sha256.Sum256(content))
	a.keepAs(d, content)
	return d
}

func (a *authority) keepAs(d audit.Digest, content []byte) {
	if a.err == nil {
		a.err = a.store.KeepAs(d, content)
	}
}

// keepFiles keeps the files that all bindings were built from. A signed policy is kept
// as the bundle, too, which has the signature.
func (a *authority) keepFiles(under terms, p *policy.Engine) {
	a.snapshot.Files = slices.Clone(a.snapshot.Files)
	a.keepAs(under.cfg.Digest, under.cfg.Raw)
	if under.trust != nil {
		a.keepAs(under.trust.Digest(), under.trust.Source())
		a.keep([]byte(strings.Join(under.trust.Revoked(), "\n")))
	}
	if p == nil {
		return
	}

	for i := range a.snapshot.Files {
		if f := &a.snapshot.Files[i]; f.Role == rolePolicy {
			a.keepAs(f.Digest, p.Source())
		}
	}
	if bundle := p.Bundle(); bundle != nil {
		a.snapshot.Files = append(a.snapshot.Files, audit.File{
			Role:     rolePolicyBundle,
			Name:     under.cfg.Policy.Path,
			Digest:   a.keep(bundle),
			Revision: p.BundleRevision(),
		})
	}
}

// keepManifest keeps the manifest, and the signatures by which it counts, where files
// have it.
func (a *authority) keepManifest(m *manifest.Signed, files []audit.File) {
	if m == nil || !slices.ContainsFunc(files, func(f audit.File) bool { return f.Digest == m.Digest() }) {
		return
	}
	a.keepAs(m.Digest(), m.Source())
	for _, s := range m.Signers {
		a.snapshot.Files = append(a.snapshot.Files, audit.File{Role: roleManifestSignature, Name: string(s.Identity), Digest: a.keep(s.Bundle)})
	}
}

func (a *authority) addBindings(cfg *config.Config, cluster string, set *admission.Set) {
	next := 0
	for i := range cfg.Bindings {
		b := &cfg.Bindings[i]
		if b.Cluster != "" && b.Cluster != cluster {
			continue
		}

		out := objects.Binding{Cluster: cluster, Name: b.Name, Topics: b.Topics, Recompress: b.Recompress, OnDrop: b.OnDrop}
		admitted := set.Admitted(next)
		next++
		for n := range admitted {
			m := &admitted[n]
			if m.Refused != nil {
				out.Modules = nil
				out.Refused = m.Refused.Code
				break
			}
			out.Modules = append(out.Modules, a.add(m))
		}
		a.snapshot.Bindings = append(a.snapshot.Bindings, out)
	}
}

// add is the place of a module in the snapshot, which is new or has been there.
func (a *authority) add(m *admission.Admitted) int {
	v := &m.Verified
	key := fmt.Sprintf("%s %x %x %x %q %v %q", m.Module, m.Digest, v.ConfigDigest, v.GrantDigest, m.Functions, m.Limits, m.Tables)
	if at, ok := a.places[key]; ok {
		return at
	}

	out := objects.Module{
		Name:      m.Module,
		Wasm:      m.Digest,
		Config:    v.ConfigDigest,
		Signature: a.keep(m.Package.Signature),
		Tables:    m.Tables,
		Grant:     v.GrantDigest,
		Functions: m.Functions,
		Limits:    audit.Limits(m.Limits),
	}
	a.keepAs(out.Wasm, m.Package.Wasm)
	a.keepAs(out.Config, m.Package.Config)
	for i := range v.Counted {
		c := &v.Counted[i]
		out.Approvals = append(out.Approvals, objects.Approval{ID: c.ID, KeyID: c.KeyID, Bundle: a.keep(c.Bundle)})
	}

	a.places[key] = len(a.snapshot.Modules)
	a.snapshot.Modules = append(a.snapshot.Modules, out)
	return a.places[key]
}
