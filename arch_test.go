// Package guardlock_test holds the rules of the house that no single room can
// keep for itself: who may import whom, what every package and function looks
// like, and that the documents in this directory say what is so.
package guardlock_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/guardlock/guardlock"

// source is one parsed Go file of the tree.
type source struct {
	path string // with slashes, relative to the root
	dir  string // "." is the root
	test bool
	raw  []byte
	file *ast.File
	fset *token.FileSet
}

// sources parses every Go file, whatever its build tags.
func sources(t *testing.T) []*source {
	t.Helper()
	var all []*source
	fset := token.NewFileSet()

	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "node_modules", "target", "dist"}, d.Name())) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}

		raw, err := os.ReadFile(p)
		if err != nil {
			return err
		}

		f, err := parser.ParseFile(fset, p, raw, parser.ParseComments)
		p = filepath.ToSlash(p)
		all = append(all, &source{p, path.Dir(p), strings.HasSuffix(p, "_test.go"), raw, f, fset})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	return all
}

// rooms are the imports inside this module that each room's own code may have.
// A room that is not listed may have none.
var rooms = map[string][]string{
	"audit":                {"audit/evidence", "audit/segment", "internal/meter", "internal/pattern"},
	"audit/evidence":       {},
	"audit/tree":           {"audit", "audit/evidence", "audit/witness", "internal/disk"},
	"audit/adopt":          {"audit", "audit/evidence", "audit/segment", "audit/tree", "internal/disk"},
	"audit/witness":        {"audit/evidence", "internal/disk"},
	"audit/objects":        {"audit", "internal/disk"},
	"audit/reconcile":      {"audit", "audit/segment", "gateway/recordbatch"},
	"audit/query":          {"audit", "internal/pattern"},
	"audit/export":         {"audit", "audit/query", "internal/build", "internal/disk"},
	"audit/segment":        {},
	"audit/stamp":          {"audit/evidence", "signing"},
	"broker":               {"internal/child"},
	"policy":               {"internal/child", "internal/problem"},
	"signing":              {"internal/problem"},
	"transforms":           {"internal/child", "internal/disk", "transforms/envelope", "transforms/ff1", "transforms/jsonpath", "transforms/lookup", "transforms/record", "transforms/state", "transforms/wasm"},
	"transforms/envelope":  {},
	"transforms/ff1":       {},
	"transforms/jsonpath":  {},
	"transforms/lookup":    {},
	"transforms/state":     {},
	"transforms/record":    {},
	"transforms/wasm":      {},
	"transforms/modules":   {},
	"transforms/sdk":       {},
	"transforms/cases":     {"internal/problem", "transforms", "transforms/record", "transforms/wasm"},
	"gateway/recordbatch":  {"transforms/record"},
	"gateway/wire":         {},
	"gateway/auth":         {},
	"gateway/pipeline":     {"gateway/recordbatch", "gateway/wire", "transforms", "transforms/record", "audit", "internal/meter"},
	"gateway/replay":       {"gateway/pipeline", "gateway/recordbatch", "transforms", "transforms/cases", "transforms/record", "audit", "audit/objects"},
	"gateway/admin":        {},
	"gateway":              {"gateway/admin", "gateway/auth", "gateway/pipeline", "gateway/recordbatch", "gateway/wire", "transforms", "transforms/record", "audit", "broker", "internal/meter", "internal/pattern"},
	"gateway/admission":    {"gateway", "gateway/pipeline", "gateway/recordbatch", "transforms", "policy", "signing", "audit", "internal/pattern"},
	"internal/pattern":     {},
	"internal/coverage":    {"gateway", "internal/config", "internal/pattern"},
	"deploy/release":       {"signing"},
	"internal/build":       {},
	"internal/child":       {},
	"internal/disk":        {},
	"internal/exit":        {},
	"internal/handed":      {},
	"internal/kernelcpu":   {},
	"internal/load":        {"gateway/recordbatch", "gateway/wire", "transforms/record"},
	"internal/meter":       {},
	"internal/ops":         {"internal/meter"},
	"internal/tracing":     {"gateway/pipeline"},
	"internal/reconciling": {"audit", "audit/reconcile", "gateway/recordbatch"},
	"internal/plan":        {"internal/config", "internal/coverage", "internal/ops"},
	"internal/problem":     {},
	"internal/timeslice":   {},
	"internal/config":      {"audit/evidence", "gateway", "gateway/auth", "gateway/recordbatch", "internal/disk", "internal/problem"},
	"internal/server": {"audit/manifest", "gateway", "gateway/admission", "gateway/auth", "gateway/pipeline", "gateway/recordbatch", "transforms", "policy", "signing", "audit", "audit/adopt", "audit/evidence", "audit/objects", "audit/stamp", "audit/tree", "audit/witness", "broker",
		"internal/build", "internal/config", "internal/disk", "internal/exit", "internal/handed", "internal/ops", "internal/reconciling", "internal/tracing"},
	"audit/manifest": {"internal/problem", "signing"},
	"audit/erase":    {"audit", "audit/evidence", "audit/segment", "audit/tree", "internal/disk", "internal/problem"},
	"cmd/guardlock": {"broker", "cmd/guardlock/internal/bench", "cmd/guardlock/internal/cli", "cmd/guardlock/internal/decisions", "cmd/guardlock/internal/demo",
		"cmd/guardlock/internal/devel", "cmd/guardlock/internal/kafka", "cmd/guardlock/internal/trust", "cmd/guardlock/internal/users", "internal/build", "internal/config",
		"internal/disk", "internal/exit", "internal/handed", "internal/ops", "internal/plan", "internal/server", "internal/timeslice", "policy", "transforms"},
	"cmd/guardlock/internal/bench": {"cmd/guardlock/internal/cli", "gateway/recordbatch", "internal/child", "internal/config", "internal/disk", "internal/exit", "internal/load", "internal/pattern", "internal/server"},
	"cmd/guardlock/internal/cli":   {"internal/disk", "internal/exit"},
	"cmd/guardlock/internal/decisions": {"audit/erase", "audit/manifest", "cmd/guardlock/internal/trust", "audit/adopt", "audit/evidence", "audit/export", "audit/objects", "audit/query", "audit/reconcile", "audit/stamp", "audit/tree", "audit/witness", "cmd/guardlock/internal/cli", "cmd/guardlock/internal/kafka", "audit", "gateway", "gateway/pipeline", "gateway/recordbatch", "gateway/replay",
		"internal/config", "internal/disk", "internal/exit", "internal/pattern", "internal/problem", "internal/reconciling", "signing", "transforms"},
	"cmd/guardlock/internal/demo": {"audit/query", "cmd/guardlock/internal/cli", "cmd/guardlock/internal/kafka", "audit", "signing", "transforms", "transforms/modules",
		"internal/config", "internal/exit", "internal/server"},
	"cmd/guardlock/internal/devel": {"cmd/guardlock/internal/cli", "cmd/guardlock/internal/kafka", "cmd/guardlock/internal/trust", "internal/config", "internal/disk", "internal/exit", "signing",
		"transforms", "transforms/cases", "transforms/sdk", "transforms/wasm"},
	"cmd/guardlock/internal/kafka": {"cmd/guardlock/internal/cli", "audit", "internal/config", "internal/coverage", "internal/disk", "internal/exit"},
	"cmd/guardlock/internal/trust": {"cmd/guardlock/internal/cli", "gateway", "gateway/admission", "policy", "signing", "transforms", "transforms/wasm",
		"internal/build", "internal/disk", "internal/exit"},
	"cmd/guardlock/internal/users": {"cmd/guardlock/internal/cli", "gateway/auth", "internal/disk", "internal/exit"},

	"audit/segment/segmenttest":        {"audit/segment"},
	"audit/stamp/stamptest":            {},
	"internal/disk/disktest":           {"internal/disk"},
	"transforms/sdk/go/guardlock":      {},
	"transforms/sdk/go/guardlock/host": {"transforms/sdk/go/guardlock"},
	"transforms/sdk/go/template/NAME":  {"transforms/sdk/go/guardlock"},
}

// engines are libraries that decide about trust, and one that others must not be
// measured by. Each has one room.
var engines = map[string]string{
	"github.com/open-policy-agent/": "policy",
	"github.com/sigstore/":          "signing",
	"github.com/tetratelabs/wazero": "transforms",
	"github.com/prometheus/":        "internal/ops",
	"go.opentelemetry.io/":          "internal/tracing",
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.dir, "test/") || s.dir == "internal/kafkatest" || s.dir == "deploy" {
			continue
		}
		allowed, known := rooms[s.dir]
		if !known {
			t.Errorf("%s: %s is not a room; add it to rooms here and to the code map of ARCHITECTURE.md", s.path, s.dir)
			continue
		}

		for _, i := range s.file.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			if inside, ok := strings.CutPrefix(p, modulePath+"/"); ok && !slices.Contains(allowed, inside) {
				t.Errorf("%s imports %s, which %s may not", s.path, inside, s.dir)
			}
		}
	}
}

func TestEachEngineHasOneRoom(t *testing.T) {
	for _, s := range sources(t) {
		for _, i := range s.file.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			for engine, room := range engines {
				if strings.HasPrefix(p, engine) && s.dir != room {
					t.Errorf("%s imports %s; only %s may", s.path, p, room)
				}
			}
		}
	}
}

// A package says once what it is for: in the file named as the package, main.go
// of a command, or the first test file of a package that is nothing but tests.
func TestEachPackageHasOnePackageComment(t *testing.T) {
	type pkg struct{ files, docs []string }
	packages := map[string]*pkg{}
	tested := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			tested[s.dir] = true
			continue
		}

		if packages[s.dir] == nil {
			packages[s.dir] = &pkg{}
		}
		packages[s.dir].files = append(packages[s.dir].files, path.Base(s.path))
		if s.file.Doc == nil {
			continue
		}

		packages[s.dir].docs = append(packages[s.dir].docs, path.Base(s.path))
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + path.Base(s.dir) + " "
		}
		if !strings.HasPrefix(s.file.Doc.Text(), want) {
			t.Errorf("%s: the package comment does not begin with %q", s.path, want)
		}
	}

	for dir, p := range packages {
		if !slices.Equal(p.docs, []string{path.Base(dir) + ".go"}) && !slices.Equal(p.docs, []string{"main.go"}) {
			t.Errorf("%s: package comments in %v; want one, in %s.go or main.go", dir, p.docs, path.Base(dir))
		}
	}

	for _, s := range sources(t) {
		if s.test && packages[s.dir] != nil && s.file.Doc != nil && !strings.HasSuffix(s.file.Name.Name, "_test") {
			t.Errorf("%s: a test file has a package comment", s.path)
		}
	}

	if len(tested) == 0 {
		t.Error("found no test at all")
	}
}

func TestNoPackageIsADrawerForAnything(t *testing.T) {
	drawers := []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "impl", "types", "lib"}
	for _, s := range sources(t) {
		if slices.Contains(drawers, path.Base(s.dir)) || slices.Contains(drawers, s.file.Name.Name) {
			t.Errorf("%s: %s says nothing about what is in it", s.path, s.file.Name.Name)
		}
	}
}

// Of a module in Go nothing else runs before the host calls it.
const beginsAtImport = "transforms/sdk/go/template/NAME"

func TestNothingRunsAtImport(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir == beginsAtImport {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", s.path)
			}
		}
	}
}

// readsTheEnvironment is the room that may: the configuration can name one variable.
const readsTheEnvironment = "internal/config"

// Rooms get parsed values: only commands and tests look at the environment.
func TestRoomsDoNotReadTheEnvironment(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.dir, "cmd/") || strings.HasPrefix(s.dir, "deploy/") || strings.HasPrefix(s.dir, "test/") || s.dir == readsTheEnvironment {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}, sel.Sel.Name) {
				t.Errorf("%s reads the environment: os.%s", s.path, sel.Sel.Name)
			}

			return true
		})
	}
}

// Sizes are of tokens and not of lines: a function that is too large is not made
// smaller by writing more on each line, nor larger by a blank line between its
// thoughts. Tests may be longer, since their tables are. The bounds are the largest
// functions that there were when lines were still counted.
func TestFunctionsAndFilesAreShort(t *testing.T) {
	const (
		maxTokens     = 403
		maxTestTokens = 1150
		maxFileLines  = 600
	)

	for _, s := range sources(t) {
		if n := s.fset.Position(s.file.End()).Line; n > maxFileLines {
			t.Errorf("%s has %d lines, over %d", s.path, n, maxFileLines)
		}

		limit := maxTokens
		if s.test {
			limit = maxTestTokens
		}

		tokens := s.tokens()
		for _, f := range s.functions() {
			if n := tokens.within(f.Body); n > limit {
				t.Errorf("%s: %s has %d tokens, over %d", s.path, f.Name.Name, n, limit)
			}
		}
	}
}

// A struct that holds more than one thing hides where each of them ends. The
// configuration is the file that it is read from, and has what that has.
func TestStructsHaveFifteenFieldsAtMost(t *testing.T) {
	const maxFields = 15
	for _, s := range sources(t) {
		if s.test || s.dir == "internal/config" || strings.HasPrefix(s.dir, "test/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}

			if st, ok := spec.Type.(*ast.StructType); ok && st.Fields.NumFields() > maxFields {
				t.Errorf("%s: %s has %d fields, over %d", s.path, spec.Name.Name, st.Fields.NumFields(), maxFields)
			}
			return true
		})
	}
}

// functions are those with a body.
func (s *source) functions() []*ast.FuncDecl {
	var all []*ast.FuncDecl
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			all = append(all, f)
		}
	}

	return all
}

// tokenLines is how many tokens stand on each line of a file. Semicolons do not
// count: most are the scanner's own.
type tokenLines struct {
	fset  *token.FileSet
	count map[int]int
}

func (s *source) tokens() tokenLines {
	all := tokenLines{fset: s.fset, count: map[int]int{}}
	file := token.NewFileSet().AddFile(s.path, -1, len(s.raw))

	var scan scanner.Scanner
	scan.Init(file, s.raw, nil, 0)
	for {
		pos, tok, _ := scan.Scan()
		if tok == token.EOF {
			return all
		}
		if tok != token.SEMICOLON {
			all.count[file.Line(pos)]++
		}
	}
}

// within counts the tokens between the lines of a body's braces.
func (l tokenLines) within(body *ast.BlockStmt) int {
	sum := 0
	for line := l.fset.Position(body.Lbrace).Line + 1; line < l.fset.Position(body.Rbrace).Line; line++ {
		sum += l.count[line]
	}

	return sum
}

var airless = map[string]bool{}

// A function has paragraphs, and a statement one fact. The bounds are those of the
// houses that this one is measured beside (Air, in the style of the house).
func TestFunctionsHaveAir(t *testing.T) {
	const (
		minBlankPerHundredLines       = 4
		maxParallelPerHundredFunction = 5
		maxTokensPerHundredLines      = 830 // of the whole tree
		smallRoom                     = 300 // lines of functions: too few to have a share of anything
	)

	var tree measure
	for room, m := range measures(t) {
		tree.tokens += m.tokens
		tree.code += m.code
		if airless[room] || m.lines < smallRoom {
			continue
		}

		if m.blank*100 < minBlankPerHundredLines*m.lines {
			t.Errorf("%s: %d blank lines in %d lines of functions, under %d in 100", room, m.blank, m.lines, minBlankPerHundredLines)
		}
		if m.parallel*100 > maxParallelPerHundredFunction*max(m.functions, 100) {
			t.Errorf("%s: %d parallel assignments in %d functions, over %d in 100", room, m.parallel, m.functions, maxParallelPerHundredFunction)
		}
	}

	if tree.tokens*100 > maxTokensPerHundredLines*tree.code {
		t.Errorf("%d tokens on %d lines of code, over %d on 100", tree.tokens, tree.code, maxTokensPerHundredLines)
	}
}

// measure is what the functions of a room hold, its tests left out.
type measure struct {
	functions, lines, blank, code, tokens, parallel int
}

func measures(t *testing.T) map[string]measure {
	all := map[string]measure{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}

		m := all[s.dir]
		text := bytes.Split(s.raw, []byte("\n"))
		tokens := s.tokens()
		for _, f := range s.functions() {
			m.functions++
			m.parallel += parallelAssignments(f)
			m.tokens += tokens.within(f.Body)

			for line := s.fset.Position(f.Body.Lbrace).Line + 1; line < s.fset.Position(f.Body.Rbrace).Line; line++ {
				m.lines++
				if len(bytes.TrimSpace(text[line-1])) == 0 {
					m.blank++
				}
				if tokens.count[line] > 0 {
					m.code++
				}
			}
		}

		all[s.dir] = m
	}

	return all
}

// parallelAssignments counts those that give several names a value each, and
// could be a statement for each.
func parallelAssignments(f *ast.FuncDecl) int {
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		if a, ok := node.(*ast.AssignStmt); ok && len(a.Lhs) > 1 && len(a.Lhs) == len(a.Rhs) {
			n++
		}
		return true
	})

	return n
}

func TestEveryFileIsFormatted(t *testing.T) {
	for _, s := range sources(t) {
		if want, err := format.Source(s.raw); err != nil || !bytes.Equal(want, s.raw) {
			t.Errorf("%s is not formatted: run gofmt -w %s", s.path, s.path)
		}
	}
}

// Tests wait for conditions, and none is switched off. Where testing/synctest
// makes the time, sleeping is how it passes.
func TestNoTestSleepsOrIsSkipped(t *testing.T) {
	banned := regexp.MustCompile(`\btime\.Sleep\(|\bt\.Skip(f|Now)?\(|\bb\.Skip(f|Now)?\(`)
	for _, s := range sources(t) {
		if !s.test || s.path == "arch_test.go" {
			continue
		}
		fakeTime := bytes.Contains(s.raw, []byte(`"testing/synctest"`))
		for _, m := range banned.FindAll(s.raw, -1) {
			if !fakeTime || !bytes.HasPrefix(m, []byte("time.")) {
				t.Errorf("%s: %s", s.path, m)
			}
		}
	}
}

// declared are the names of all tests of the tree.
func declared(t *testing.T) map[string]bool {
	names := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
	}

	return names
}
