package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/ops"
	"github.com/guardlock/guardlock/signing"
)

// A gateway whose log is in no manifest writes decisions that nobody misses who reads the
// logs of the others. So it does not start before approvers signed one that has it. What
// becomes of the manifest later ends nothing: the one that was in force stays.

// judgeAgainAfter is how often a manifest that did not change is judged again: the keys
// of who signed it end.
const judgeAgainAfter = time.Minute

var (
	errManifestOlder = errors.New("it is older than one that was in force: make a larger revision")
	errManifestOther = errors.New("it is another file than the one of this revision that was in force: make a larger revision")
)

// ownLog is what a manifest must have of the gateway's own log.
type ownLog struct {
	id  [8]byte
	key string // the public half of the log key
}

// manifestFile is what watch knows of the manifest: how it looked when it was judged,
// by which trust root and when.
type manifestFile struct {
	own     ownLog
	stamp   string
	edition int
	judged  time.Time
	alarm   alarm
}

// listed is the manifest in force, for whoever asks.
type listed struct {
	manifest *manifest.Signed // nil: there is none
	problem  string           // why the file is not in force
}

func manifestPath(cfg *config.Config) string { return cfg.File(cfg.Audit.Manifest.File) }

// loadManifest is the first look. One that is not in order keeps the gateway from
// starting, unless the configuration lets it serve unlisted.
func (r *reloader) loadManifest(ctx context.Context) error {
	cfg := r.termsNow().cfg
	if cfg.Audit.Manifest.File == "" {
		return nil
	}

	err := r.readManifest(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !cfg.Audit.Manifest.Unlisted {
		return unlisted(cfg, err)
	}
	r.tellManifest(ctx, err)
	return nil
}

// unlisted says what its operator can do about a gateway that no manifest has.
func unlisted(cfg *config.Config, err error) error {
	file := manifestPath(cfg)
	from := "--from " + file
	switch {
	case errors.Is(err, manifest.ErrUnsigned), errors.Is(err, signing.ErrSignatories):
		return exit.WithHint(err, "have approvers of the trust root sign it as it is: guardlock audit manifest sign %s --key KEY", file)
	case errors.Is(err, fs.ErrNotExist):
		from = "--cluster NAME"
	case !errors.Is(err, manifest.ErrNotListed):
		return err
	}

	return exit.WithHint(err, "the gateway's log is there now: put it into the manifest, and have that signed: guardlock audit manifest make %s --dir %s --log-key %s -o %s; "+
		"to serve until then, set audit.manifest.insecure_unlisted", from, cfg.File(cfg.Audit.Dir), publicOf(cfg.File(cfg.Audit.Evidence.KeyFile)), file)
}

// lookAtManifest puts a manifest that changed into force for the next reload, and reports
// whether it did. One that cannot be used changes nothing, and is tried again.
func (r *reloader) lookAtManifest(ctx context.Context) bool {
	under := r.termsNow()
	f := &r.work.manifest
	if under.cfg.Audit.Manifest.File == "" {
		return false
	}

	stamp, _, err := r.stampManifest(ctx, under.cfg)
	due := f.edition != under.edition || r.now().Sub(f.judged) >= judgeAgainAfter || r.now().Before(f.judged)
	if err == nil && stamp == f.stamp && !due && f.alarm.text == "" {
		return false
	}

	before := r.manifestInForce()
	if err == nil {
		err = r.readManifest(ctx)
	}
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		r.work.failed = r.now()
		r.tellManifest(ctx, err)
		return false
	}

	if f.alarm.over() {
		r.log.Info("the manifest of the decision logs is in force")
	}
	return before == nil || before.Digest() != r.manifestInForce().Digest()
}

// stampManifest changes with the manifest and the signatures beside it.
func (r *reloader) stampManifest(ctx context.Context, cfg *config.Config) (stamp string, bundles []string, err error) {
	path := manifestPath(cfg)
	bundles, err = disk.Within(ctx, r.files, "the signatures of the manifest", func() ([]string, error) { return disk.Beside(path, signing.BundleSuffix) })
	if err == nil {
		stamp, err = r.files.Stamp(ctx, "the files of the manifest", append([]string{path}, bundles...)...)
	}
	if err != nil {
		return "", nil, blame(cfg.Audit.Manifest.File, fmt.Errorf("audit.manifest.file: %w", err))
	}
	return stamp, bundles, nil
}

// readManifest reads and judges the manifest, and puts it into force.
func (r *reloader) readManifest(ctx context.Context) error {
	under := r.termsNow()
	stamp, bundles, err := r.stampManifest(ctx, under.cfg) // first: what changes meanwhile is read again
	if err != nil {
		return err
	}

	f := &r.work.manifest
	signed, err := judgeManifest(ctx, r.files, under, bundles, r.now())
	if err == nil {
		err = signed.Has(under.cfg.Node, f.own.id, f.own.key)
	}
	if err == nil {
		err = r.keepManifest(ctx, under.cfg, signed)
	}
	if err != nil {
		return blame(under.cfg.Audit.Manifest.File, fmt.Errorf("audit.manifest.file %s: %w", filepath.Base(manifestPath(under.cfg)), err))
	}

	f.stamp = stamp
	f.edition = under.edition
	f.judged = r.now()
	r.setListed(func(l *listed) { *l = listed{manifest: signed} })
	return nil
}

// judgeManifest reads a manifest that enough approvers signed.
func judgeManifest(ctx context.Context, files *disk.Reader, under terms, bundles []string, now time.Time) (*manifest.Signed, error) {
	raw, err := files.Read(ctx, manifestPath(under.cfg), manifest.MaxBytes)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		return nil, err
	}

	var signatures [][]byte
	for _, path := range bundles {
		b, err := files.Read(ctx, path, manifest.MaxBytes)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, b)
	}
	return m.Verify(ctx, under.trust, signatures, now)
}

// keepManifest keeps what comes into force, and refuses what is older than that.
func (r *reloader) keepManifest(ctx context.Context, cfg *config.Config, fresh *manifest.Signed) error {
	path := cfg.AcceptedManifest()
	raw, err := r.files.Read(ctx, path, manifest.MaxBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the manifest that was kept: %w", err)
	}

	if err == nil {
		kept, err := manifest.Parse(raw)
		switch {
		case err != nil:
			return fmt.Errorf("the manifest that was kept, %s: %w", path, err)
		case kept.Digest() == fresh.Digest():
			return nil
		case fresh.Revision < kept.Revision: // whatever the cluster's name: with another one in between, old ones would come back
			return fmt.Errorf("revision %d after %d: %w", fresh.Revision, kept.Revision, errManifestOlder)
		case fresh.Revision == kept.Revision:
			return fmt.Errorf("revision %d: %w", fresh.Revision, errManifestOther)
		}
	}

	if err := disk.Replace(path, fresh.Source(), 0o600); err != nil {
		return fmt.Errorf("keeping the manifest: %w", err)
	}
	return nil
}

// tellManifest raises the alarm about a manifest that is not in force, and records the
// first time of each failure.
func (r *reloader) tellManifest(ctx context.Context, err error) {
	r.setListed(func(l *listed) { l.problem = err.Error() })
	tell, begun := r.work.manifest.alarm.ring(err, r.now())
	if tell {
		r.log.Error("MANIFEST NOT IN FORCE: whoever reads decision logs may not know that this one must be there; the gateway will not start again like this, unless insecure_unlisted is set",
			zap.String("file", manifestPath(r.termsNow().cfg)), zap.Error(err))
	}
	if begun {
		r.note(ctx, r.refused(err))
	}
}

func (r *reloader) setListed(put func(*listed)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	put(&r.listed)
}

func (r *reloader) manifestInForce() *manifest.Signed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listed.manifest
}

// manifestFiles is the manifest as an entry names it.
func manifestFiles(cfg *config.Config, m *manifest.Signed) []audit.File {
	if m == nil {
		return nil
	}
	return []audit.File{{Role: roleManifest, Name: cfg.Audit.Manifest.File, Digest: m.Digest(), Revision: m.Revision}}
}

// status is what operators are told of the manifest; nil where none is configured.
func (l *listed) status(cfg *config.Config) *ops.Manifest {
	if cfg.Audit.Manifest.File == "" {
		return nil
	}

	out := &ops.Manifest{File: cfg.Audit.Manifest.File, Signers: []string{}, Problem: l.problem}
	if m := l.manifest; m != nil {
		out.Cluster = m.Cluster
		out.Revision = m.Revision
		out.Digest = fmt.Sprintf("%x", m.Digest())
		out.Signers = signersOf(m.Signers)
	}
	return out
}

func signersOf(all []signing.Signatory) []string {
	names := []string{}
	for _, s := range all {
		names = append(names, string(s.Identity))
	}
	return names
}
