package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"time"
)

// program is a compiled policy. It can end the process that evaluates it, by
// memory or by a built-in that does not look at the clock: worker.go says where
// that may happen.
type program struct {
	queries map[string]rego.PreparedEvalQuery // by entry point; only of those that it has
	rules   map[string]Rule                   // rules with annotations, by location

	defaultClass string
	classified   bool // it gives classes to topics by their names
}

// The entry points: the document that decides about a module, and the one that
// decides about an administrative request.
const (
	moduleEntry = "data.guardlock.module.decision"
	adminEntry  = "data.guardlock.admin.decision"
)

// question is one evaluation that is asked for. It is encoded for the child as
// it stands.
type question struct {
	Entry   string // point; empty: moduleEntry
	Input   json.RawMessage
	Now     time.Time // what the policy takes for the present; zero: the present
	Explain bool      // note which described rules held
}

// answer is what came of a question. A nil Result means that the entry point is
// undefined for the input.
type answer struct {
	Result json.RawMessage `json:",omitempty"` // the decision document; nil when undefined, in a child's answer too
	Fired  []Rule          // described rules that held, in order of file and line
}

// newProgram compiles a policy in this process. Everything wrong with it is one
// problem.List.
func newProgram(ctx context.Context, src *source) (*program, error) {
	if problems := src.parseData(); len(problems) != 0 {
		return nil, problems
	}

	compiler, problems := src.compile(withoutTests)
	if len(problems) != 0 {
		return nil, problems
	}

	p := &program{
		queries:      map[string]rego.PreparedEvalQuery{},
		rules:        annotated(compiler),
		defaultClass: src.defaultClass(),
		classified:   src.classifiesTopics(),
	}
	for _, entry := range []string{moduleEntry, adminEntry} {
		if len(compiler.GetRulesExact(ast.MustParseRef(entry))) == 0 {
			continue
		}

		q, err := rego.New(
			rego.ParsedQuery(ast.MustParseBody(entry)),
			rego.Compiler(compiler),
			rego.Store(inmem.NewFromObject(src.data)),
			rego.Capabilities(capabilities()),
			rego.StrictBuiltinErrors(true),
			rego.Strict(true),
		).PrepareForEval(ctx)
		if err != nil {
			return nil, fmt.Errorf("preparing query: %w", err)
		}

		p.queries[entry] = q
	}

	return p, nil
}

// described is what is known of a compiled policy without a question being
// asked.
func (p *program) described() described {
	_, admin := p.queries[adminEntry]
	return described{
		Rules:        slices.Collect(maps.Values(p.rules)),
		Admin:        admin,
		DefaultClass: p.defaultClass,
		Classified:   p.classified,
	}
}

// described is what an Engine knows of its policy, also when that is compiled
// in a child.
type described struct {
	Rules []Rule // with METADATA
	Admin bool   // it has adminEntry

	DefaultClass string
	Classified   bool // data.config.topics is not empty
}

// evaluate answers a question. It looks at ctx only now and then, since OPA
// does so between expressions.
func (p *program) evaluate(ctx context.Context, q question) (answer, error) {
	input, err := parseInput(q.Input)
	if err != nil {
		return answer{}, err
	}

	fired := &firedRules{known: p.rules, held: map[string]bool{}}
	options := []rego.EvalOption{rego.EvalParsedInput(input)}
	if q.Explain {
		options = append(options, rego.EvalQueryTracer(fired))
	}
	if !q.Now.IsZero() {
		options = append(options, rego.EvalTime(q.Now))
	}

	query, ok := p.queries[cmp.Or(q.Entry, moduleEntry)]
	if !ok {
		return answer{}, nil
	}

	rs, err := query.Eval(ctx, options...)
	a := answer{Fired: fired.sorted()}
	switch {
	case ctx.Err() != nil: // also of an answer
		return a, ctx.Err()
	case err != nil:
		return a, fmt.Errorf("evaluating: %w", err)
	case len(rs) != 1 || len(rs[0].Expressions) != 1:
		return a, nil
	}

	if a.Result, err = json.Marshal(rs[0].Expressions[0].Value); err != nil {
		return a, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return a, nil
}

// local evaluates in this process: the built-in policy, which is known to end,
// and, where no worker is configured, others.
type local struct {
	program *program
	timeout time.Duration
	builtIn bool
}

func (l local) evaluate(ctx context.Context, q question) (answer, error) {
	within, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	a, err := l.program.evaluate(within, q)

	switch {
	case within.Err() == nil:
		return a, err
	case l.builtIn || ctx.Err() != nil: // it was not let run, and has decided nothing
		return a, fmt.Errorf("%w: %w", ErrUnavailable, within.Err())
	}

	return a, fmt.Errorf("%w: %w", ErrTimeout, within.Err())
}
