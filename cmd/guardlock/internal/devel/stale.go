package devel

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// clockGrain is how much later a source must have been changed to count as newer: a
// copied or checked out tree has files of the same moment in any order.
const clockGrain = 2 * time.Second

// maxSources bounds how many files are looked at: a module's directory may be the
// wrong one.
const maxSources = 10000

// staleness says that a source of the module was changed after it was built, and how
// to build it; empty where none was.
func (m module) staleness() string {
	built, err := os.Stat(m.file)
	if err != nil {
		return ""
	}

	newest := ""
	limit := built.ModTime().Add(clockGrain)
	seen := 0
	_ = filepath.WalkDir(m.dir, func(path string, e fs.DirEntry, err error) error {
		if seen++; err != nil || seen > maxSources {
			return fs.SkipAll
		}
		if e.IsDir() && path != m.dir && leftOut(e.Name()) {
			return fs.SkipDir
		}
		if e.IsDir() || !isBuiltFrom(e.Name()) {
			return nil
		}

		info, err := e.Info()
		if err == nil && info.ModTime().After(limit) {
			newest = path
			limit = info.ModTime()
		}
		return nil
	})
	if newest == "" {
		return ""
	}

	return fmt.Sprintf("%s was changed after %s was built: build it with --build, or `guardlock module build %s`",
		newest, m.file, cli.ShellWord(m.dir))
}

// leftOut are directories of what tools make, and of what is no source of the module.
func leftOut(dir string) bool {
	return strings.HasPrefix(dir, ".") || slices.Contains([]string{"target", "node_modules", "build", "cases"}, dir)
}

func isBuiltFrom(name string) bool {
	return slices.Contains([]string{".c", ".h", ".rs", ".go", ".ts", ".js", ".toml"}, filepath.Ext(name)) ||
		slices.Contains([]string{"go.mod", "package.json", "asconfig.json"}, name)
}
