// Package sdk holds what a module is written with: the header for C, the crate for
// Rust, and for each of them a module to begin with. All of these modules are the same
// mask, and hold the same cases (golden/mask.yaml).
//
// Projects are written out by `guardlock module init`, which is why the sources are in
// the program: a module needs no other download, and no version that could differ.
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
//go:embed golden/mask.yaml
var files embed.FS

// Languages are those that a module can be begun in.
func Languages() []string { return []string{"rust", "c"} }

// ErrLanguage says that there is no SDK for a language.
var ErrLanguage = errors.New("there is no SDK for this language")

// Project returns the files of a new module by their paths: its source, the SDK, and
// its cases. The name stands where the sources say NAME.
func Project(language, name string) (map[string][]byte, error) {
	if !slices.Contains(Languages(), language) {
		return nil, fmt.Errorf("%w: %s", ErrLanguage, language)
	}

	project := map[string][]byte{}
	err := add(project, language+"/template", "", name)
	if language == "rust" {
		err = errors.Join(err, add(project, "rust/Cargo.toml", "guardlock/Cargo.toml", ""), add(project, "rust/src", "guardlock/src", ""))
		project[".gitignore"] = []byte("/target\n")
	} else {
		err = errors.Join(err, add(project, "c/guardlock.h", "guardlock.h", ""))
	}

	return project, errors.Join(err, add(project, "golden/mask.yaml", "cases/mask.yaml", ""))
}

// add puts the files at or below from into a project, at or below to.
func add(project map[string][]byte, from, to, name string) error {
	return fs.WalkDir(files, from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}

		content, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		at := path.Join(to, strings.TrimPrefix(p, from))
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
