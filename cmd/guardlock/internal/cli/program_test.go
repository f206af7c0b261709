package cli

import (
	"os"
	"path/filepath"
	"testing"
)

func TestProgramIsCalledAsItCanBeCalledAgain(t *testing.T) {
	dir := t.TempDir()
	installed := filepath.Join(dir, "guardlock")
	other := filepath.Join(dir, "a copy")
	for _, path := range []string{installed, other} {
		if err := os.WriteFile(path, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}

	for _, c := range []struct{ path, found, want string }{
		{installed, installed, "guardlock"},
		{other, installed, "'" + other + "'"},
		{installed, "", installed},
		{"/tmp/go-build123/b001/exe/guardlock", "", "go run ./cmd/guardlock"},
	} {
		if got := program(c.path, c.found); got != c.want {
			t.Errorf("%s is called as %s, want %s", c.path, got, c.want)
		}
	}
}
