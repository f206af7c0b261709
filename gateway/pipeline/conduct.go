package pipeline

import (
	"fmt"
	"slices"
	"sync"

	"github.com/guardlock/guardlock/audit"
)

// ConductRules bound what the modules of a binding may go on doing.
type ConductRules struct {
	Suspension     SuspensionRules
	ReasonsPerHour int // distinct ones of a binding; 0: any number
}

// Conduct is what the modules of one binding did lately: whether they keep
// failing, and which reasons they gave. It is not part of a grant's terms, and
// outlives the grants of a binding. The nil Conduct watches nothing. Safe for
// concurrent use.
type Conduct struct {
	binding string
	runs    []audit.ModuleRef
	grant   audit.Digest
	note    func(audit.ControlEntry)

	reasons  *hourlyReasons // shared by all Conducts that the binding had
	failures failures
}

// Conducts keeps the Conduct of each binding over reloads. Safe for concurrent
// use.
type Conducts struct {
	rules ConductRules
	note  func(audit.ControlEntry)

	mu  sync.Mutex
	all map[string]map[string]*Conduct // by cluster and binding
}

// NewConducts makes an empty Conducts. note is told what is to be recorded. It is
// called by goroutines that decide batches, and must not block.
func NewConducts(rules ConductRules, note func(audit.ControlEntry)) *Conducts {
	return &Conducts{rules: rules, note: note, all: map[string]map[string]*Conduct{}}
}

// Assign gives the grants of a cluster's bindings, which are not served yet, their
// Conduct. A binding whose modules or approvals are others than before begins
// anew, but for the reasons of the hour: what a module may tell does not grow with
// its versions. Bindings that are gone are forgotten.
func (c *Conducts) Assign(cluster string, grants []*Grant) {
	c.mu.Lock()
	defer c.mu.Unlock()

	old := c.all[cluster]
	now := make(map[string]*Conduct, len(grants))
	for _, g := range grants {
		if g.Chain == nil {
			if before := old[g.Binding]; before != nil {
				now[g.Binding] = before
			}
			continue
		}

		g.Conduct = c.next(old[g.Binding], g)
		now[g.Binding] = g.Conduct
	}

	c.all[cluster] = now
}

// next is the Conduct of a binding's new grant.
func (c *Conducts) next(before *Conduct, g *Grant) *Conduct {
	if before != nil && before.isOf(g) {
		return before
	}

	fresh := &Conduct{
		binding: g.Binding,
		runs:    g.Modules,
		grant:   g.GrantDigest,
		note:    c.note,
		reasons: &hourlyReasons{most: c.rules.ReasonsPerHour},
	}

	if before != nil {
		fresh.reasons = before.reasons
	}
	fresh.failures.rules = c.rules.Suspension

	return fresh
}

// Suspended reports whether the binding's modules are given no batches of anybody.
func (c *Conduct) Suspended() bool {
	if c == nil {
		return false
	}

	c.failures.mu.Lock()
	defer c.failures.mu.Unlock()
	return c.failures.all.on()
}

func (c *Conduct) isOf(g *Grant) bool {
	return c.grant == g.GrantDigest && slices.Equal(c.runs, g.Modules)
}

// entry begins a control entry about the binding.
func (c *Conduct) entry(outcome, reason string) audit.ControlEntry {
	return audit.ControlEntry{
		Kind:    audit.KindConduct,
		Subject: c.binding,
		Outcome: outcome,
		Reason:  reason,
	}
}

// module is the reference of a module of the chain by its name.
func (c *Conduct) module(name string) audit.ModuleRef {
	for _, m := range c.runs {
		if m.Name == name {
			return m
		}
	}
	return audit.ModuleRef{Name: name}
}

// pairs writes names and values as the details of steps hold them.
func pairs(all ...any) string {
	text := ""
	for i := 0; i+1 < len(all); i += 2 {
		if i > 0 {
			text += " "
		}
		text += fmt.Sprintf("%v=%v", all[i], all[i+1])
	}

	return text
}
