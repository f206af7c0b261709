//go:build unix

package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A process that is not root reads a secret that root handed to its group, as a pod
// does, and no other file that a group can read.
func TestSecretOfAPodIsReadAndNoOtherSharedOne(t *testing.T) {
	if path := os.Getenv("GUARDLOCK_TEST_SECRET"); path != "" {
		_, err := ReadPrivate(path)
		if err != nil {
			os.Stdout.WriteString("refused: " + err.Error())
		}
		os.Exit(0)
	}

	for _, c := range []struct {
		name       string
		uid, gid   int
		mode       os.FileMode
		user, want int // want 1: it is read
	}{
		{"a pod's", 0, 4711, 0o440, 4711, 1},
		{"group may write", 0, 4711, 0o460, 4711, 0},
		{"all may read", 0, 4711, 0o444, 4711, 0},
		{"own, group may read", 4711, 4711, 0o440, 4711, 0},
		{"somebody's", 4712, 4711, 0o440, 4711, 0},
		{"root reads it", 0, 4711, 0o440, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				if handedTo(c.user, []int{c.gid}, c.gid) != (c.user != 0) {
					t.Error("the group does not decide") // only root can make files for others
				}
				return
			}

			path := filepath.Join(openDir(t), "secret")
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, c.uid, c.gid); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}

			out, err := readAs(t, path, c.user)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := !strings.HasPrefix(out, "refused: "); got != (c.want == 1) {
				t.Errorf("read: %v, want %v: %s", got, c.want == 1, out)
			}
		})
	}
}

// openDir is a directory that every user can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// readAs runs this test as another user, who reads the secret at path.
func readAs(t *testing.T, path string, user int) (string, error) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		self, err = os.ReadFile(os.Args[0])
	}
	if err != nil {
		t.Fatal(err)
	}

	binary := filepath.Join(filepath.Dir(path), "test")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(binary, "-test.run=^TestSecretOfAPodIsReadAndNoOtherSharedOne$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GUARDLOCK_TEST_SECRET="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
