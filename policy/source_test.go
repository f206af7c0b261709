package policy

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A Kubernetes ConfigMap is mounted like this: the files in a directory whose name
// begins with dots, a link to that directory, and a link to each file.
func TestPolicyMountedFromAConfigMapIsLoaded(t *testing.T) {
	plain := t.TempDir()
	if err := os.CopyFS(plain, Default()); err != nil {
		t.Fatal(err)
	}

	mount := t.TempDir()
	version := "..2030_01_01_00_00_00.123"
	if err := os.CopyFS(filepath.Join(mount, version), Default()); err != nil {
		t.Fatal(err)
	}

	link(t, version, filepath.Join(mount, "..data"))

	files, err := fs.Glob(Default(), "*")
	if err != nil {
		t.Fatal(err)
	}

	for _, name := range files {
		link(t, filepath.Join("..data", name), filepath.Join(mount, name))
	}
	if err := os.WriteFile(filepath.Join(mount, ".module.rego.swp"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}

	want, err := Load(t.Context(), os.DirFS(plain))
	if err != nil {
		t.Fatal(err)
	}

	got, err := Load(t.Context(), os.DirFS(mount))
	if err != nil {
		t.Fatal(err)
	}
	if got.Revision() != want.Revision() {
		t.Errorf("the mounted policy has revision %s, the same files elsewhere %s", got.Revision(), want.Revision())
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}
