package scenario

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// pace polls members until a condition holds, and keeps the keys that went by.
type pace struct {
	prefix string
	seen   map[string]bool
}

func (p *pace) until(ctx context.Context, members []Member, holds func() bool) error {
	for !holds() {
		for _, m := range members {
			recs, err := m.Poll(ctx)
			if ctx.Err() != nil {
				return errors.New("the group did not get there in time")
			}
			if err != nil {
				return err
			}

			for _, r := range recs {
				if strings.HasPrefix(r.Key, p.prefix) {
					p.seen[r.Key] = true
				}
			}
		}
	}
	return nil
}

func (p *pace) count(part string) (n int) {
	for k := range p.seen {
		if strings.Contains(k, part) {
			n++
		}
	}
	return n
}

// group: one member gets all partitions, a second one makes them share, both read and commit; a third, later, gets only
// what came after.
func (r *run) group(ctx context.Context) (Result, error) {
	group := r.id + "-group"
	prefix := r.id + "/group-"
	before := &pace{prefix, map[string]bool{}}
	after := &pace{prefix, map[string]bool{}}

	covered, err := r.twoMembers(ctx, group, before)
	if err != nil {
		return nil, err
	}
	if err := r.spread(ctx, "group-b", 3); err != nil {
		return nil, err
	}

	third, err := r.a.Join(group, r.topics["plain"])
	if err != nil {
		return nil, err
	}
	if err := after.until(ctx, []Member{third}, func() bool { return after.count("/group-b/") == 3 }); err != nil {
		return nil, err
	}

	return Result{"covered": covered, "seen": len(before.seen), "resumed": after.count("/group-b/"),
		"redelivered": after.count("/group-a/")}, third.Close()
}

func (r *run) twoMembers(ctx context.Context, group string, p *pace) (covered bool, err error) {
	first, err := r.a.Join(group, r.topics["plain"])
	if err != nil {
		return false, err
	}
	if err := p.until(ctx, []Member{first}, func() bool { return len(first.Assignment()) == 3 }); err != nil {
		return false, err
	}

	second, err := r.a.Join(group, r.topics["plain"])
	if err != nil {
		return false, err
	}

	both := []Member{first, second}
	share := func() bool {
		a := first.Assignment()
		b := second.Assignment()
		return len(a) > 0 && len(b) > 0 && len(a)+len(b) == 3
	}
	if err := p.until(ctx, both, share); err != nil {
		return false, err
	}

	covered = !slices.ContainsFunc(first.Assignment(), func(n int32) bool { return slices.Contains(second.Assignment(), n) })
	if err := r.spread(ctx, "group-a", 30); err != nil {
		return false, err
	}
	if err := p.until(ctx, both, func() bool { return len(p.seen) == 30 }); err != nil {
		return false, err
	}

	for _, m := range both {
		if err := errors.Join(m.Commit(ctx), m.Close()); err != nil {
			return false, err
		}
	}

	return covered, nil
}

// spread produces n records over the three partitions of the topic plain.
func (r *run) spread(ctx context.Context, name string, n int) error {
	recs := r.records(name, 0, slices.Repeat([]string{"spread"}, n)...)
	for p := range 3 {
		var part []Record
		for i := p; i < n; i += 3 {
			part = append(part, recs[i])
		}
		if _, err := r.a.Produce(ctx, Batch{r.topics["plain"], part, "none", false, int32(p)}); err != nil {
			return err
		}
	}

	return nil
}
