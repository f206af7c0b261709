package adopt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/tree"
)

// old makes a log with a checkpoint and a copy of it, and says how it is set aside.
func old(t *testing.T) Options {
	t.Helper()
	root := t.TempDir()
	o := Options{
		Dir:    filepath.Join(root, "audit"),
		LogKey: filepath.Join(root, "log.key"),
		Copies: []string{filepath.Join(root, "copy")},
		Log:    audit.Options{Key: [32]byte{1}, Node: "gw"},
		By:     "grace",
		Reason: "INC-812",
	}

	secret, public, err := note.GenerateKey(nil, "guardlock/gw/01")
	if err != nil {
		t.Fatal(err)
	}

	put(t, o.LogKey, secret)
	put(t, o.LogKey+".pub", public+"\n")
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}

	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}

	l, err := audit.Open(o.Dir, o.Log)
	if err != nil {
		t.Fatal(err)
	}

	grown, err := tree.Open(t.Context(), l.Reader(), tree.Options{Dir: filepath.Join(o.Dir, tree.DirName), Signer: signer, Verifier: verifier, Copies: o.Copies})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := grown.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	return o
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// linked demands a log that goes on from the one that was set aside as number n.
func linked(t *testing.T, o *Options, aside string) {
	t.Helper()
	r, err := audit.VerifyWith(t.Context(), o.Dir, audit.Known{Keys: [][32]byte{o.Log.Key}})
	if err != nil || !r.Proven || len(r.Adoptions) != 1 {
		t.Fatalf("the new log: %+v, %v", r, err)
	}

	a := r.Adoptions[0]
	if a.Entry != 2 || a.By != "grace" || a.Reason != "INC-812" {
		t.Errorf("it says %+v", a)
	}

	for key, want := range map[string]string{audit.FactFromAside: aside, audit.FactFromOrigin: "guardlock/gw/01", audit.FactFromEntries: "1"} {
		if got := a.Fact(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}

	if len(a.Fact(audit.FactFromLog)) != 16 || a.Fact(audit.FactFromRoot) == "" || a.Fact(audit.FactFromKey) == "" {
		t.Errorf("it says %+v", a.Facts)
	}
}

func exists(t *testing.T, want bool, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if there, err := isThere(path); err != nil || there != want {
			t.Errorf("%s is there: %v, %v; want %v", path, there, err, want)
		}
	}
}

func TestOldLogIsKeptAndNamed(t *testing.T) {
	o := old(t)
	if _, err := Begin(t.Context(), o); err != nil {
		t.Fatal(err)
	}

	linked(t, &o, "audit.1")
	exists(t, true, o.Dir+".1", o.LogKey+".1", o.LogKey+".1.pub", o.Copies[0]+".1")
	exists(t, false, o.LogKey, o.LogKey+".pub", o.Copies[0], pendingOf(o.Dir))

	if _, err := audit.VerifyWith(t.Context(), o.Dir+".1", audit.Known{Keys: [][32]byte{o.Log.Key}}); err != nil {
		t.Errorf("the old log: %v", err)
	}

	// The new one may be lost, too.
	done, err := Begin(t.Context(), o)
	if err != nil || filepath.Base(done.Aside) != "audit.2" {
		t.Errorf("%+v, %v", done, err)
	}
}

// TestAdoptionCutShortIsFinished: each state that a crash leaves keeps the gateway from
// serving, and the next attempt comes to the same end.
func TestAdoptionCutShortIsFinished(t *testing.T) {
	for name, undo := range map[string]func(o *Options) error{
		"the new log has no name yet": func(o *Options) error { return os.Rename(o.Dir, pendingOf(o.Dir)) },
		"a copy is where it was": func(o *Options) error {
			return errors.Join(os.Rename(o.Dir, pendingOf(o.Dir)), os.Rename(o.Copies[0]+".1", o.Copies[0]))
		},
		"the keys are where they were": func(o *Options) error {
			return errors.Join(os.Rename(o.Dir, pendingOf(o.Dir)), os.Rename(o.Copies[0]+".1", o.Copies[0]),
				os.Rename(o.LogKey+".1", o.LogKey), os.Rename(o.LogKey+".1.pub", o.LogKey+".pub"))
		},
		"nothing was set aside": func(o *Options) error {
			return errors.Join(os.Rename(o.Dir, pendingOf(o.Dir)), os.Rename(o.Dir+".1", o.Dir), os.Rename(o.Copies[0]+".1", o.Copies[0]),
				os.Rename(o.LogKey+".1", o.LogKey), os.Rename(o.LogKey+".1.pub", o.LogKey+".pub"))
		},
		"the new log is not whole": func(o *Options) error {
			return errors.Join(os.RemoveAll(o.Dir), os.Mkdir(pendingOf(o.Dir), 0o700), os.Rename(o.Dir+".1", o.Dir), os.Rename(o.Copies[0]+".1", o.Copies[0]),
				os.Rename(o.LogKey+".1", o.LogKey), os.Rename(o.LogKey+".1.pub", o.LogKey+".pub"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := old(t)
			if _, err := Begin(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if err := undo(&o); err != nil {
				t.Fatal(err)
			}
			if pending, err := Pending(o.Dir); err != nil || !pending {
				t.Fatalf("a gateway would start: %v, %v", pending, err)
			}

			if _, err := Begin(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			linked(t, &o, "audit.1")
			exists(t, false, o.LogKey, o.Copies[0], pendingOf(o.Dir), o.Dir+".2")
		})
	}
}

func TestLogOfARunningGatewayIsNotSetAside(t *testing.T) {
	o := old(t)
	l, err := audit.Open(o.Dir, o.Log)
	if err != nil {
		t.Fatal(err)
	}

	defer l.Close()
	if _, err := Begin(t.Context(), o); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("got %v", err)
	}
	exists(t, false, pendingOf(o.Dir), o.Dir+".1")
}

func TestDamagedLogIsSetAsideAsItIs(t *testing.T) {
	o := old(t)
	put(t, filepath.Join(o.Dir, "audit-00000001.wal"), "nothing of a log")
	put(t, filepath.Join(o.Dir, tree.DirName, tree.CheckpointName), "nothing of a checkpoint")

	if err := os.Remove(o.Copies[0]); err != nil {
		t.Fatal(err)
	}

	done, err := Begin(t.Context(), o)
	if err != nil || len(done.Link) != 2 {
		t.Fatalf("%+v, %v", done, err)
	}

	b, err := os.ReadFile(filepath.Join(done.Aside, "audit-00000001.wal"))
	if err != nil || string(b) != "nothing of a log" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestNothingIsThereToGoOnFrom(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "audit")}
	if _, err := Begin(t.Context(), o); !errors.Is(err, ErrNothing) {
		t.Errorf("got %v", err)
	}
}
