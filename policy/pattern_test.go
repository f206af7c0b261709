package policy

import (
	"io/fs"
	"regexp"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/guardlock/guardlock/internal/pattern"
)

// Three readers of patterns must agree: the gateway, which looks bindings up, the
// floor of admission, and policies, which use OPA's glob. FuzzPattern holds our
// matching to OPA's, for the characters that patterns of topics may have.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"customers*", "customers.eu"}, {"a*b*c", "a-b-b-c"}, {"*", ""}, {"**", "x"}, {"a.b", "axb"}, {"a*", "a*b"}, {"*a*a*", "aa"},
		{"customers.*", "customers*"}, {"a**b", "a*b"}, {"x-*_*.y", "x-__.y"},
	} {
		f.Add(seed[0], seed[1])
	}

	topics, err := fs.ReadFile(Default(), "topics.rego")
	if err != nil {
		f.Fatal(err)
	}

	query, err := rego.New(
		rego.Query("covered = data.guardlock.topics.covered(input.name, [input.pattern])"),
		rego.Module("topics.rego", string(topics)),
	).PrepareForEval(f.Context())
	if err != nil {
		f.Fatal(err)
	}

	topical := regexp.MustCompile(`^[A-Za-z0-9._*-]{0,249}$`)
	f.Fuzz(func(t *testing.T, p, name string) {
		if !topical.MatchString(p) || !topical.MatchString(name) {
			return
		}

		in := ast.NewObject(
			[2]*ast.Term{ast.StringTerm("pattern"), ast.StringTerm(p)},
			[2]*ast.Term{ast.StringTerm("name"), ast.StringTerm(name)},
		)

		results, err := query.Eval(t.Context(), rego.EvalParsedInput(in))
		if err != nil {
			t.Fatal(err)
		}

		opa := len(results) == 1 && results[0].Bindings["covered"] == true
		if ours := pattern.Contains(p, name); ours != opa {
			t.Errorf("pattern %q, name %q: we say %v, OPA's glob %v", p, name, ours, opa)
		}
	})
}
