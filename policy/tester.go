package policy

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	opatest "github.com/open-policy-agent/opa/v1/tester"
)

// TestResult is the outcome of one test rule of a policy.
type TestResult struct {
	Package, Name string
	File          string
	Line          int
	Passed        bool
	Skipped       bool   // named todo_test_…
	Error         string // an evaluation that failed, rather than a test
	Output        string // of print
	Duration      time.Duration
}

// Gap is a run of lines of a policy that no test ran, both ends included.
type Gap struct {
	File     string
	From, To int
}

// Report is what a policy's own tests showed: each outcome, and how much of the
// policy they ran.
type Report struct {
	Tests    []TestResult // in order of file and line
	Coverage float64      // percent of policy lines that tests ran, test files not counted
	Gaps     []Gap        // in order
}

// Passed reports whether there are tests and all of them passed. A policy
// without tests has not passed.
func (r Report) Passed() bool {
	return len(r.Tests) != 0 && !slices.ContainsFunc(r.Tests, func(t TestResult) bool { return !t.Passed })
}

// Test runs the tests of a policy, the rules whose names begin with test_, under
// the same capabilities, strictness and bounds as decisions.
func Test(ctx context.Context, fsys fs.FS, o Options) (Report, error) {
	src, err := readSource(fsys, o)
	if err != nil {
		return Report{}, fmt.Errorf("testing policy: %w", err)
	}

	var report Report
	if len(o.Worker) == 0 {
		report, err = runTests(ctx, src)
	} else {
		var r reply
		r, err = once(ctx, o.Worker, order{Test: src, CPU: testTime})
		report = r.Report
	}

	if err != nil {
		return Report{}, fmt.Errorf("testing policy: %w", err)
	}

	return report, nil
}

// runTests runs the tests in this process, and measures which lines of the
// policy they ran.
func runTests(ctx context.Context, src *source) (Report, error) {
	if problems := src.parseData(); len(problems) != 0 {
		return Report{}, problems
	}

	modules, problems := src.parse(withTests)
	if len(problems) != 0 {
		return Report{}, problems
	}

	store := inmem.NewFromObject(src.data)
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("opening store: %w", err)
	}

	defer store.Abort(ctx, txn)
	coverage := cover.New()
	results, err := opatest.NewRunner().
		SetCompiler(src.newCompiler().WithEnablePrintStatements(true)).
		SetStore(store).
		SetModules(modules).
		SetCoverageQueryTracer(coverage).
		RaiseBuiltinErrors(true).
		SetTimeout(5*time.Second).
		RunTests(ctx, txn)
	if err != nil {
		return Report{}, problemsOf(err)
	}

	var report Report
	for r := range results {
		report.Tests = append(report.Tests, resultOf(r))
	}

	slices.SortFunc(report.Tests, func(a, b TestResult) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})

	report.measure(coverage, modules)
	return report, ctx.Err()
}

// resultOf is one of OPA's results in our own terms.
func resultOf(r *opatest.Result) TestResult {
	t := TestResult{
		Package:  r.Package,
		Name:     r.Name,
		Passed:   r.Pass(),
		Skipped:  r.Skip,
		Output:   string(r.Output),
		Duration: r.Duration,
	}

	if r.Location != nil {
		t.File = r.Location.File
		t.Line = r.Location.Row
	}

	if r.Error != nil {
		t.Error = r.Error.Error()
	}
	return t
}

// measure counts the lines of the policy alone that tests ran. Tests always run
// all of themselves.
func (r *Report) measure(c *cover.Cover, modules map[string]*ast.Module) {
	covered := 0
	missed := 0
	for name, f := range c.Report(modules).Files {
		if isTest(name) {
			continue
		}
		covered += f.CoveredLines
		missed += f.NotCoveredLines

		for _, g := range f.NotCovered {
			r.Gaps = append(r.Gaps, Gap{name, g.Start.Row, g.End.Row})
		}
	}

	if covered+missed != 0 {
		r.Coverage = 100 * float64(covered) / float64(covered+missed)
	}
	slices.SortFunc(r.Gaps, func(a, b Gap) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.From - b.From
	})
}
