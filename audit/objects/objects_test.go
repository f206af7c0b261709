package objects_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
)

// put overwrites an object behind the store's back.
func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsKeptIsReadBackByItsDigest(t *testing.T) {
	dir := t.TempDir()
	s := objects.Of(dir)
	for _, content := range []string{"", "a", strings.Repeat("module", 100_000)} {
		d, err := s.Keep([]byte(content))
		if err != nil || d != audit.Digest(sha256.Sum256([]byte(content))) {
			t.Fatalf("keeping %d bytes: %v", len(content), err)
		}
		if got, err := objects.Of(dir).Read(d, objects.MaxBytes); err != nil || string(got) != content {
			t.Errorf("%d bytes were read back as %d, %v", len(content), len(got), err)
		}
	}

	left, err := os.ReadDir(filepath.Join(dir, objects.DirName))
	if err != nil || len(left) != 3 {
		t.Errorf("%d files for three objects: %v", len(left), err)
	}
}

// An object is written once: what is there already, whole, is left as the file that it is.
func TestAnObjectIsWrittenOnce(t *testing.T) {
	dir := t.TempDir()
	d, err := objects.Of(dir).Keep([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	path := objects.Of(dir).Path(d)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}

	again := objects.Of(dir)
	again.Repaired = func(path string) { t.Errorf("%s was repaired", path) }
	for range 2 {
		if _, err := again.Keep([]byte("content")); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again: %v", err)
	}
}

func TestADamagedObjectIsNeverGivenAndWrittenAgain(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"changed": func(t *testing.T, path string) { put(t, path, "cOntent") },
		"cut":     func(t *testing.T, path string) { put(t, path, "con") },
		"empty":   func(t *testing.T, path string) { put(t, path, "") },
		"longer":  func(t *testing.T, path string) { put(t, path, "content and more") },
		"a link to another": func(t *testing.T, path string) {
			put(t, path+".other", "other")
			if err := errors.Join(os.Remove(path), os.Symlink(path+".other", path)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := objects.Of(dir).Keep([]byte("content"))
			if err != nil {
				t.Fatal(err)
			}
			s := objects.Of(dir)
			damage(t, s.Path(d))

			if _, err := s.Read(d, objects.MaxBytes); !errors.Is(err, objects.ErrDamaged) {
				t.Errorf("reading it: %v", err)
			}
			if state, err := s.Look(d); state != objects.Damaged || err != nil {
				t.Errorf("it looks %s, %v", state, err)
			}

			repaired := ""
			s.Repaired = func(path string) { repaired = path }
			if _, err := s.Keep([]byte("content")); err != nil || repaired != s.Path(d) {
				t.Errorf("repaired %q, %v", repaired, err)
			}
			if got, err := s.Read(d, objects.MaxBytes); err != nil || string(got) != "content" {
				t.Errorf("then it is %q, %v", got, err)
			}
		})
	}
}

// What cannot be kept is an error, each time, until it can.
func TestWhatCannotBeKeptIsAnError(t *testing.T) {
	dir := t.TempDir()
	s := objects.Of(dir)
	d := audit.Digest(sha256.Sum256([]byte("content")))
	inTheWay := filepath.Join(s.Path(d), "file")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}

	for range 2 {
		if _, err := s.Keep([]byte("content")); err == nil {
			t.Fatal("it was kept where a directory is")
		}
	}
	if _, err := s.Read(d, objects.MaxBytes); !errors.Is(err, objects.ErrDamaged) {
		t.Errorf("reading it: %v", err)
	}
	if err := os.RemoveAll(s.Path(d)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Keep([]byte("content")); err != nil {
		t.Error(err)
	}

	if err := s.KeepAs(audit.Digest{1}, []byte("content")); err == nil {
		t.Error("it was kept under a digest that it does not have")
	}
	if state, err := s.Look(audit.Digest{1}); state != objects.Missing || err != nil {
		t.Errorf("what nobody kept is %s, %v", state, err)
	}
}

// Several gateways' goroutines, and a gateway that was killed before, share a directory.
func TestObjectsAreKeptConcurrently(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		s := objects.Of(dir)
		for range 4 {
			all.Go(func() {
				for n := range 20 {
					if _, err := s.Keep([]byte{byte(n)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()

	for n := range 20 {
		if got, err := objects.Of(dir).Read(sha256.Sum256([]byte{byte(n)}), 1); err != nil || got[0] != byte(n) {
			t.Errorf("object %d is %v, %v", n, got, err)
		}
	}
}

func snapshot() *objects.Snapshot {
	return &objects.Snapshot{
		Format:  objects.Format,
		Gateway: "gw-a",
		Files:   []audit.File{{Role: "policy", Name: "built in", Digest: audit.Digest{1}, Revision: 3}},
		Modules: []objects.Module{{
			Name:      "gdpr",
			Wasm:      audit.Digest{2},
			Config:    audit.Digest{3},
			Signature: audit.Digest{4},
			Approvals: []objects.Approval{{ID: "i", KeyID: "k", Bundle: audit.Digest{5}}, {ID: "j", KeyID: "k", Bundle: audit.Digest{5}}},
		}},
		Bindings: []objects.Binding{{Cluster: "main", Name: "b", Topics: []string{"t"}, Modules: []int{0}}},
	}
}

func TestASnapshotNamesEachObjectOnce(t *testing.T) {
	b, err := snapshot().Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := objects.ParseSnapshot(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Encode()
	if err != nil || string(again) != string(b) {
		t.Errorf("it reads back as\n%s", again)
	}

	var named []audit.Digest
	for _, o := range s.Named() {
		named = append(named, o.Digest)
	}
	if len(named) != 5 {
		t.Errorf("it names %v", named)
	}
}

func TestWhatIsNoSnapshotIsRefused(t *testing.T) {
	for name, change := range map[string]func(*objects.Snapshot){
		"another version":   func(s *objects.Snapshot) { s.Format = "guardlock authority v2" },
		"no such module":    func(s *objects.Snapshot) { s.Bindings[0].Modules = []int{1} },
		"a negative module": func(s *objects.Snapshot) { s.Bindings[0].Modules = []int{-1} },
	} {
		s := snapshot()
		change(s)
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := objects.ParseSnapshot(b); !errors.Is(err, objects.ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := objects.ParseSnapshot([]byte(`{"format": "guardlock authority v1", "more": 1}`)); !errors.Is(err, objects.ErrSnapshot) {
		t.Errorf("an unknown field: %v", err)
	}
}

func FuzzSnapshot(f *testing.F) {
	b, err := snapshot().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format": "guardlock authority v1"}`))

	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := objects.ParseSnapshot(b)
		if err != nil {
			return
		}
		s.Named()
		once, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := objects.ParseSnapshot(once)
		if err != nil {
			t.Fatalf("what was written is refused: %v", err)
		}
		if twice, err := again.Encode(); err != nil || string(twice) != string(once) {
			t.Fatalf("%v: written as\n%s\nand then as\n%s", err, once, twice)
		}
	})
}
