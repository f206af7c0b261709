package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// reloader keeps what is served true to the files of trust, policy and modules.
//
// Two goroutines do it. watchTrust looks at the trust root alone, and takes what
// it revokes out of service at once, on every binding. watch admits everything
// anew, which may take long: a module to compile, a policy to ask. The first never
// waits for the second, so that nothing in a package can hold up a revocation.
type reloader struct {
	// Fixed once made.
	log     *Logger
	files   *disk.Reader
	record  admission.Recorder
	runtime *transforms.Runtime
	pools   *admission.Pools
	memory  *admission.Memory
	conduct *conduct
	keeping
	serve func(cluster string, b *gateway.Bindings)
	now   func() time.Time

	// Owned by watch; by load before that runs.
	work building

	// Owned by watchTrust; by load before that runs.
	trustFile trustFile

	reminders

	mu sync.Mutex // guards what follows
	inForce
}

// keeping is where the files stay that entries of the decision log name.
type keeping struct {
	keeper  func(id, key string, bundle []byte) error // of approvals
	objects *objects.Store
}

// reminders are what others tell the two goroutines: wake tells watch that the terms
// changed; again and trustAgain tell watch and watchTrust to read files even if they
// did not.
type reminders struct {
	wake       chan struct{}
	again      atomic.Bool
	trustAgain chan struct{}
}

// building is what watch knows of the files, and when it is to try again.
type building struct {
	policy   *policy.Engine
	packages packages                    // as the files are
	admitted map[string]admission.Module // by module: the last that was admitted

	policyStamp, packageStamp string
	authority                 audit.Digest // of the snapshot that was recorded last
	manifest                  manifestFile

	failed time.Time // when reading or building did last

	// While somebody could not be asked (a policy that took too long), it is asked
	// again after a pause that doubles.
	askAt time.Time // zero: everything was answered
	pause time.Duration

	files, policyFile, build, asking alarm
}

// terms are what modules are admitted by, but for the policy, which watch alone
// reads.
type terms struct {
	cfg     *config.Config
	keys    map[string][]byte // secrets by name
	trust   *signing.TrustRoot
	edition int // counts their changes
}

// inForce is what is served, and on which terms. It is what a revocation looks
// at.
type inForce struct {
	terms

	builtFor int                           // the edition that sets were built for
	admin    adminPolicy                   // that the sets were built under
	sets     map[string]*admission.Set     // by cluster
	modules  map[string]admission.Module   // what the sets were built from
	revoked  map[string]*admission.Refused // by module: taken out of service since
	loaded   []audit.File                  // what the sets were built from
	counts   reloadCounts                  // atomic
	since    map[bindingKey]since          // that bindings are as they are
	listed   listed                        // by which the gateway's log is known

	trustAge
}

// trustAge is how the trust root fares.
type trustAge struct {
	fresh   freshness
	stale   *admission.Refused // of every module, since the trust root is too old; nil: it is not
	failing bool               // its file cannot be used
}

func newReloader(s *Server) *reloader {
	r := &reloader{
		log:     s.log,
		files:   s.reader,
		record:  s.journal,
		runtime: s.runtime,
		pools:   admission.NewPools(),
		memory:  admission.NewMemory(),
		conduct: newConduct(s.cfg.Limits),
		keeping: keeping{keepApprovals(s.cfg), s.objectStore()},
		serve:   func(cluster string, b *gateway.Bindings) { s.gateway.Cluster(cluster).SetBindings(b) },
		now:     s.now,

		reminders: reminders{wake: make(chan struct{}, 1), trustAgain: make(chan struct{}, 1)},
		inForce:   inForce{terms: terms{cfg: s.cfg, keys: s.keys}},
	}

	r.work.packages = packages{}
	r.work.admitted = map[string]admission.Module{}
	if s.commits != nil {
		r.work.manifest.own = s.commits.own
	}

	return r
}

// load reads everything for the first time. Here a trust root or a policy that
// cannot be used is an error: there is none yet that could stay.
func (r *reloader) load(ctx context.Context) error {
	err := r.loadTrust(ctx)
	if err == nil {
		err = r.loadPolicy(ctx)
	}
	if err == nil {
		err = r.loadManifest(ctx)
	}
	if err != nil {
		return errors.Join(err, r.recordConfig(ctx, r.refused(err)))
	}

	if r.work.packageStamp, err = r.stampPackages(ctx); err != nil {
		return err
	}
	return r.reload(ctx)
}

// watchEvery bounds how long a revocation takes to be seen: invariant 2 says
// within a second on every topic.
const watchEvery = 250 * time.Millisecond

// retryAfter is the pause after reading or building failed, so that a file that
// stays broken does not cost all the time.
const retryAfter = 500 * time.Millisecond

// watch reloads when a file of policy or modules has changed, when the terms have,
// and when the first grant ends, until ctx ends.
func (r *reloader) watch(ctx context.Context) {
	lookUntil(ctx, r.wake, func(bool) {
		if r.again.Swap(false) {
			r.work.policyStamp = ""
			r.work.manifest.stamp = ""
			r.work.packageStamp = ""
			r.work.packages = packages{}
		}

		r.look(ctx)
	})
}

// look reloads if there is a reason to: files that changed, terms that changed,
// a grant that ended, or somebody to ask again.
func (r *reloader) look(ctx context.Context) {
	w := &r.work
	if r.now().Sub(w.failed) < retryAfter {
		return
	}

	policyChanged := r.lookAtPolicy(ctx)
	manifestChanged := r.lookAtManifest(ctx)
	stamp, err := r.stampPackages(ctx)
	if r.tell(&w.files, err, "the files of modules cannot be looked at; what was read before stays") {
		stamp = w.packageStamp
	}

	askAgain := !w.askAt.IsZero() && !r.now().Before(w.askAt)
	if !policyChanged && !manifestChanged && stamp == w.packageStamp && w.build.text == "" && !askAgain && r.isCurrent() {
		return
	}

	err = r.reload(ctx)
	if ctx.Err() != nil || r.tell(&w.build, err, "reloading failed; the bindings stay as they are; trying again") {
		return
	}

	w.packageStamp = stamp
	r.log.Info("reloaded trust, policy and modules")
}

// lookAtPolicy puts a policy that changed into force for the next reload, and
// reports whether it did. One that cannot be used changes nothing; it is tried
// again, since one that was half written may get its rest without a change of size
// or time.
func (r *reloader) lookAtPolicy(ctx context.Context) bool {
	w := &r.work
	stamp, err := r.stampPolicy(ctx)
	if err == nil && stamp == w.policyStamp && w.policyFile.text == "" {
		return false
	}
	if err == nil {
		err = r.loadPolicy(ctx)
	}
	if ctx.Err() != nil {
		return false
	}

	known := w.policyFile.text
	if !r.tell(&w.policyFile, err, "the policy cannot be used; the old one stays in force") {
		return true
	}
	if known != w.policyFile.text {
		r.note(ctx, r.refused(err))
	}

	return false
}

// tell tells of err, if it is one that is new or lasts, and reports whether it is
// one.
func (r *reloader) tell(a *alarm, err error, message string) bool {
	if err == nil {
		if a.over() {
			r.log.Info("over: " + message)
		}
		return false
	}

	r.work.failed = r.now()
	if tell, _ := a.ring(err, r.now()); tell {
		r.log.Error(message, zap.Error(err))
	}
	return true
}

// isCurrent reports whether nothing has begun, ended or changed since the sets in
// force were built, also by a clock that was set.
func (r *reloader) isCurrent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, set := range r.sets {
		if !set.Current(r.now()) {
			return false
		}
	}

	return r.builtFor == r.edition
}

// reload admits everything anew and serves what comes of it. On an error the
// bindings stay as they are.
func (r *reloader) reload(ctx context.Context) error {
	under := r.termsNow()

	a := r.admitter(under)
	candidates := r.work.packages.read(ctx, r.files, under.cfg)
	chosen := r.choose(ctx, a, candidates)

	sets, err := admitAll(ctx, a, under.cfg, chosen)
	if err != nil {
		return err
	}

	if again := r.fallBack(ctx, a, chosen, sets); len(again) > 0 {
		closeAll(ctx, sets)
		for name, m := range again {
			chosen[name] = m
		}
		if sets, err = admitAll(ctx, a, under.cfg, chosen); err != nil {
			return err
		}
	}

	files := append(filesOf(under, r.work.policy), manifestFiles(under.cfg, r.manifestInForce())...)
	if err := r.recordApplied(ctx, files); err != nil {
		closeAll(ctx, sets)
		return err
	}
	if err := r.recordAuthority(ctx, under, files, sets); err != nil {
		closeAll(ctx, sets)
		return err
	}

	r.tellRefusals(sets)
	r.tellUndecided(sets)
	r.swap(ctx, under.edition, sets, chosen)
	r.setFiles(files)
	r.counts.applied.Add(1)
	r.remember(chosen, sets)

	return nil
}

func (r *reloader) admitter(under terms) *admission.Admitter {
	return &admission.Admitter{
		Trust:   under.trust,
		Policy:  r.work.policy,
		Runtime: r.runtime,
		Keys:    under.keys,
		Record:  r.record,
		Node:    under.cfg.Node,
		Version: build.Read().Version,
		Now:     r.now,
		Pools:   r.pools,
		Memory:  r.memory,
		Keep:    r.keeper,
	}
}

// admitAll admits modules for the bindings of every cluster. On an error
// nothing is left running.
func admitAll(ctx context.Context, a *admission.Admitter, cfg *config.Config, modules map[string]admission.Module) (map[string]*admission.Set, error) {
	sets := map[string]*admission.Set{}
	for _, cl := range cfg.Clusters {
		set, err := a.Build(ctx, rules(cfg, cl.Name), modules)
		if err != nil {
			closeAll(ctx, sets)
			return nil, fmt.Errorf("building the bindings: %w", err)
		}
		sets[cl.Name] = set
	}

	return sets, nil
}

func closeAll(ctx context.Context, sets map[string]*admission.Set) {
	for _, set := range sets {
		set.Close(ctx)
	}
}

// noteWithin bounds the wait for an entry that nothing depends on.
const noteWithin = 5 * time.Second

func (r *reloader) termsNow() terms {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.terms
}

// close closes the modules in force, at the end of the gateway.
func (r *reloader) close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, set := range r.sets {
		errs = append(errs, set.Close(ctx))
	}

	r.sets = nil
	return errors.Join(errs...)
}

// loadPolicy reads the policy. The stamp is taken first: what changes while it
// is read is read again.
func (r *reloader) loadPolicy(ctx context.Context) error {
	stamp, err := r.stampPolicy(ctx)
	if err != nil {
		return blame(r.termsNow().cfg.Policy.Path, fmt.Errorf("policy.path: %w", err))
	}

	fresh, err := r.policyFile(ctx)
	if err != nil {
		return err
	}

	r.work.policy = fresh
	r.work.policyStamp = stamp
	return nil
}

// stampPolicy changes with the files of the policy and of the keys that verify
// it.
func (r *reloader) stampPolicy(ctx context.Context) (string, error) {
	cfg := r.termsNow().cfg
	if cfg.Policy.Path == "" {
		return "built in", nil
	}

	paths := []string{cfg.File(cfg.Policy.Path)}
	for _, k := range cfg.Policy.Keys {
		paths = append(paths, cfg.File(k.File))
	}
	return r.files.Stamp(ctx, "the files of the policy", paths...)
}

// stampPackages changes with the files of modules, whatever of them changed.
func (r *reloader) stampPackages(ctx context.Context) (string, error) {
	cfg := r.termsNow().cfg
	var paths []string
	for _, m := range cfg.Modules {
		paths = append(paths, moduleFiles(cfg, m)...)
	}

	return r.files.Stamp(ctx, "the files of modules", paths...)
}
