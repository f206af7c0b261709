package policy

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"time"
)

// program is a compiled policy. It can end the process that evaluates it, by
// memory or by a built-in that does not look at the clock: worker.go says where
// that may happen.
type program struct {
	query rego.PreparedEvalQuery
	rules map[string]Rule // rules with annotations, by location
}

// question is one evaluation asked for.
type question struct {
	Input   json.RawMessage
	Now     time.Time // what the policy takes for the present; zero: the present
	Explain bool      // note which described rules held
}

// answer is what came of it.
type answer struct {
	Result json.RawMessage // the decision document; nil when undefined
	Fired  []Rule          // described rules that held, in order of file and line
}

// newProgram compiles a policy. Everything wrong with it is a problem.List.
func newProgram(ctx context.Context, src *source) (*program, error) {
	compiler, problems := src.compile(withoutTests)
	if len(problems) != 0 {
		return nil, problems
	}

	q, err := rego.New(
		rego.ParsedQuery(ast.MustParseBody("data.guardlock.module.decision")),
		rego.Compiler(compiler),
		rego.Store(inmem.NewFromObject(src.Data)),
		rego.Capabilities(capabilities()),
		rego.StrictBuiltinErrors(true),
		rego.Strict(true),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing query: %w", err)
	}

	return &program{query: q, rules: annotated(compiler)}, nil
}

// evaluate answers a question. It looks at ctx only now and then.
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

	rs, err := p.query.Eval(ctx, options...)
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
