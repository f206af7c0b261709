package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Rule is a rule that its author described with METADATA, from which
// explanations are made.
type Rule struct {
	Name        string // as guardlock.module.deny
	ID          string // custom.id
	Reason      string // custom.reason: the code that it gives
	Topics      string // custom.topics, of the decision: see Engine.TopicsAlike
	Title       string
	Description string
	File        string
	Line        int
}

// Evaluation is a policy's answer to any input, for people to look at. Nothing
// is admitted by it.
type Evaluation struct {
	Result   json.RawMessage // the decision document; nil when undefined
	Decision *Decision       // when Result is of the required form
	Problem  string          // why Decision is nil: the gateway would deny
	Fired    []Rule          // described rules that held, in order of file and line
}

// Allowed reports what the gateway would do, were the input true. A policy that
// gave no decision allows nothing.
func (v Evaluation) Allowed() bool { return v.Decision != nil && v.Decision.Allow }

// Text renders the evaluation for a terminal: the verdict, then each described
// rule that held.
func (v Evaluation) Text() string {
	var b strings.Builder
	switch {
	case v.Decision == nil:
		fmt.Fprintf(&b, "DENIED: %s\n", v.Problem)
	case v.Decision.Allow:
		fmt.Fprintf(&b, "ALLOWED until %s\n", v.Decision.ValidUntil.UTC().Format("2006-01-02 15:04:05Z"))
		fmt.Fprintf(&b, "host functions: %s\n", strings.Join(v.Decision.HostFunctions, ", "))
	default:
		fmt.Fprintf(&b, "DENIED: %s\n", strings.Join(v.Decision.Reasons, ", "))
		for _, r := range v.Decision.Why {
			if r.Detail != "" {
				fmt.Fprintf(&b, "  %s: %s\n", r.Code, r.Detail)
			}
		}
	}

	for _, r := range v.Fired {
		fmt.Fprintf(&b, "  %s:%d  %-6s %s\n", r.File, r.Line, r.ID, r.Title)
		if r.Description != "" {
			fmt.Fprintf(&b, "      %s\n", strings.ReplaceAll(strings.TrimSpace(r.Description), "\n", "\n      "))
		}
	}

	return b.String()
}

// Eval evaluates the policy for any JSON input, and tells which described rules
// held. It never fails for what a policy does: that is in Problem. The floor is
// applied when the input is an Input.
func (e *Engine) Eval(ctx context.Context, inputJSON []byte) (Evaluation, error) {
	if _, err := parseInput(inputJSON); err != nil {
		return Evaluation{}, err
	}

	q := question{Input: inputJSON, Explain: true}
	var in Input
	typed := json.Unmarshal(inputJSON, &in) == nil
	if typed {
		q.Now = in.Now
	}

	a, err := e.evaluate(ctx, q)
	v := Evaluation{Fired: a.Fired, Result: a.Result}
	if err != nil {
		v.Problem = err.Error()
		return v, nil
	}

	d, err := e.parse(a, parseDecision)
	if err == nil && typed {
		err = d.narrow(in)
	}

	if err != nil {
		v.Problem = err.Error()
		return v, nil
	}

	v.Decision = &d
	return v, nil
}

// annotated collects the described rules by location, which is how the tracer
// meets them.
func annotated(c *ast.Compiler) map[string]Rule {
	rules := map[string]Rule{}
	for _, ref := range c.GetAnnotationSet().Flatten() {
		a := ref.Annotations
		rule := ref.GetRule()
		if a == nil || rule == nil || a.Title == "" {
			continue
		}

		id, _ := a.Custom["id"].(string)
		reason, _ := a.Custom["reason"].(string)
		topics, _ := a.Custom["topics"].(string)
		rules[place(rule.Location)] = Rule{
			Name:        strings.TrimPrefix(rule.Module.Package.Path.Extend(rule.Ref().GroundPrefix()).String(), "data."),
			ID:          id,
			Reason:      reason,
			Topics:      topics,
			Title:       a.Title,
			Description: a.Description,
			File:        rule.Location.File,
			Line:        rule.Location.Row,
		}
	}

	return rules
}

func place(l *ast.Location) string {
	return fmt.Sprintf("%s:%d:%d", l.File, l.Row, l.Col)
}

// firedRules is a tracer that notes which rules held during one evaluation. The
// methods besides are those that OPA's interface wants.
type firedRules struct {
	known map[string]Rule
	mu    sync.Mutex
	held  map[string]bool // guarded by mu
}

func (*firedRules) Enabled() bool               { return true }
func (*firedRules) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent notes the rule that an exit event leaves: an exit means that its
// body was true.
func (f *firedRules) TraceEvent(e topdown.Event) {
	rule, ok := e.Node.(*ast.Rule)
	if e.Op != topdown.ExitOp || !ok || rule.Location == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[place(rule.Location)] = true
}

// sorted are the described rules that held, in the order of their files and
// lines.
func (f *firedRules) sorted() []Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rules []Rule
	for at := range f.held {
		if r, ok := f.known[at]; ok {
			rules = append(rules, r)
		}
	}

	slices.SortFunc(rules, func(a, b Rule) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})

	return rules
}
