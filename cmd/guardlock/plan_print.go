package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/plan"
)

// summary is a plan in one line.
func summary(p *plan.Plan) string {
	var loses, gains, differs, added, removed, unchanged int
	for i := range p.Bindings {
		b := &p.Bindings[i]
		switch b.State {
		case plan.Unchanged:
			unchanged++
			continue
		case plan.Added:
			added++
		case plan.Removed:
			removed++
		}

		switch {
		case b.Loses():
			loses++
		case b.Gains():
			gains++
		default:
			differs++
		}
	}

	text := fmt.Sprintf("%s: %d lose, %d only gain, %d differ otherwise, %d unchanged (%d added, %d removed)",
		cli.Count(len(p.Bindings), "binding"), loses, gains, differs, unchanged, added, removed)
	if p.Partial {
		text += "; conditions on clients and settings were not compared"
	}
	return text
}

// alike are bindings to which the same happens, told once.
type alike struct {
	state   plan.State
	changes []plan.Change
	names   []string
	order   int // what is lost first
}

// together joins bindings to which the same happens, those that lose first.
func together(p *plan.Plan) []*alike {
	known := map[string]*alike{}
	var all []*alike
	for i := range p.Bindings {
		b := &p.Bindings[i]
		same := fmt.Sprintf("%q %q", b.State, b.Changes)
		group := known[same]
		if group == nil {
			group = &alike{state: b.State, changes: b.Changes, order: order(b)}
			known[same] = group
			all = append(all, group)
		}
		group.names = append(group.names, b.Cluster+"/"+b.Binding)
	}

	slices.SortStableFunc(all, func(a, b *alike) int { return cmp.Compare(a.order, b.order) })
	return all
}

func order(b *plan.Binding) int {
	switch {
	case b.Loses():
		return 0
	case b.State == plan.Unchanged:
		return 3
	case b.Gains():
		return 2
	}
	return 1
}

var signs = map[plan.Effect]string{plan.Lost: "-", plan.Gained: "+", plan.Changed: "!"}

// The most that is told to a person: groups of bindings, names and changes of each.
const (
	shownGroups  = 40
	shownNames   = 6
	shownChanges = 40
)

// writePlan shows a plan to a person. Its lines are those of a diff, so that pull
// requests show it in colours.
func writePlan(w io.Writer, p *plan.Plan) error {
	var out strings.Builder
	for _, c := range p.Gateway {
		fmt.Fprintf(&out, "%s gateway: %s\n", signs[c.Effect], cli.Printable(c.Text))
	}
	if len(p.NeedStart) > 0 {
		fmt.Fprintf(&out, "! gateway: at the next start only: %s\n", strings.Join(p.NeedStart, "; "))
	}

	groups := together(p)
	for _, g := range groups[:min(len(groups), shownGroups)] {
		g.write(&out)
	}
	if more := len(groups) - shownGroups; more > 0 {
		fmt.Fprintf(&out, "  and %s; --json lists all\n", cli.Count(more, "more group"))
	}

	_, err := io.WriteString(w, out.String())
	return err
}

func (g *alike) write(out *strings.Builder) {
	sign := [...]string{"-", "!", "+", " "}[g.order]
	names := strings.Join(g.names[:min(len(g.names), shownNames)], ", ")
	if more := len(g.names) - shownNames; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	fmt.Fprintf(out, "%s %-9s %s\n", sign, g.state, cli.Printable(names))

	for _, c := range g.changes[:min(len(g.changes), shownChanges)] {
		fmt.Fprintf(out, "%s     %s\n", signs[c.Effect], cli.Printable(c.Text))
	}
	if more := len(g.changes) - shownChanges; more > 0 {
		fmt.Fprintf(out, "      and %s\n", cli.Count(more, "more change"))
	}
}
