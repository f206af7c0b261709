package policy

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/internal/problem"
	"github.com/open-policy-agent/opa/v1/ast"
)

// Check reports every problem in a policy and its tests, as strictly as Load
// does and `opa check --strict` would, and whether it can be asked at all, by
// asking it something. No problem means an empty result; an error, that nobody
// could look.
func Check(ctx context.Context, fsys fs.FS, o Options) (problem.List, error) {
	src, err := readSource(fsys, o)
	if err != nil {
		return problemsOf(err), nil
	}

	found, err := src.problems(ctx, o.Worker)
	if err != nil || len(found) != 0 {
		return found, err
	}

	e, err := newEngine(ctx, src, o)
	if err == nil {
		_, err = e.Decide(ctx, Example(time.Now()))
	}

	switch {
	case errors.Is(err, ErrUnavailable):
		return nil, err
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrMemory), errors.Is(err, ErrFailed):
		return problem.List{{Message: "asked about an example: " + err.Error()}}, nil
	}

	// Whatever else it says of the example is for the policy to say, and no
	// fault of it.
	return nil, nil
}

// check parses data and compiles the policy with its tests, in this process,
// and returns all that is wrong.
func (src *source) check() problem.List {
	problems := src.parseData()
	_, more := src.compile(withTests)
	return append(problems, more...)
}

// problems compiles the policy with its tests, in a child if there is a command
// for one.
func (src *source) problems(ctx context.Context, command []string) (problem.List, error) {
	if len(command) == 0 {
		return src.check(), nil
	}

	_, err := once(ctx, command, order{Check: src, CPU: compileTime})
	var found problem.List
	switch {
	case errors.As(err, &found):
		return found, nil
	case err != nil && !errors.Is(err, ErrUnavailable):
		return problem.List{{Message: "compiling it: " + err.Error()}}, nil
	}

	return nil, err
}

// parserOptions keep METADATA comments when Rego is parsed, since explanations
// are made from them.
func parserOptions() ast.ParserOptions {
	return ast.ParserOptions{
		RegoVersion:       ast.RegoV1,
		ProcessAnnotation: true,
		Capabilities:      capabilities(),
	}
}

type selection bool

const (
	withoutTests selection = false
	withTests    selection = true
)

// parse parses the selected modules and goes on after one that has errors, so
// that all errors are reported.
func (src *source) parse(s selection) (map[string]*ast.Module, problem.List) {
	modules := map[string]*ast.Module{}
	var problems problem.List
	for _, name := range slices.Sorted(maps.Keys(src.Modules)) {
		if isTest(name) && s == withoutTests {
			continue
		}
		m, err := ast.ParseModuleWithOpts(name, src.Modules[name], parserOptions())
		if err != nil {
			problems = append(problems, problemsOf(err)...)
			continue
		}

		if m == nil {
			problems = append(problems, problem.Problem{File: name, Message: "is empty"})
			continue
		}

		modules[name] = m
	}

	return modules, problems
}

func (src *source) newCompiler() *ast.Compiler {
	return ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithDefaultRegoVersion(ast.RegoV1).
		WithStrict(true).
		WithUseTypeCheckAnnotations(true).
		WithPathConflictsCheck(src.hasData).
		SetErrorLimit(0)
}

// compile compiles the selected modules and requires the entry point, without
// which a policy would decide nothing.
func (src *source) compile(s selection) (*ast.Compiler, problem.List) {
	modules, problems := src.parse(s)
	if len(problems) != 0 {
		return nil, problems
	}

	c := src.newCompiler()
	c.Compile(modules)
	if c.Failed() {
		return nil, problemsOf(c.Errors)
	}
	if len(c.GetRulesExact(ast.MustParseRef("data.guardlock.module.decision"))) == 0 {
		return nil, problem.List{{Message: "there is no rule `decision` in package guardlock.module"}}
	}

	return c, nil
}

// hasData reports whether data files define path, so that data cannot stand
// in the place of a rule.
func (src *source) hasData(path []string) (bool, error) {
	var at any = src.data
	for _, p := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return false, nil
		}
		if at, ok = m[p]; !ok {
			return false, nil
		}
	}

	return true, nil
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.rego") }

// problemsOf turns OPA's lists of errors into ours, each with its file and
// line.
func problemsOf(err error) problem.List {
	var ps problem.List
	var list ast.Errors
	if errors.As(err, &ps) {
		return ps
	}
	if !errors.As(err, &list) {
		return problem.List{{Message: err.Error()}}
	}

	for _, e := range list {
		p := problem.Problem{Message: e.Code + ": " + e.Message}
		if e.Location != nil {
			p.File = e.Location.File
			p.Line = e.Location.Row
		}

		if !slices.Contains(ps, p) {
			ps = append(ps, p)
		}
	}

	ps.Sort()
	return ps
}
