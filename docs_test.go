package guardlock_test

import (
	"flag"
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/configuration.md again from the comments of internal/config")

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// documents are the pages that are written by hand, and those made from code.
func documents(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/modules/*.md", "deploy/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}

	if len(all) < 12 {
		t.Fatalf("found only %d documents: %v", len(all), all)
	}
	return all
}

var testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)

// A document that promises a test must not promise one that was renamed.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	known := declared(t)
	for _, doc := range documents(t) {
		for _, name := range testName.FindAllString(read(t, doc), -1) {
			if !known[name] {
				t.Errorf("%s names %s, which is nowhere", doc, name)
			}
		}
	}
}

func TestEveryInvariantNamesItsTest(t *testing.T) {
	_, section, found := strings.Cut(read(t, "ARCHITECTURE.md"), "\n## Invariants")
	if !found {
		t.Fatal("ARCHITECTURE.md has no section Invariants")
	}

	section, _, _ = strings.Cut(section, "\n## ")
	items := regexp.MustCompile(`(?m)^\d+\. `).Split(section, -1)[1:]
	if len(items) != 8 {
		t.Errorf("found %d invariants, want 8", len(items))
	}

	for i, item := range items {
		if !testName.MatchString(item) {
			t.Errorf("invariant %d names no test", i+1)
		}
	}
}

// mentioned finds `path/like/this.go` and `path/like/this/` in backticks.
var mentioned = regexp.MustCompile("`([a-z][\\w.-]*(?:/[\\w.*-]+)*/?)`")

func TestDocumentsNamePathsThatExist(t *testing.T) {
	for _, doc := range documents(t) {
		for _, m := range mentioned.FindAllStringSubmatch(read(t, doc), -1) {
			p := m[1]
			inTree := strings.HasSuffix(p, ".go") || strings.HasPrefix(p, "docs/") || strings.HasPrefix(p, "deploy/") || strings.HasSuffix(p, "/")
			if _, err := os.Stat(p); inTree && err != nil && strings.Contains(p, "/") {
				t.Errorf("%s names %s, which is nowhere", doc, p)
			}
		}
	}
}

// links finds the targets of Markdown links and pictures.
var links = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestDocumentsLinkToFilesThatExist(t *testing.T) {
	for _, doc := range documents(t) {
		for _, m := range links.FindAllStringSubmatch(read(t, doc), -1) {
			target := filepath.Join(filepath.Dir(doc), m[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is nowhere", doc, m[1])
				continue
			}

			section := strings.TrimPrefix(m[2], "#")
			if section != "" && !slices.Contains(anchors(read(t, target)), section) {
				t.Errorf("%s links to %s#%s: there is no such section", doc, m[1], section)
			}
		}
	}
}

// anchors are the names that GitHub gives to a page's headings.
func anchors(page string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(kept, " ", "-"))
	}

	return all
}

// A page that nobody can find from the README is not there for a reader.
func TestReadmeLeadsToEveryPage(t *testing.T) {
	reached := map[string]bool{}
	var follow func(doc string)
	follow = func(doc string) {
		if reached[doc] || filepath.Ext(doc) != ".md" {
			return
		}
		reached[doc] = true
		for _, m := range links.FindAllStringSubmatch(read(t, doc), -1) {
			follow(filepath.Join(filepath.Dir(doc), m[1]))
		}
	}

	follow("README.md")
	for _, doc := range documents(t) {
		if !reached[doc] && doc != "CHANGELOG.md" {
			t.Errorf("no link leads from README.md to %s", doc)
		}
	}
}

func TestReadmeHasAHundredLinesAtMost(t *testing.T) {
	if lines := strings.Count(read(t, "README.md"), "\n"); lines > 100 {
		t.Errorf("README.md has %d lines", lines)
	}
}

// A word of the glossary is one thing in the whole house, which holds only
// while there are few enough to remember.
func TestGlossaryHasFifteenWordsAtMost(t *testing.T) {
	_, section, found := strings.Cut(read(t, "ARCHITECTURE.md"), "\n## Glossary")
	section, _, _ = strings.Cut(section, "\n## ")
	words := regexp.MustCompile(`(?m)^\| \*\*`).FindAllString(section, -1)
	if !found || len(words) < 5 || len(words) > 15 {
		t.Errorf("found %d words in the glossary of ARCHITECTURE.md", len(words))
	}
}

// The first screen must hold a command that works.
func TestReadmeShowsACommandByLine30(t *testing.T) {
	before, _, found := strings.Cut(read(t, "README.md"), "go run -v ./cmd/guardlock demo")
	if line := strings.Count(before, "\n") + 1; !found || line > 30 {
		t.Errorf("the demo command stands on line %d", line)
	}
}

func TestRationaleNamesEveryDirectDependency(t *testing.T) {
	rationale := read(t, "RATIONALE.md")
	require := regexp.MustCompile(`(?m)^(?:require )?\t?([\w.-]+\.[a-z]+/\S+) v\S+$`)
	found := require.FindAllStringSubmatch(read(t, "go.mod"), -1)
	if len(found) < 10 {
		t.Fatalf("found only %d requirements in go.mod", len(found))
	}

	used := imported(t)
	for _, m := range found {
		needed := slices.ContainsFunc(used, func(p string) bool { return p == m[1] || strings.HasPrefix(p, m[1]+"/") })
		if needed && !strings.Contains(rationale, "`"+m[1]+"`") {
			t.Errorf("RATIONALE.md does not say why %s", m[1])
		}
	}
}

// imported are the paths of all imports of the tree.
func imported(t *testing.T) []string {
	var all []string
	for _, s := range sources(t) {
		for _, i := range s.file.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			all = append(all, p)
		}
	}

	return all
}

// field is one setting, or several that share a comment.
type field struct {
	names []string // in Go
	keys  []string // in YAML
	kind  string
	doc   string
	block string // Go type of the block or list of blocks that it is
}

// settings reads the structs of internal/config.
func settings(t *testing.T) map[string][]field {
	all := map[string][]field{}
	for _, s := range sources(t) {
		if s.dir != "internal/config" || s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			ts, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}

			if st, ok := ts.Type.(*ast.StructType); ok && ts.Name.IsExported() {
				if fs := fieldsOf(st); len(fs) > 0 {
					all[ts.Name.Name] = fs
				}
			}

			return true
		})
	}

	return all
}

func fieldsOf(st *ast.StructType) []field {
	var out []field
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, _ := strconv.Unquote(f.Tag.Value)
		key := reflect.StructTag(tag).Get("yaml")
		if key == "" || key == "-" {
			continue
		}

		kind, block := kindOf(f.Type)
		one := field{names: []string{f.Names[0].Name}, keys: []string{key}, kind: kind, block: block, doc: strings.Join(strings.Fields(f.Doc.Text()), " ")}
		// A field without a comment shares that of the field before it.
		if last := len(out) - 1; one.doc == "" && last >= 0 && block == "" && out[last].kind == kind {
			out[last].names = append(out[last].names, one.names...)
			out[last].keys = append(out[last].keys, key)
			continue
		}

		out = append(out, one)
	}

	return out
}

// kindOf says what a user writes for a Go type, and names its block.
func kindOf(e ast.Expr) (kind, block string) {
	switch e := e.(type) {
	case *ast.StarExpr:
		return kindOf(e.X)
	case *ast.ArrayType:
		kind, block = kindOf(e.Elt)
		return "list of " + strings.Replace(kind, "text", "texts", 1) + map[bool]string{true: "s"}[block != ""], block
	case *ast.Ident:
		switch {
		case e.Name == "string":
			return "text", ""
		case e.Name == "bool":
			return "true or false", ""
		case e.IsExported():
			return "block", e.Name
		default:
			return "number", ""
		}
	default:
		return "text", "" // types of other packages that read themselves from text
	}
}

// section is one block of the file, with every place where it may stand.
type section struct {
	block string
	paths []string
}

// layout orders the blocks as a reader meets them.
func layout(all map[string][]field, block, path string, out []section) []section {
	i := slices.IndexFunc(out, func(s section) bool { return s.block == block })
	if i < 0 {
		i = len(out)
		out = append(out, section{block: block})
	}

	out[i].paths = append(out[i].paths, path)
	for _, f := range all[block] {
		if f.block != "" {
			inside := strings.TrimPrefix(path+"."+f.keys[0], ".")
			if strings.HasPrefix(f.kind, "list") {
				inside += "[]"
			}
			out = layout(all, f.block, inside, out)
		}
	}

	return out
}

// inYAML writes a comment's Go names as the keys that users see.
func inYAML(doc string, fields []field, all map[string][]field) string {
	keys := map[string]string{}
	for _, fs := range all {
		for _, f := range fs {
			for i, n := range f.names {
				if strings.ToUpper(n[1:2]) != n[1:2] && strings.ToLower(n[1:]) != n[1:] {
					keys[n] = f.keys[i] // CertFile: cannot be an English word
				}
			}
		}
	}

	for _, f := range fields {
		for i, n := range f.names {
			if strings.ToUpper(n) != n || strings.Contains(f.keys[i], "_") {
				keys[n] = f.keys[i]
			}
		}
	}

	for _, f := range fields {
		if rest, ok := strings.CutPrefix(doc, f.names[0]+" "); ok && strings.ToUpper(f.names[0]) == f.names[0] {
			doc = "`" + f.keys[0] + "` " + rest // TLS, SASL: only the word that the comment is about
		}
	}

	return regexp.MustCompile(`[A-Za-z]+`).ReplaceAllStringFunc(doc, func(w string) string {
		if k, ok := keys[w]; ok {
			return "`" + k + "`"
		}
		return w
	})
}

func configurationDocument(t *testing.T) string {
	all := settings(t)
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Made from the comments of internal/config by: go test -run TestConfigurationDocumentIsCurrent . -update -->

One YAML file. Unknown keys are errors. ` + "`guardlock check FILE`" + ` reports every problem at once, without opening a port, a broker
or the log. Relative paths are relative to the file. Secrets stand in files of their own, with mode 0600. What is unsafe is
spelled ` + "`insecure`" + ` and shown at every start. Complete examples are in [deploy/samples](../deploy/samples).
`)

	for _, s := range layout(all, "Config", "", nil) {
		title := "Top level"
		if s.paths[0] != "" {
			title = "`" + strings.Join(s.paths, "`, `") + "`"
		}

		fmt.Fprintf(&b, "\n## %s\n\n| key | is | meaning |\n|---|---|---|\n", title)
		for _, f := range all[s.block] {
			doc := strings.ReplaceAll(inYAML(f.doc, all[s.block], all), "|", "\\|")
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.Join(f.keys, "`, `"), f.kind, doc)
		}
	}

	return b.String()
}

func TestConfigurationDocumentIsCurrent(t *testing.T) {
	want := configurationDocument(t)
	if *update {
		if err := os.WriteFile("docs/configuration.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	if read(t, "docs/configuration.md") != want {
		t.Error("docs/configuration.md is older than internal/config: go test -run TestConfigurationDocumentIsCurrent . -update")
	}
}

// Every setting that is dangerous says so in its name, and serve shows it.
func TestUnsafeSettingsAreSpelledInsecureAndShown(t *testing.T) {
	shown := read(t, "internal/config/insecure.go")
	for block, fields := range settings(t) {
		for _, f := range fields {
			for _, k := range f.keys {
				unsafe := strings.HasPrefix(k, "insecure")
				if unsafe != strings.Contains(f.doc, "Danger:") {
					t.Errorf("%s.%s: insecure in its name and Danger: in its comment go together", block, k)
				}
				if unsafe && !strings.Contains(shown, k) {
					t.Errorf("%s.%s is not shown at start (Insecure in internal/config/insecure.go)", block, k)
				}
			}
		}
	}
}
