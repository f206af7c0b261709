package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/coverage"
	"github.com/guardlock/guardlock/internal/ops"
)

// compareGateway finds what is about no binding.
func (c *comparing) compareGateway() {
	var found changes
	found.names(ofInsecure, c.before.Status.Insecure, c.after.Status.Insecure, "no longer insecure: %s", "INSECURE: %s")
	for i := range found.all { // here the new name is the loss
		found.all[i].Effect = map[Effect]Effect{Lost: Gained, Gained: Lost}[found.all[i].Effect]
	}
	found.files(c.before.Status.Files, c.after.Status.Files)

	if !c.plan.Partial {
		was := c.before.Config
		is := c.after.Config
		_, c.plan.NeedStart = was.Reloaded(is)
		if c.plan.NeedStart == nil {
			c.plan.NeedStart = []string{}
		}

		if was.UnboundTopics != is.UnboundTopics {
			found.add(Lost, ofTopics, "unbound_topics is %s, was %s: topics without a binding %s", is.UnboundTopics, was.UnboundTopics, withoutBinding(is.UnboundTopics))
		}
		found.setting("environment", was.Environment, is.Environment)
		found.setting("trust.clock_skew", *was.Trust.ClockSkew, *is.Trust.ClockSkew)
	}

	c.plan.Gateway = append(c.plan.Gateway, found.all...)
}

// setting notes a setting that is neither better nor worse.
func (c *changes) setting(name string, before, after any) {
	if before != after {
		c.add(Changed, ofSetting, "%s is %s, was %s", name, orNone(after), orNone(before))
	}
}

func orNone(value any) string {
	if text := fmt.Sprint(value); text != "" {
		return text
	}
	return "none"
}

// files compares the files that every binding is judged by.
func (c *changes) files(before, after []ops.File) {
	for _, f := range after {
		i := slices.IndexFunc(before, func(old ops.File) bool { return old.Role == f.Role })
		if f.Role == "configuration" || i < 0 || before[i].Digest == f.Digest {
			continue
		}
		c.add(Changed, ofFile, "%s: %s", strings.ReplaceAll(f.Role, "_", " "), f.Name)
	}
}

// compareConfigured compares what a binding asks for itself.
func (c *comparing) compareConfigured(at key, to *changes) {
	was, before := find(c.wasIn[at.cluster], at.binding)
	is, after := find(c.isIn[at.cluster], at.binding)
	if c.plan.Partial || !before || !after {
		return
	}

	to.clients(was, is)
	to.protection("isolation", []string{"shared", "topic", "process"}, was.Isolation, is.Isolation)
	to.protection("evidence", []string{"header", "content"}, was.Evidence, is.Evidence)
	for _, s := range []struct{ name, before, after string }{
		{"data_class", was.DataClass, is.DataClass},
		{"reject_with", was.RejectWith, is.RejectWith},
		{"on_drop", was.OnDrop, is.OnDrop},
		{"recompress", was.Recompress, is.Recompress},
	} {
		if s.before != s.after {
			to.add(Changed, ofBehaviour, "%s is %s, was %s", s.name, orNone(s.after), orNone(s.before))
		}
	}
}

func find(all []config.Binding, name string) (config.Binding, bool) {
	for _, b := range all {
		if b.Name == name {
			return b, true
		}
	}
	return config.Binding{}, false
}

// protection compares a setting whose values are ordered from the weakest.
func (c *changes) protection(name string, weakestFirst []string, before, after string) {
	was := slices.Index(weakestFirst, before)
	is := slices.Index(weakestFirst, after)
	switch {
	case is < was:
		c.add(Lost, ofProtection, "%s is %s, was %s", name, after, before)
	case is > was:
		c.add(Gained, ofProtection, "%s is %s, was %s", name, after, before)
	}
}

// clients compares whom a binding is about.
func (c *changes) clients(was, is config.Binding) {
	every := []string{"*"}
	was.Topics = every
	is.Topics = every
	fewer := !coverage.Takes(is, was)
	more := !coverage.Takes(was, is)
	effect := Gained
	if fewer {
		effect = Lost
	}
	if !fewer && !more {
		return
	}

	for _, f := range []struct {
		name          string
		before, after []string
	}{
		{"principals", was.Principals, is.Principals},
		{"client_ids", was.ClientIDs, is.ClientIDs},
		{"sources", was.Sources, is.Sources},
		{"tls", nonEmpty(was.TLS), nonEmpty(is.TLS)},
	} {
		if !slices.Equal(f.before, f.after) {
			c.add(effect, ofClients, "%s: %s, before %s", f.name, orAny(f.after), orAny(f.before))
		}
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func orAny(names []string) string {
	if len(names) == 0 {
		return "any"
	}
	return strings.Join(names, " ")
}

// compareTopics finds out who decides about what the binding is or was about.
func (c *comparing) compareTopics(at key, to *changes) {
	if c.sameOrder[at.cluster] {
		return
	}

	was, before := find(c.wasIn[at.cluster], at.binding)
	is, after := find(c.isIn[at.cluster], at.binding)
	for _, topics := range was.Topics {
		if before {
			c.loseTopics(at, was, topics, to)
		}
	}
	for _, topics := range is.Topics {
		if after && !slices.Contains(was.Topics, topics) {
			c.gainTopics(at, was, is, topics, to)
		}
	}
}

// loseTopics tells where topics of a binding go that it had.
func (c *comparing) loseTopics(at key, b config.Binding, topics string, to *changes) {
	b.Topics = []string{topics}
	was, _ := coverage.Deciders(c.wasIn[at.cluster], b)
	is, whole := coverage.Deciders(c.isIn[at.cluster], b)
	own := slices.Index(is, at.binding)
	switch {
	case slices.Equal(was, is) && whole:
		return
	case !slices.Contains(was, at.binding): // others came first, and took all of it
		if own >= 0 {
			to.add(Gained, ofTopics, "topics %s: decided by %s before", topics, list(was))
		}
		return
	case own < 0:
		to.add(Lost, ofTopics, "topics %s: %s", topics, c.goTo(is, whole))
		return
	}
	ahead := without(is[:own], was)
	if len(ahead) > 0 {
		to.add(Lost, ofTopics, "topics %s: %s comes first, and takes some or all of it", topics, list(ahead))
	}
	if own < len(is)-1 || !whole {
		to.add(Lost, ofTopics, "topics %s, what the binding is no longer about: %s", topics, c.goTo(is[own+1:], whole))
	}
	if gone := without(was[:slices.Index(was, at.binding)], is[:own]); len(gone) > 0 {
		to.add(Gained, ofTopics, "topics %s: %s no longer comes first", topics, list(gone))
	}
}

// listed is how many bindings a text names.
const listed = 6

func list(names []string) string {
	if more := len(names) - listed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:listed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// goTo says who decides about topics, of which some may be left to nobody.
func (c *comparing) goTo(names []string, whole bool) string {
	var parts []string
	if len(names) > 0 {
		parts = append(parts, "decided by "+list(names))
	}
	if !whole {
		rest := "no binding: " + c.unbound()
		if len(names) > 0 {
			rest = "the rest by " + rest
		}
		parts = append(parts, rest)
	}

	return strings.Join(parts, "; ")
}

// gainTopics tells from where topics of a binding come that it had not.
func (c *comparing) gainTopics(at key, old, b config.Binding, topics string, to *changes) {
	b.Topics = []string{topics}
	if coverage.Takes(old, b) {
		to.add(Changed, ofTopics, "topics %s: within what it was about", topics)
		return
	}

	before, whole := coverage.Deciders(c.wasIn[at.cluster], b)
	from := "no binding"
	if len(before) > 0 {
		from = list(before)
		if !whole {
			from += "; the rest by no binding"
		}
	}
	to.add(Gained, ofTopics, "topics %s: decided by %s before", topics, from)
}

// unbound says what becomes of topics without a binding.
func (c *comparing) unbound() string {
	if c.after.Config == nil {
		return "as unbound_topics says"
	}
	return "they " + withoutBinding(c.after.Config.UnboundTopics)
}

func withoutBinding(unboundTopics string) string {
	switch unboundTopics {
	case "record":
		return "pass, through no module"
	case "insecure_pass":
		return "pass, through no module and with no decision recorded"
	default:
		return "are refused"
	}
}
