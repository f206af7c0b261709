package query

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/pattern"
)

// Admissions finds the entries that let the modules of a row's batch run: for each
// module the last one before the batch that is of its bytes, reaches the topic and
// has its grant. The modules of a chain stand in its order. Nil where the log does
// not hold all of them: they may have been in a part of it that was removed.
func (r *Reader) Admissions(ctx context.Context, d Decision) (all []Decision, err error) {
	if d.Batch == nil || len(d.Batch.Modules) == 0 || d.Batch.GrantDigest == (audit.Digest{}) {
		return nil, nil
	}

	f := Filter{
		Kinds:    []audit.Kind{audit.KindAdmission, audit.KindStanding},
		Outcomes: []string{"allowed"},
	}
	for i := range d.Batch.Modules {
		f.Modules = append(f.Modules, d.Batch.Modules[i].Digest.String())
	}

	j := join{batch: &d, found: make([][]Decision, len(d.Batch.Modules))}
	err = r.before(ctx, f, d.ID.Seq, func(found Decision) bool {
		if j.add(found) {
			all = j.chain(0, audit.Digest{})
		}
		return all == nil
	})
	return all, err
}

// join looks for the admissions whose grants together are the batch's.
type join struct {
	batch *Decision
	found [][]Decision // by module, each grant once, the latest first
	tried int
}

// maxTried bounds the combinations of grants that are looked at.
const maxTried = 1 << 16

// add takes an admission that may be one of those looked for, and reports whether it
// is news.
func (j *join) add(d Decision) bool {
	a := d.Control.Admission
	if d.Control.Revision != j.batch.Batch.PolicyRevision || a != nil && !pattern.Any(a.Topics, j.batch.Topic) {
		return false
	}
	if a != nil && a.Cluster != "" && a.Cluster != j.batch.Cluster {
		return false // it let the module run on a binding of another cluster
	}

	news := false
	for i := range j.found {
		if d.Control.Module != j.batch.Batch.Modules[i] || j.has(i, GrantOf(d.Control)) {
			continue
		}
		j.found[i] = append(j.found[i], d)
		news = true
	}

	return news
}

func (j *join) has(module int, grant audit.Digest) bool {
	for i := range j.found[module] {
		if GrantOf(j.found[module][i].Control) == grant {
			return true
		}
	}
	return false
}

// chain goes on with a chain from a module, whose grants so far come to a digest.
func (j *join) chain(module int, sum audit.Digest) []Decision {
	if module == len(j.found) {
		if sum == j.batch.Batch.GrantDigest {
			return make([]Decision, 0, module)
		}
		return nil
	}

	for _, d := range j.found[module] {
		if j.tried++; j.tried > maxTried {
			return nil
		}
		if rest := j.chain(module+1, sum.And(GrantOf(d.Control))); rest != nil {
			return append([]Decision{d}, rest...)
		}
	}

	return nil
}

// GrantOf is the grant of an admission. Logs from before it had a place of its own
// say it in steps.
func GrantOf(c *audit.ControlEntry) (d audit.Digest) {
	if c.Admission != nil {
		return c.Admission.Grant.Digest
	}

	for _, s := range c.Steps {
		_, after, ok := strings.Cut(s.Detail, "grant=sha256:")
		if !ok || len(after) < hex.EncodedLen(len(d)) {
			continue
		}
		if b, err := hex.DecodeString(after[:hex.EncodedLen(len(d))]); err == nil {
			return audit.Digest(b)
		}
	}

	return d
}
