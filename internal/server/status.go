package server

import (
	"cmp"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/ops"
)

// shownEnds is how many of the next ends a status tells.
const shownEnds = 5

// reloadCounts are how reloads went since the start.
type reloadCounts struct{ applied, refused atomic.Uint64 }

// bindingKey tells bindings apart.
type bindingKey struct{ cluster, binding string }

// since is what a binding was, and from when on.
type since struct {
	grant  audit.Digest
	reason string
	at     time.Time
}

// sinceWhen keeps the time of bindings that are what they were. Those that are gone
// are forgotten.
func sinceWhen(before map[bindingKey]since, sets map[string]*admission.Set, now time.Time) map[bindingKey]since {
	after := map[bindingKey]since{}
	for cluster, set := range sets {
		for i := range set.Bindings {
			g := set.Bindings[i].Grant
			at := bindingKey{cluster, g.Binding}
			fresh := since{g.GrantDigest, g.Why, now}
			if old, ok := before[at]; ok && old.grant == fresh.grant && old.reason == fresh.reason {
				fresh = old
			}
			after[at] = fresh
		}
	}

	return after
}

// explained is what follows from files alone: which module would run where, and by
// whose leave. A gateway that serves and an offline check explain alike.
type explained struct {
	cfg     *config.Config
	sets    map[string]*admission.Set
	revoked map[string]*admission.Refused // by module: taken out of service since
	stale   *admission.Refused            // of every module
	since   map[bindingKey]since
	files   []audit.File
	listed  listed
}

func (e *explained) status(now time.Time) ops.Status {
	s := ops.Status{
		Node:     e.cfg.Node,
		Version:  build.Read().Version,
		Now:      now.UTC(),
		Missing:  []string{},
		Files:    []ops.File{},
		Insecure: append([]string{}, e.cfg.Insecure()...),
		Clusters: []ops.Cluster{},
		Bindings: []ops.Binding{},
		Ends:     []ops.End{},
	}
	for _, f := range e.files {
		s.Files = append(s.Files, ops.File{
			Role:     f.Role,
			Name:     f.Name,
			Digest:   hex.EncodeToString(f.Digest[:]),
			Revision: f.Revision,
		})
	}

	s.Manifest = e.listed.status(e.cfg)
	for _, cl := range e.cfg.Clusters {
		s.Clusters = append(s.Clusters, ops.Cluster{Name: cl.Name, Address: cl.Listen.Address})
		s.Bindings = append(s.Bindings, e.bindings(cl.Name)...)
	}

	return s
}

func (e *explained) bindings(cluster string) []ops.Binding {
	set := e.sets[cluster]
	if set == nil {
		return nil
	}

	var all []ops.Binding
	for i := range set.Bindings {
		b := &set.Bindings[i]
		out := ops.Binding{
			Cluster:   cluster,
			Binding:   b.Grant.Binding,
			Topics:    b.Topics,
			Since:     e.since[bindingKey{cluster, b.Grant.Binding}].at,
			Until:     b.Grant.ValidUntil,
			Suspended: b.Grant.Conduct.Suspended(),
			Refused:   b.Grant.Why,
			Modules:   []ops.Module{},
		}

		for _, m := range set.Admitted(i) {
			out.Modules = append(out.Modules, moduleOf(&m))
			refused := m.Refused
			gone := cmp.Or(e.revoked[m.Module], e.stale)
			if gone != nil {
				refused = gone
				out.Refused = gone.Code
			}

			if refused != nil && out.Problem == "" {
				out.Problem = refused.Error()
				out.Cure = cure(refused.Code)
			}
		}

		all = append(all, out)
	}

	return all
}

func moduleOf(m *admission.Admitted) ops.Module {
	v := &m.Verified
	out := ops.Module{
		Name:      m.Module,
		Digest:    hex.EncodeToString(m.Digest[:]),
		Config:    hex.EncodeToString(m.Config[:]),
		Author:    string(v.Author),
		Functions: append([]string{}, m.Functions...),
		Keys:      append([]string{}, v.Grant.Keys...),
		Routes:    append([]string{}, v.Grant.Routes...),
		Approvals: []ops.Approval{},
	}
	for _, a := range v.Counted {
		out.Approvals = append(out.Approvals, ops.Approval{
			Approver: string(a.Approver),
			Ticket:   a.Ticket,
			Until:    a.Until,
		})
	}

	return out
}

// What helps where a module is refused.
const (
	cureApproval = "have it approved as it is: guardlock module approve"
	cureFiles    = "put the files back that the configuration names: guardlock check tells which"
	cureWait     = "it is asked again by itself; look at policy.path and the load of the machine"
	cureRevoked  = "it was revoked on purpose: bind another module, or ask who keeps the trust root"
	cureTrust    = "see why the trust root cannot be read, or is not written any more: guardlock check, and the gateway's log"
	cureLook     = "guardlock module verify shows each step, and docs/reasons.md what the reason means"
)

var cures = map[string]string{
	"approvals_missing":   cureApproval,
	"audience_other":      cureApproval,
	"author_approved":     cureApproval,
	"config_changed":      cureApproval,
	"expired":             cureApproval,
	"import_not_approved": cureApproval,
	"topic_not_granted":   cureApproval,
	"key_missing":         cureFiles,
	"package_unreadable":  cureFiles,
	"policy_unavailable":  cureWait,
	"start_unavailable":   cureWait,
	"revoked":             cureRevoked,
	staleCode:             cureTrust,
}

// cure is what whoever runs the gateway does about a refusal. Reasons of policies
// are theirs, so that all others are looked at step by step.
func cure(code string) string {
	if c := cures[code]; c != "" {
		return c
	}
	return cureLook
}

// ends are all ends that bindings depend on, the soonest first.
func (e *explained) ends() []ops.End {
	found := map[ops.End]bool{}
	for cluster, set := range e.sets {
		for i := range set.Bindings {
			g := set.Bindings[i].Grant
			found[ops.End{Kind: "grant", Name: cluster + "/" + g.Binding, At: g.ValidUntil}] = true
			for _, m := range set.Admitted(i) {
				found[ops.End{Kind: "author_key", Name: m.Module, At: m.Verified.AuthorUntil}] = true
				if v := &m.Verified; len(v.Counted) > 0 {
					found[ops.End{Kind: "approval", Name: m.Module, At: v.Grant.NotAfter}] = true
				}
			}
		}
	}

	return soonest(found)
}

func soonest(found map[ops.End]bool) []ops.End {
	all := []ops.End{}
	for end := range found {
		if !end.At.IsZero() {
			end.At = end.At.UTC()
			all = append(all, end)
		}
	}

	slices.SortFunc(all, func(a, b ops.End) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// explain is what is in force now.
func (r *reloader) explain() *explained {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &explained{
		cfg:     r.terms.cfg,
		sets:    r.sets,
		revoked: maps.Clone(r.revoked),
		stale:   r.stale,
		since:   r.since,
		files:   r.loaded,
		listed:  r.listed,
	}
}

// ends are all ends that bindings, clients or brokers depend on.
func (v *view) ends(e *explained) []ops.End {
	found := map[ops.End]bool{}
	for _, end := range e.ends() {
		found[end] = true
	}

	for _, c := range v.certificates {
		if leaf, err := x509.ParseCertificate(c.now().Certificate[0]); err == nil {
			found[ops.End{Kind: "certificate", Name: filepath.Base(c.file), At: leaf.NotAfter}] = true
		}
	}

	return soonest(found)
}

// Status implements ops.Source.
func (v *view) Status() ops.Status {
	e := v.reloader.explain()
	s := e.status(v.now())
	s.Started = v.started.UTC()
	s.Missing = append(s.Missing, v.Missing()...)
	s.Ready = len(s.Missing) == 0
	ends := v.ends(e)
	s.Ends = ends[:min(len(ends), shownEnds)]

	for i := range s.Clusters {
		v.addCluster(&s.Clusters[i])
	}
	s.Log = v.logStatus()
	s.Clock = v.clockStatus()
	return s
}

func (v *view) addCluster(to *ops.Cluster) {
	c := v.gateway.Cluster(to.Name)
	n := c.Count()
	to.Address = c.Addr()
	to.Connections = n.Connections
	to.InFlight = n.InFlight
	to.Unresolved = n.Unresolved
	to.Problem = unreached(c)
	to.Reached = to.Problem == ""
	to.Reconciled = v.reconciledStatus(to.Name)

	if r := c.Reach(); r != nil {
		to.Asked = r.At.UTC()
	}
}

func (v *view) logStatus() *ops.Log {
	n := v.journal.Count()
	dir := v.cfg.File(v.cfg.Audit.Dir)
	out := &ops.Log{
		Dir:       dir,
		ID:        hex.EncodeToString(v.commits.own.id[:]),
		Entries:   max(n.NextSeq, 1) - 1, // the first is number 1
		Pending:   n.Pending,
		Open:      n.Open,
		Committed: max(v.commits.state.next.Load(), 1) - 1,
	}
	for i, w := range v.commits.opt.Witnesses {
		behind := v.commits.state.leaves.Load() - v.commits.state.witnessed[i].Load()
		out.Witnesses = append(out.Witnesses, ops.Witness{Name: w.Name(), Behind: max(behind, 0)})
	}

	if n.Err != nil {
		out.Problem = n.Err.Error()
	}
	if at := v.commits.state.at.Load(); at != 0 {
		out.Checkpoint = time.Unix(0, at).UTC()
	}

	var err error
	if out.DiskFree, err = disk.Free(dir); err != nil {
		out.DiskFree = -1
	}

	out.DiskLow = v.space.alarmed()
	segments, _ := filepath.Glob(filepath.Join(dir, "audit-*.wal"))
	out.Segments = len(segments)

	for _, path := range segments {
		if info, err := os.Stat(path); err == nil { // it may have been pruned
			out.Bytes += info.Size()
		}
	}

	return out
}

var _ ops.Source = (*view)(nil)

// eachCluster gives the clusters with what was counted of them.
func (v *view) eachCluster(yield func(*gateway.Cluster, gateway.ClusterCount)) {
	v.gateway.EachCluster(func(c *gateway.Cluster) { yield(c, c.Count()) })
}
