// Package sdk holds what a module is written with: the header for C, the crate for
// Rust, the packages for Go and AssemblyScript, and for each of them a module to begin
// with. All of these modules are the same mask, and hold the same cases
// (golden/mask.yaml).
//
// Projects are written out by `guardlock module init`, which is why the sources are in
// the program: a module needs no other download of ours, and no version that could
// differ.
package sdk

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed c/guardlock.h c/template/NAME.c
//go:embed rust/Cargo.toml rust/src rust/template
//go:embed go/guardlock go/template
//go:embed assemblyscript/guardlock assemblyscript/template
//go:embed golden/mask.yaml
var files embed.FS

// GoPackage is the path under which a module in Go imports the SDK. In a new project it
// is a module of that name, which lies beside the source.
const GoPackage = "github.com/guardlock/guardlock/transforms/sdk/go/guardlock"

// language is one that a module can be begun in: files of the SDK, by where they lie in
// a project. What its template says is there under the name of the module.
type language struct {
	name     string
	template string
	files    map[string]string
	ignore   string // for git
}

var languages = []language{
	{name: "rust", template: "rust/template", files: map[string]string{"guardlock/Cargo.toml": "rust/Cargo.toml", "guardlock/src": "rust/src"}, ignore: "/target\n"},
	{name: "go", template: "go/template/NAME", files: map[string]string{"guardlock": "go/guardlock"}},
	{name: "as", template: "assemblyscript/template", files: map[string]string{"guardlock": "assemblyscript/guardlock"}, ignore: "/node_modules\n"},
	{name: "c", template: "c/template", files: map[string]string{"guardlock.h": "c/guardlock.h"}},
}

// Languages are those that a module can be begun in.
func Languages() []string {
	var names []string
	for _, l := range languages {
		names = append(names, l.name)
	}

	return names
}

// ErrLanguage says that there is no SDK for a language.
var ErrLanguage = errors.New("there is no SDK for this language")

// Project returns the files of a new module by their paths: its source, the SDK, and
// its cases. The name stands where the sources say NAME.
func Project(language, name string) (map[string][]byte, error) {
	at := slices.Index(Languages(), language)
	if at < 0 {
		return nil, fmt.Errorf("%w: %s", ErrLanguage, language)
	}

	l := languages[at]
	project := map[string][]byte{}
	errs := []error{add(project, l.template, "", name), add(project, "golden/mask.yaml", "cases/mask.yaml", "")}
	for to, from := range l.files {
		errs = append(errs, add(project, from, to, ""))
	}
	if l.ignore != "" {
		project[".gitignore"] = []byte(l.ignore)
	}

	return project, errors.Join(errs...)
}

// add puts the files at or below from into a project, at or below to. A go.mod is a
// go.mod.txt here, where it must not begin a module of its own.
func add(project map[string][]byte, from, to, name string) error {
	return fs.WalkDir(files, from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}

		content, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		at := path.Join(to, strings.TrimSuffix(strings.TrimPrefix(p, from), ".txt"))
		if name != "" {
			at = strings.ReplaceAll(at, "NAME", name)
			content = []byte(strings.ReplaceAll(string(content), "NAME", name))
		}
		project[strings.TrimPrefix(at, "/")] = content

		return nil
	})
}

// Golden is what every one of the modules must do, as cases.
func Golden() []byte {
	content, err := files.ReadFile("golden/mask.yaml")
	if err != nil {
		panic(err) // it is in the program
	}

	return content
}
