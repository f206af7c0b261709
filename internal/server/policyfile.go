package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/policy"
)

// maxPolicyBundle bounds the file of a bundle in bytes. It is more than a
// policy may hold, so that the policy's own bound says what is wrong.
const maxPolicyBundle = 64 << 20

// keptPolicy is the file in the data directory that holds the last signed bundle
// that was in force. It is verified like any other when it is read: it needs no
// mark of its own to tell which revision was reached.
const keptPolicy = "policy.accepted.tar.gz"

var errPolicyOlder = errors.New("the bundle is older than one that was in force: build it with a larger revision")

// loadPolicy loads the policy that the configuration names: a directory, a
// bundle, or without a path the built-in one.
func loadPolicy(ctx context.Context, files *disk.Reader, cfg *config.Config) (*policy.Engine, error) {
	path := cfg.File(cfg.Policy.Path)
	options := policy.Options{Worker: []string{policy.WorkerCommand}}
	switch {
	case path == "":
		return policy.Load(ctx, policy.Default())
	case strings.HasSuffix(path, ".tar.gz"):
		engine, _, err := loadBundle(ctx, files, cfg, path)
		return engine, err
	default:
		engine, err := disk.Within(ctx, files, path, func() (*policy.Engine, error) { return policy.LoadWith(ctx, disk.Tree(path), options) })
		if err != nil {
			return nil, blame(cfg.Policy.Path, fmt.Errorf("policy.path %s: %w", cfg.Policy.Path, err))
		}
		return engine, nil
	}
}

// loadBundle loads a bundle, verified if there are keys, and returns its bytes
// too, to be kept.
func loadBundle(ctx context.Context, files *disk.Reader, cfg *config.Config, path string) (*policy.Engine, []byte, error) {
	options := policy.Options{Worker: []string{policy.WorkerCommand}}
	for i, k := range cfg.Policy.Keys {
		pem, err := files.Read(ctx, cfg.File(k.File), disk.MaxBytes)
		if err != nil {
			return nil, nil, blame(k.File, fmt.Errorf("policy.keys[%d].file: %w", i, err))
		}
		options.Keys = append(options.Keys, policy.Key{ID: k.ID, PEM: string(pem), Algorithm: k.Algorithm, Scope: k.Scope})
	}

	raw, err := files.Read(ctx, path, maxPolicyBundle)
	if err != nil {
		return nil, nil, blame(cfg.Policy.Path, fmt.Errorf("policy.path: %w", err))
	}

	engine, err := policy.LoadBundle(ctx, raw, options)
	if err != nil {
		return nil, nil, blame(cfg.Policy.Path, fmt.Errorf("policy.path %s: %w", filepath.Base(path), err))
	}

	return engine, raw, nil
}

// policyFile loads the policy to put into force. A signed bundle is kept, and never
// followed by an older one. If there is none to follow, and no policy is in force
// yet, the one that was kept serves.
func (r *reloader) policyFile(ctx context.Context) (*policy.Engine, error) {
	cfg := r.termsNow().cfg
	if len(cfg.Policy.Keys) == 0 {
		return loadPolicy(ctx, r.files, cfg)
	}

	fresh, raw, err := loadBundle(ctx, r.files, cfg, cfg.File(cfg.Policy.Path))
	kept, keptRaw := r.kept(ctx, cfg)
	switch {
	case err != nil:
	case kept == nil:
		return fresh, r.keep(cfg, raw)
	case fresh.Revision() == kept.Revision():
		return fresh, nil
	case fresh.BundleRevision() <= kept.BundleRevision():
		err = blame(cfg.Policy.Path, fmt.Errorf("policy.path: revision %d after %d: %w", fresh.BundleRevision(), kept.BundleRevision(), errPolicyOlder))
	case !bytes.Equal(raw, keptRaw):
		return fresh, r.keep(cfg, raw)
	}

	if kept == nil || r.work.policy != nil {
		return nil, err
	}
	r.log.Error("the policy cannot be used; the last good one serves", zap.Int64("revision", kept.BundleRevision()), zap.Error(err))
	return kept, nil
}

// kept is the last signed bundle that was in force, if there is one that the keys
// verify: keys that were replaced begin anew.
func (r *reloader) kept(ctx context.Context, cfg *config.Config) (*policy.Engine, []byte) {
	path := filepath.Join(cfg.File(cfg.DataDir), keptPolicy)
	engine, raw, err := loadBundle(ctx, r.files, cfg, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("the policy that was kept cannot be used", zap.Error(err))
	}
	return engine, raw
}

func (r *reloader) keep(cfg *config.Config, raw []byte) error {
	dir := cfg.File(cfg.DataDir)
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = disk.Replace(filepath.Join(dir, keptPolicy), raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping the policy: %w", err)
	}

	return nil
}
