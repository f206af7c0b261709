package devel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/sdk"
)

const importSDK = `import "github.com/guardlock/guardlock/transforms/sdk/go/guardlock"` + "\n"

func TestReasonsOfAGoModuleAreThoseOfItsVariables(t *testing.T) {
	for source, want := range map[string]struct {
		reasons []string
		metrics []string
		problem string
	}{
		importSDK + `var a = guardlock.NewReason("m.a")
			var (
				b, c = guardlock.NewReason("m.b"), guardlock.NewReason("m.c")
			)`: {reasons: []string{"m.a", "m.b", "m.c"}},
		`import gl "github.com/guardlock/guardlock/transforms/sdk/go/guardlock"` + "\n" + "var a = gl.NewReason(`m.a`)": {reasons: []string{"m.a"}},
		`var a = guardlock.NewReason("m.a")`:                                                                     {}, // of another package
		importSDK + `var n = "m"; var a = guardlock.NewReason(n)`:                                                {problem: "main.go:3:22: a name is declared where"},
		importSDK + `func f() { guardlock.NewReason("m.a") }`:                                                    {problem: "where it cannot be read"},
		importSDK + `var f = guardlock.NewReason`:                                                                {problem: "where it cannot be read"},
		importSDK + `var a = []guardlock.Reason{guardlock.NewReason("m.a")}`:                                     {problem: "where it cannot be read"},
		`import . "github.com/guardlock/guardlock/transforms/sdk/go/guardlock"` + "\nvar a = NewReason(\"m.a\")": {problem: "hides where"},
	} {
		var got goNames
		err := got.add("main.go", []byte("package main\n"+source), true)
		if (err == nil) != (want.problem == "") || err != nil && !strings.Contains(err.Error(), want.problem) {
			t.Errorf("%s: got %v, want %q", source, err, want.problem)
		}
		if err == nil && (!slices.Equal(got.reasons, want.reasons) || !slices.Equal(got.metrics, want.metrics)) {
			t.Errorf("%s: got %v, want %v and %v", source, got, want.reasons, want.metrics)
		}
	}
}

// The order of packages is not one that a reader sees, so only one may declare reasons.
func TestReasonsOfAGoModuleAreInItsMainPackage(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"main.go": `var a = guardlock.NewReason("m.a")`, "other.go": `var b = guardlock.NewReason("m.b")`}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("package x\n"+importSDK+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	main := goPackage{ImportPath: "m", Dir: dir, Name: "main", GoFiles: []string{"main.go", "other.go"}}
	if got, err := namesOf([]goPackage{main}); err != nil || !slices.Equal(got.reasons, []string{"m.a", "m.b"}) {
		t.Errorf("got %v, %v", got, err)
	}

	main.GoFiles = main.GoFiles[:1]
	other := goPackage{ImportPath: "m/other", Dir: dir, Name: "other", GoFiles: []string{"other.go"}}
	if got, err := namesOf([]goPackage{other, main}); err == nil || !strings.Contains(err.Error(), "other.go:3") {
		t.Errorf("got %v, %v", got, err)
	}
}

// A new module is built by nothing but Go, has the reasons of its source, and is the
// same file in whatever directory it is built.
func TestAGoModuleIsBuiltTheSameInEveryDirectory(t *testing.T) {
	project, err := sdk.Project("go", "card-mask")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOPROXY", "off")

	var files [][]byte
	for _, dir := range []string{filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "deep", "two")} {
		for name, content := range project {
			to := filepath.Join(dir, filepath.FromSlash(name))
			if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, content, 0o600)); err != nil {
				t.Fatal(err)
			}
		}

		path, file, err := (builder{dir: dir, log: t.Output()}).write(t.Context())
		if err != nil || filepath.Base(path) != "card-mask.wasm" {
			t.Fatalf("%s, %v", path, err)
		}
		files = append(files, file)
	}

	if !bytes.Equal(files[0], files[1]) {
		t.Error("the directory is part of the file")
	}
	info, err := transforms.Inspect(files[0], transforms.ScanLimits{})
	if err != nil || !slices.Equal(info.Reasons, []string{"mask.masked", "mask.binary", "mask.no_store", "mask.test"}) {
		t.Errorf("its reasons are %v, %v", info.Reasons, err)
	}
}

// FuzzGoNames: whatever a source is, its names are texts of it.
func FuzzGoNames(f *testing.F) {
	f.Add([]byte("package main\n"+importSDK+`var a = guardlock.NewReason("m.a")`), true)
	f.Add([]byte("package main\n"+importSDK+"var (a = guardlock.NewMetric(`m.a`); b int)"), false)
	f.Fuzz(func(t *testing.T, source []byte, main bool) {
		var names goNames
		err := names.add("main.go", source, main)
		found := len(names.reasons) + len(names.metrics)
		if err == nil && !main && found > 0 {
			t.Fatalf("a package that is not the main one declares %q", names)
		}
		if n := strings.Count(string(source), "New"); err == nil && found > n {
			t.Fatalf("%d names of %d calls", found, n)
		}
	})
}
