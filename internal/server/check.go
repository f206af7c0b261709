package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/ops"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// Report is what Check found, so that a command can print it and choose its
// exit code.
type Report struct {
	Problems []error  // each keeps a gateway from starting
	Unread   bool     // the file itself could not be read, which is the one problem
	Insecure []string // settings that a gateway warns of at its start
	Refused  []error  // modules that would not run: a gateway starts, and refuses their topics
	Warnings []error  // what else a gateway that starts could not do
	Bindings []Bound  // what would run where, in the order in which bindings are looked at
	Reasons  []Catalogue
	Config   *config.Config // nil where it makes no sense
	Status   *ops.Status    // what a gateway would tell of itself; nil where that is not known
}

// Bound is one binding as a gateway would serve it.
type Bound struct {
	Cluster string
	Binding string
	Topics  []string
	Modules []string
	Until   time.Time // when its modules must be judged again; zero without one
	Refused string    // the reason why everything is refused, of a closed catalogue; empty: it runs
	// Isolation is what the guests of its modules are kept apart from.
	Isolation string
}

// Catalogue are the reasons that a module which would run can give.
type Catalogue struct {
	Module  string
	Reasons []string
}

// checking is one check under way, with what of the configuration could be
// loaded so far.
type checking struct {
	Report
	cfg    *config.Config
	files  *disk.Reader
	keys   map[string][]byte
	policy *policy.Engine
	trust  *signing.TrustRoot

	listed listed // by the manifest that would be in force
}

// Check reads a configuration as a gateway would, and finds all that can be found
// without serving.
func Check(ctx context.Context, path string) Report {
	c := &checking{files: disk.NewReader(readWithin)}
	raw, err := c.files.Read(ctx, path, disk.MaxBytes)
	if err != nil {
		return Report{Problems: []error{err}, Unread: true}
	}

	cfg, wrong := config.Inspect(raw, path)
	c.Problems = wrong.Unwrap()
	if cfg == nil {
		return c.Report
	}

	c.cfg = cfg
	c.Config = cfg
	c.Insecure = cfg.Insecure()
	c.checkAll(ctx, len(wrong) == 0)

	return c.Report
}

// checkAll goes on to what the configuration names. Modules, and what listeners
// need, are looked at only if the configuration itself makes sense.
func (c *checking) checkAll(ctx context.Context, valid bool) {
	var err error
	c.keys, err = loadKeys(c.cfg)
	c.problem("", err)
	c.policy, err = loadPolicy(ctx, c.files, c.cfg)
	c.problem("", err)
	c.checkTrust(ctx)

	if !valid {
		c.checkModuleFiles(ctx)
		return
	}

	c.checkClusters()
	c.checkManifest(ctx)
	c.checkOthers()
	if c.policy != nil && (c.trust != nil || len(c.cfg.Modules) == 0) {
		c.problem("", c.checkModules(ctx))
	}
}

// problem notes every problem in err, each behind the place where it is. A nil
// error is none.
func (c *checking) problem(where string, err error) {
	for _, one := range unjoin(err) {
		if where != "" {
			one = fmt.Errorf("%s: %w", where, one)
		}
		c.Problems = append(c.Problems, one)
	}
}

func (c *checking) checkTrust(ctx context.Context) {
	if !c.cfg.NeedsTrust() || c.cfg.Trust.Root == "" {
		return
	}

	raw, err := c.files.Read(ctx, c.cfg.File(c.cfg.Trust.Root), signing.MaxTrustRootBytes)
	if err == nil {
		c.trust, err = parseTrust(raw, c.cfg)
	}
	c.problem("trust.root", err)
}

// checkManifest judges the manifest as a gateway would that has the log which is there.
func (c *checking) checkManifest(ctx context.Context) {
	if c.cfg.Audit.Manifest.File == "" || c.trust == nil {
		return
	}

	m, err := c.judgeManifest(ctx)
	if err == nil {
		c.listed.manifest = m
		return
	}
	c.listed.problem = err.Error()
	if !c.cfg.Audit.Manifest.Unlisted {
		c.problem("audit.manifest.file", err)
	}
}

func (c *checking) judgeManifest(ctx context.Context) (*manifest.Signed, error) {
	bundles, err := disk.Beside(manifestPath(c.cfg), signing.BundleSuffix)
	if err != nil {
		return nil, err
	}
	m, err := judgeManifest(ctx, c.files, terms{cfg: c.cfg, trust: c.trust}, bundles, time.Now())
	if err != nil {
		return nil, err
	}

	own, err := ownLogOf(c.cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return m, m.Names(c.cfg.Node) // the first start makes the log
	}
	if err != nil {
		return nil, err
	}
	return m, m.Has(c.cfg.Node, own.id, own.key)
}

// checkOthers finds logs of other gateways that looks for records without a decision could
// not read, or that would be missing.
func (c *checking) checkOthers() {
	if c.cfg.Audit.Reconcile.Every == 0 {
		return
	}

	o := openOthers(c.cfg)
	defer o.close()
	if m := c.listed.manifest; m != nil {
		o.hold(m.Manifest)
	} else if c.cfg.Audit.Manifest.File != "" {
		o.problems = append(o.problems, errNoManifest)
	}
	for _, err := range o.problems {
		c.Warnings = append(c.Warnings, fmt.Errorf("%w: until that is mended, no look for records without a decision comes to a conclusion", err))
	}
}

// checkClusters opens what the listeners and the connections to clusters need,
// as files, and connects to nobody.
func (c *checking) checkClusters() {
	s := &Server{cfg: c.cfg, reader: c.files}
	if o := c.cfg.Ops; o != nil {
		_, err := s.opsConfig(o)
		c.problem("ops", err)
		if o.Traces != nil {
			_, err := s.collectorTLS(o.Traces)
			c.problem("ops.traces", err)
		}
	}
	_, err := stamping(c.cfg)
	c.problem("", err)

	for _, cl := range c.cfg.Clusters {
		if t := cl.Listen.TLS; t != nil {
			_, err := s.serverTLS(t)
			c.problem(cl.Name+": listen.tls", err)
		}

		_, err := s.access(cl)
		c.problem(cl.Name, err)
		if u := cl.Broker.Upstream; u != nil {
			_, _, err := s.realCluster(u)
			c.problem(cl.Name, err)
		}
	}
}

// checkModuleFiles finds modules of which a file cannot be read, where the
// configuration allows no more.
func (c *checking) checkModuleFiles(ctx context.Context) {
	for _, m := range c.cfg.Modules {
		if missing := readModule(ctx, c.files, c.cfg, m).Missing; missing != nil {
			c.Refused = append(c.Refused, fmt.Errorf("module %s: %w", m.Name, missing))
		}
	}
}

// checkModules admits every module as a gateway would, but records nothing and
// serves nothing.
func (c *checking) checkModules(ctx context.Context) error {
	runtime, err := transforms.New(transforms.Config{Trial: []string{transforms.TrialCommand}, Worker: []string{transforms.WorkerCommand}})
	if err != nil {
		return err
	}

	defer runtime.Close(ctx)

	a := admission.New(admission.Admitter{
		Trust:   c.trust,
		Policy:  c.policy,
		Runtime: runtime,
		Keys:    c.keys,
		Record:  forget{},
		Node:    c.cfg.Node,
		Version: build.Read().Version,
		Now:     time.Now,
	})

	sets, err := admitAll(ctx, a, c.cfg, packages{}.read(ctx, c.files, c.cfg))
	if err != nil {
		return err
	}

	for _, cl := range c.cfg.Clusters {
		for _, refused := range sets[cl.Name].Refusals {
			c.Refused = append(c.Refused, refused)
		}
		for i, r := range rules(c.cfg, cl.Name) {
			b := &sets[cl.Name].Bindings[i]
			shown := bound(cl.Name, b)
			shown.Isolation = string(r.Isolation)
			c.Bindings = append(c.Bindings, shown)
			c.addReasons(b.Grant)
		}
	}

	e := &explained{
		cfg:    c.cfg,
		sets:   sets,
		files:  append(filesOf(terms{cfg: c.cfg, trust: c.trust}, c.policy), manifestFiles(c.cfg, c.listed.manifest)...),
		listed: c.listed,
	}
	status := e.status(time.Now())
	ends := e.ends()
	status.Ends = ends[:min(len(ends), shownEnds)]
	c.Status = &status

	closeAll(ctx, sets)
	return nil
}

// addReasons notes the reasons of modules that are not noted yet.
func (c *checking) addReasons(g *pipeline.Grant) {
	for i, m := range g.Modules {
		if slices.ContainsFunc(c.Reasons, func(known Catalogue) bool { return known.Module == m.Name }) {
			continue
		}
		c.Reasons = append(c.Reasons, Catalogue{m.Name, g.Reasons[i][1:]}) // the first is "unspecified"
	}
}

func bound(cluster string, b *gateway.Binding) Bound {
	names := make([]string, len(b.Grant.Modules))
	for i, m := range b.Grant.Modules {
		names[i] = m.Name
	}

	return Bound{
		Cluster: cluster,
		Binding: b.Grant.Binding,
		Topics:  b.Topics,
		Modules: names,
		Until:   b.Grant.ValidUntil,
		Refused: b.Grant.Why,
	}
}

// forget records nothing, since nothing takes effect in a check.
type forget struct{}

// Record implements admission.Recorder and never fails.
func (forget) Record(context.Context, audit.ControlEntry) error { return nil }

// unjoin takes errors.Join apart again, so that each error gets a line of its
// own. A nil error gives none.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
