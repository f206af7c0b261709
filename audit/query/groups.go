package query

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxGroups is how many groups are counted at most.
const MaxGroups = 100_000

// groupKeys are what can be counted by.
var groupKeys = map[string]func(*Decision) string{
	"gateway":   func(d *Decision) string { return d.Gateway },
	"cluster":   func(d *Decision) string { return d.Cluster },
	"topic":     func(d *Decision) string { return d.Topic },
	"partition": func(d *Decision) string { return ofBatch(d, strconv.Itoa(int(d.Partition))) },
	"principal": func(d *Decision) string { return d.Principal },
	"client-id": func(d *Decision) string { return d.ClientID },
	"source":    func(d *Decision) string { return d.Source },
	"module":    (*Decision).moduleName,
	"outcome":   func(d *Decision) string { return d.Outcome },
	"reason":    func(d *Decision) string { return d.Reason },
	"state":     (*Decision).state,
	"kind":      func(d *Decision) string { return d.Kind.String() },
	"policy":    (*Decision).policy,
	"grant":     (*Decision).grant,
	"minute":    func(d *Decision) string { return d.since(time.Minute) },
	"hour":      func(d *Decision) string { return d.since(time.Hour) },
	"day":       func(d *Decision) string { return d.since(24 * time.Hour) },
}

// GroupKeys are the names of what can be counted by, in their order.
func GroupKeys() []string {
	names := make([]string, 0, len(groupKeys))
	for name := range groupKeys {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Group is one combination of values, and how many records have it.
type Group struct {
	Values  []string
	Records int64
}

// Groups are counts by the values of keys.
type Groups struct {
	Keys   []string
	Groups []Group // the largest first
	Rest   int64   // records of groups beyond the limit, which are not told apart
}

// Count counts the decisions that match by keys. A control entry counts as one, and so
// does a batch that was refused as a whole. Of more
// than limit groups it counts those that it meets first, and the rest as one number.
func (l Logs) Count(ctx context.Context, f Filter, keys []string, limit int) (*Groups, error) {
	f.Limit = 0
	f.Reverse = false
	f.ByBatch = false
	f.ByRun = f.LastOffset == nil

	counts := make(map[string]*Group)
	all := &Groups{Keys: keys}
	for d, err := range l.Query(ctx, f, nil) {
		if err != nil {
			return nil, err
		}

		values := make([]string, len(keys))
		for i, key := range keys {
			values[i] = groupKeys[key](&d)
		}
		at := strings.Join(values, "\x00")
		g := counts[at]
		if g == nil && len(counts) >= limit {
			all.Rest += d.weight()
			continue
		}
		if g == nil {
			g = &Group{Values: values}
			counts[at] = g
		}
		g.Records += d.weight()
	}

	for _, g := range counts {
		all.Groups = append(all.Groups, *g)
	}
	slices.SortFunc(all.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), slices.Compare(a.Values, b.Values))
	})
	return all, nil
}

// weight is how many decisions a row counts for.
func (d *Decision) weight() int64 {
	if d.Index < 0 {
		return 1
	}
	return int64(d.Count)
}

// ofBatch is a value that control entries do not have.
func ofBatch(d *Decision, value string) string {
	if d.Batch == nil {
		return ""
	}
	return value
}

func (d *Decision) moduleName() string {
	if d.Module == nil {
		return ""
	}
	return d.Module.Name
}

func (d *Decision) state() string {
	if d.Batch == nil {
		return ""
	}
	return string(d.Batch.State)
}

func (d *Decision) policy() string {
	if d.Batch == nil {
		return d.Control.Revision
	}
	return d.Batch.PolicyRevision
}

func (d *Decision) grant() string {
	if d.Batch == nil {
		return ""
	}
	return d.Batch.GrantDigest.String()
}

func (d *Decision) since(period time.Duration) string {
	return d.Time.UTC().Truncate(period).Format(time.RFC3339)
}
