package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/internal/ops"
)

// changes are those of one binding, as they are found.
type changes struct{ all []Change }

func (c *changes) add(e Effect, of, format string, args ...any) {
	c.all = append(c.all, Change{e, of, fmt.Sprintf(format, args...)})
}

// names adds what two lists of names do not share.
func (c *changes) names(of string, before, after []string, lost, gained string) {
	for _, name := range without(before, after) {
		c.add(Lost, of, lost, name)
	}
	for _, name := range without(after, before) {
		c.add(Gained, of, gained, name)
	}
}

// without are the names that are not in others, each once, in their order.
func without(names, others []string) []string {
	var out []string
	for _, name := range names {
		if !slices.Contains(others, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}

	return out
}

func (c *changes) newBinding(b *ops.Binding) {
	if b.Refused != "" {
		c.add(Lost, ofRefusal, "takes nothing: %s", refusal(b))
	}
	for _, m := range b.Modules {
		c.add(Gained, ofModule, "module %s %.12s", m.Name, m.Digest)
	}
}

func (c *changes) goneBinding(b *ops.Binding) {
	c.add(Lost, ofTopics, "the binding is gone")
	for _, m := range b.Modules {
		c.add(Lost, ofModule, "module %s", m.Name)
	}
}

// binding compares what a gateway tells of a binding.
func (c *changes) binding(before, after *ops.Binding) {
	switch {
	case before.Refused == after.Refused:
	case before.Refused == "":
		c.add(Lost, ofRefusal, "takes nothing any more: %s", refusal(after))
	case after.Refused == "":
		c.add(Gained, ofRefusal, "takes records again; it was refused: %s", before.Refused)
	default:
		c.add(Changed, ofRefusal, "takes nothing: %s; it was %s", refusal(after), before.Refused)
	}

	c.modules(before.Modules, after.Modules)
	if runs(before) && runs(after) {
		c.end(before.Until, after.Until)
	}
}

// runs reports whether there is anything that could end.
func runs(b *ops.Binding) bool { return b.Refused == "" && len(b.Modules) > 0 }

func refusal(b *ops.Binding) string {
	if b.Problem == "" {
		return b.Refused
	}
	return b.Refused + ": " + b.Problem
}

func (c *changes) modules(before, after []ops.Module) {
	was := namesOf(before)
	is := namesOf(after)
	c.names(ofModule, was, is, "module %s", "module %s")

	staysWas := without(was, without(was, is))
	staysIs := without(is, without(is, was))
	if !slices.Equal(staysWas, staysIs) {
		c.add(Changed, ofModule, "modules run in the order %s, before %s", strings.Join(is, ", "), strings.Join(was, ", "))
	}

	for i := range after {
		if old := slices.IndexFunc(before, func(m ops.Module) bool { return m.Name == after[i].Name }); old >= 0 {
			c.module(&before[old], &after[i])
		}
	}
}

func namesOf(all []ops.Module) []string {
	var names []string
	for _, m := range all {
		names = append(names, m.Name)
	}
	return names
}

// module compares one module on a binding. Of one that was not proved, to which
// nobody's approval counts, only the bytes are known.
func (c *changes) module(before, after *ops.Module) {
	if before.Digest != after.Digest {
		c.add(Changed, ofModule, "module %s is %.12s, was %.12s", after.Name, after.Digest, before.Digest)
	}
	if before.Config != after.Config && before.Config != "" { // older gateways do not tell it
		c.add(Changed, ofModule, "module %s has another configuration: %.12s, was %.12s", after.Name, after.Config, before.Config)
	}
	if before.Author != after.Author {
		c.add(Changed, ofApproval, "module %s is signed by %s, was by %s", after.Name, orNobody(after.Author), orNobody(before.Author))
	}

	of := " of module " + strings.ReplaceAll(after.Name, "%", "%%")
	c.names(ofFunction, before.Functions, after.Functions, "host function %s"+of, "host function %s"+of)
	c.names(ofKey, before.Keys, after.Keys, "key %s"+of, "key %s"+of)
	c.names(ofRoute, before.Routes, after.Routes, "route to %s"+of, "route to %s"+of)
	c.approvals(of, before.Approvals, after.Approvals)
}

func orNobody(name string) string {
	if name == "" {
		return "nobody who counts"
	}
	return name
}

// approvals compares who approved, and until when.
func (c *changes) approvals(of string, before, after []ops.Approval) {
	was := map[string]ops.Approval{}
	var wasBy, isBy []string
	for _, a := range before {
		was[a.Approver] = a
		wasBy = append(wasBy, a.Approver)
	}
	for _, a := range after {
		isBy = append(isBy, a.Approver)
	}
	c.names(ofApproval, wasBy, isBy, "approval by %s"+of, "approval by %s"+of)

	for _, a := range after {
		old, ok := was[a.Approver]
		if !ok || alike(old.Until, a.Until) {
			continue
		}
		effect := Gained
		if sooner(a.Until, old.Until) {
			effect = Lost
		}
		c.add(effect, ofEnd, "approval by %s"+of+" ends %s, before %s", a.Approver, day(a.Until), day(old.Until))
	}
}

func (c *changes) end(before, after time.Time) {
	switch {
	case alike(before, after):
	case sooner(after, before):
		c.add(Lost, ofEnd, "ends %s, before %s", day(after), day(before))
	default:
		c.add(Gained, ofEnd, "ends %s, before %s", day(after), day(before))
	}
}

// noMatter is how far apart ends may be that count as one: a policy may count from
// now, and both sides were not asked at the same moment.
const noMatter = time.Minute

func alike(a, b time.Time) bool {
	return a.IsZero() == b.IsZero() && a.Sub(b).Abs() < noMatter
}

// sooner reports whether a comes before b. Zero is no end.
func sooner(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

func day(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}
