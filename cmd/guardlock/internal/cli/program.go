package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is how to call this program once more: by its name where the shell finds
// it by that, by its path otherwise. What `go run` built is gone after its end.
func Program() string {
	path, err := os.Executable()
	if err != nil {
		return "guardlock"
	}
	found, _ := exec.LookPath("guardlock")

	return program(path, found)
}

// program is Program for the executable at path, when the shell finds found
// under the program's name.
func program(path, found string) string {
	if builtByGoRun(path) {
		return "go run ./cmd/guardlock"
	}
	if found != "" && sameFile(path, found) {
		return "guardlock"
	}
	return ShellWord(path)
}

// builtByGoRun knows the directory that go run builds in, and removes at its
// end.
func builtByGoRun(path string) bool {
	dir := filepath.ToSlash(filepath.Dir(path))
	return strings.Contains(dir, "/go-build") && strings.HasSuffix(dir, "/exe")
}

func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)

	return err == nil && os.SameFile(first, second)
}
