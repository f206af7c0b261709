package policy

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/guardlock/guardlock/internal/problem"
	"github.com/open-policy-agent/opa/v1/ast"
)

// Check reports every problem in a policy and its tests, as strictly as Load
// does and `opa check --strict` would. No problem means an empty result.
func Check(fsys fs.FS) problem.List {
	src, err := readSource(fsys, Options{})
	if err != nil {
		return problemsOf(err)
	}
	_, problems := src.compile(withTests)
	return problems
}

// parserOptions keep METADATA comments, for explanations.
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

// parse parses the selected modules.
func (src *source) parse(s selection) (map[string]*ast.Module, problem.List) {
	modules := map[string]*ast.Module{}
	var problems problem.List
	for _, name := range slices.Sorted(maps.Keys(src.modules)) {
		if isTest(name) && s == withoutTests {
			continue
		}
		m, err := ast.ParseModuleWithOpts(name, src.modules[name], parserOptions())
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

// compile compiles the selected modules and requires the entry point.
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

// problemsOf turns OPA's lists of errors into ours.
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
