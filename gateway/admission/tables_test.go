package admission_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
)

const banks = "bin,bank\n411111,First\n"

// enriching is enrich, approved with a configuration that declares the table banks of
// files with these contents.
func (p people) enriching(t *testing.T, declared ...string) signing.Package {
	t.Helper()
	files := ""
	for _, content := range declared {
		files += fmt.Sprintf(`, {"sha256": "%x"}`, sha256.Sum256([]byte(content)))
	}

	wasm, _ := modules.Wasm("enrich")
	config := fmt.Sprintf(`{"tables": {"banks": {"format": "csv", "files": [%s]}},
		"rules": [{"path": "$.bin", "table": "banks", "into": "issuer", "set": {"name": "bank"}}]}`, files[2:])
	return p.signed(t, wasm, []byte(config))
}

// tables are files in the place of tables, by the tables' names.
func tables(pairs ...string) map[string]*transforms.TableContent {
	all := map[string]*transforms.TableContent{}
	for n := 0; n < len(pairs); n += 2 {
		all[pairs[n]] = transforms.NewTableContent([]byte(pairs[n+1]))
	}
	return all
}

func TestTableIsAsApprovedOrTheModuleDoesNotRun(t *testing.T) {
	p := newPeople()
	pkg := p.enriching(t, banks)
	broken := "bin,bank\n411111,First\n411111,Second\n"
	for _, a := range []attempt{
		{name: "its file", module: admission.Module{Package: pkg, Tables: tables("banks", banks)}},
		{name: "one of two", module: admission.Module{Package: p.enriching(t, "bin\n", banks), Tables: tables("banks", banks)}},
		{name: "no file", module: admission.Module{Package: pkg}, code: "table_missing"},
		{name: "of another name", module: admission.Module{Package: pkg, Tables: tables("bank", banks)}, code: "table_missing"},
		{name: "a row more", module: admission.Module{Package: pkg, Tables: tables("banks", banks+"550000,Own\n")}, code: "table_not_approved"},
		{name: "one that nobody declared", module: admission.Module{Package: pkg, Tables: tables("banks", banks, "more", banks)}, code: "table_not_approved"},
		{name: "approved, but no table", module: admission.Module{Package: p.enriching(t, broken), Tables: tables("banks", broken)}, code: "table_malformed"},
	} {
		a.trust = p.root(1)
		a.outcome = audit.OutcomeNoModule
		a.steps = examined + "topics passed, policy passed, start passed, table loaded"
		if a.code != "" {
			a.steps = examined + "topics passed, policy passed, start refused " + a.code
		}
		a.check(t)
	}
}

// A file that takes the place of another makes a module of its own, although package
// and papers are the same, and an entry of the log: one, however often it is loaded.
func TestReplacedTableIsServedAndNoOther(t *testing.T) {
	p := newPeople()
	next := banks + "550000,Second\n"
	pkg := p.enriching(t, banks, next)
	a, log := admitter(t, p.root(1), allows)
	build := func(content string) *admission.Set {
		rules := []admission.Rule{{Place: customers, Modules: []string{"enrich"}}}
		return must(a.Build(t.Context(), rules, map[string]admission.Module{"enrich": {Name: "enrich", Package: pkg, Tables: tables("banks", content)}}))
	}

	first := build(banks)
	defer first.Close(t.Context())
	same := build(banks)
	defer same.Close(t.Context())
	second := build(next)
	defer second.Close(t.Context())

	if first.Bindings[0].Grant.Chain == nil || second.Bindings[0].Grant.Chain == nil {
		t.Fatalf("refused: %v, %v", first.Refusals, second.Refusals)
	}
	if running(first) != running(same) {
		t.Error("the same table is opened in two modules")
	}
	if running(first) == running(second) {
		t.Error("the old table goes on in the place of the new one")
	}

	var recorded []audit.Step
	for i := range log.entries {
		recorded = append(recorded, log.entries[i].Tables()...)
	}
	want := []audit.Step{
		{Name: audit.StepTable, Verdict: "loaded", Detail: fmt.Sprintf("banks sha256:%x", sha256.Sum256([]byte(banks)))},
		{Name: audit.StepTable, Verdict: "loaded", Detail: fmt.Sprintf("banks sha256:%x", sha256.Sum256([]byte(next)))},
	}
	if !slices.Equal(recorded, want) || len(log.entries) != 2 {
		t.Errorf("%d entries record %v, want %v", len(log.entries), recorded, want)
	}
}

// running is the module of a set with one binding of one.
func running(s *admission.Set) *transforms.Module {
	return s.Bindings[0].Grant.Chain.(*transforms.Chain).Modules()[0]
}

// Who looks at a module has none of its tables.
func TestModuleCanBeLookedAtWithoutItsTables(t *testing.T) {
	p := newPeople()
	a, _ := admitter(t, p.root(1), allows)
	a.MakeKeys = true
	if v := a.Examine(t.Context(), admission.Module{Name: "enrich", Package: p.enriching(t, banks)}, customers); v.Refused != nil {
		t.Errorf("refused: %v", v.Refused)
	}
}
