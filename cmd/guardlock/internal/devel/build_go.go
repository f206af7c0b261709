package devel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms/sdk"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// golang builds the main package of the directory, by the stock toolchain or by TinyGo.
// The linkers of both write no sections of ours, so the reasons are added here.
func (b builder) golang(ctx context.Context) (file []byte, name string, err error) {
	temporary, err := os.MkdirTemp("", "guardlock-build-")
	if err != nil {
		return nil, "", fmt.Errorf("building %s: %w", b.dir, err)
	}
	defer os.RemoveAll(temporary)

	tool := goTool()
	packages, err := b.goPackages(ctx, tool)
	if err != nil {
		return nil, "", err
	}
	names, err := namesOf(packages)
	if err != nil {
		return nil, "", exit.WithHint(fmt.Errorf("building %s:\n%w", b.dir, err),
			`each reason and metric is a variable of the main package: var name = guardlock.NewReason("module.name")`)
	}

	out := filepath.Join(temporary, "out.wasm")
	if err := b.run(tool.command(ctx, append(tool.build, "-o", out, ".")...), ""); err != nil {
		return nil, "", err
	}
	if file, err = disk.Read(out, signing.MaxModuleBytes); err != nil {
		return nil, "", err
	}
	main := packages[len(packages)-1]

	return wasm.WithCatalogues(file, names.reasons, names.metrics), path.Base(main.ImportPath), nil
}

// goToolchain is a go command and what it is told: what to build for, how to list a main
// package and what that imports, and how to build it.
type goToolchain struct {
	program     string
	environment []string
	list, build []string
}

// goTool is the stock toolchain, or the one that GUARDLOCK_GO names. Nothing that differs
// between machines or directories comes into the file, and names of functions stay.
func goTool() goToolchain {
	program := os.Getenv("GUARDLOCK_GO")
	if program == "" {
		program = "go"
	}
	if strings.Contains(filepath.Base(program), "tinygo") {
		return goToolchain{
			program: program,
			list:    []string{"list", "-target=wasip1", "-deps", "-json", "."},
			build:   []string{"build", "-target=wasip1", "-buildmode=c-shared", "-opt=2", "-scheduler=none", "-panic=trap"},
		}
	}

	return goToolchain{
		program:     program,
		environment: []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"},
		list:        []string{"list", "-deps", "-json=ImportPath,Dir,Name,GoFiles,Standard", "."},
		build:       []string{"build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-buildid="},
	}
}

// command is the tool with arguments. A module is built from its own go.mod, whatever
// workspace lies around it.
func (g goToolchain) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, g.program, args...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Env = append(cmd.Env, g.environment...)

	return cmd
}

// goPackage is one package of those that a module is built from.
type goPackage struct {
	ImportPath, Dir, Name string
	GoFiles               []string
	Standard              bool
}

// goPackages are the main package of the directory, as the last, and all that it
// imports.
func (b builder) goPackages(ctx context.Context, tool goToolchain) ([]goPackage, error) {
	var listed bytes.Buffer
	cmd := tool.command(ctx, tool.list...)
	cmd.Stdout = &listed
	if err := b.run(cmd, ""); err != nil {
		return nil, err
	}

	var packages []goPackage
	for d := json.NewDecoder(&listed); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("building %s: reading what %s lists: %w", b.dir, tool.program, err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 || packages[len(packages)-1].Name != "main" {
		return nil, exit.Usagef("building %s: its package is not called main", b.dir)
	}

	return packages, nil
}

// goNames are the names that a module declares, in the order of their numbers.
type goNames struct {
	reasons, metrics []string
}

// declares are the SDK's functions that declare a name, and where it goes.
func (n *goNames) declares(function string) *[]string {
	switch function {
	case "NewReason":
		return &n.reasons
	case "NewMetric":
		return &n.metrics
	}

	return nil
}

// namesOf are the names that packages declare. The last package is the main one, and
// only there they may be declared, so that no order of packages matters; any other use
// of the SDK's functions for it is an error.
func namesOf(packages []goPackage) (goNames, error) {
	var names goNames
	var errs []error
	for n, p := range packages {
		if p.Standard || p.ImportPath == sdk.GoPackage {
			continue
		}
		for _, name := range p.GoFiles {
			full := filepath.Join(p.Dir, name)
			source, err := disk.Read(full, maxCaseBytes)
			if err != nil {
				return names, fmt.Errorf("reading the reasons: %w", err)
			}
			errs = append(errs, names.add(full, source, n == len(packages)-1))
		}
	}

	return names, errors.Join(errs...)
}

// add adds the names that a file declares, which only one of the main package may do.
func (n *goNames) add(name string, source []byte, main bool) error {
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	local := importedAs(file)
	if local == "." {
		return fmt.Errorf("%s: the SDK is imported under the name ., which hides where reasons are declared", name)
	}

	read := map[ast.Node]bool{}
	if main {
		for _, call := range variables(file) {
			if to := n.declares(functionOf(call.Fun, local)); to != nil && literal(call) != "" {
				*to = append(*to, literal(call))
				read[call.Fun] = true
			}
		}
	}

	var errs []error
	ast.Inspect(file, func(node ast.Node) bool {
		if n.declares(functionOf(node, local)) != nil && !read[node] {
			errs = append(errs, fmt.Errorf("%s: a name is declared where it cannot be read", positions.Position(node.Pos())))
		}
		return true
	})

	return errors.Join(errs...)
}

// importedAs is the name under which a file knows the SDK, "" when it does not.
func importedAs(file *ast.File) string {
	for _, im := range file.Imports {
		if p, err := strconv.Unquote(im.Path.Value); err != nil || p != sdk.GoPackage {
			continue
		}
		if im.Name != nil {
			return im.Name.Name
		}
		return path.Base(sdk.GoPackage)
	}

	return ""
}

// variables are the calls that make variables of the package, in order.
func variables(file *ast.File) []*ast.CallExpr {
	var calls []*ast.CallExpr
	for _, d := range file.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.VAR {
			continue
		}
		for _, s := range group.Specs {
			for _, value := range s.(*ast.ValueSpec).Values {
				if call, ok := value.(*ast.CallExpr); ok {
					calls = append(calls, call)
				}
			}
		}
	}

	return calls
}

// functionOf is the name of the SDK's function that an expression names.
func functionOf(n ast.Node, local string) string {
	s, ok := n.(*ast.SelectorExpr)
	if !ok || local == "" {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); !ok || x.Name != local {
		return ""
	}

	return s.Sel.Name
}

// literal is the one argument of a call, where it is a literal text.
func literal(call *ast.CallExpr) string {
	if len(call.Args) != 1 {
		return ""
	}
	text, ok := call.Args[0].(*ast.BasicLit)
	if !ok || text.Kind != token.STRING {
		return ""
	}

	value, err := strconv.Unquote(text.Value)
	if err != nil {
		return ""
	}
	return value
}
