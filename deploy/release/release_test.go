package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/signing"
)

const (
	testVersion  = "v0.9.1-rc.2"
	testRevision = "0123456789abcdef0123456789abcdef01234567"
)

// made is the release that all tests look at, signed with key.
var (
	made *release
	key  *signing.PrivateKey
)

func TestMain(m *testing.M) {
	// What git would say of a working tree that tests run in has no place in a release.
	os.Setenv("GUARDLOCK_REVISION", testRevision)
	os.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	dir, err := os.MkdirTemp("", "guardlock-released")
	if err == nil {
		err = makeOnce(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func makeOnce(dir string) (err error) {
	root, err := repository()
	if err != nil {
		return err
	}
	if key, err = signing.GenerateKey(rand.Reader); err != nil {
		return err
	}
	if made, err = newRelease(root, testVersion, filepath.Join(dir, "dist"), allTargets); err != nil {
		return err
	}
	if err := made.make(context.Background()); err != nil {
		return err
	}
	return made.sign(context.Background(), key)
}

// file is a file of the release.
func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(made.out, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestReleaseHasWhatIsPromised(t *testing.T) {
	var got []string
	have, err := digestsOf(made.out)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range have {
		got = append(got, d.name)
	}

	want := []string{
		sumsName, sumsBundle,
		"guardlock-0.9.1~rc.2-1.aarch64.rpm",
		"guardlock-0.9.1~rc.2-1.x86_64.rpm",
		"guardlock_0.9.1-rc.2_darwin_amd64.cdx.json",
		"guardlock_0.9.1-rc.2_darwin_amd64.tar.gz",
		"guardlock_0.9.1-rc.2_darwin_arm64.cdx.json",
		"guardlock_0.9.1-rc.2_darwin_arm64.tar.gz",
		"guardlock_0.9.1-rc.2_image.tar",
		"guardlock_0.9.1-rc.2_linux_amd64.cdx.json",
		"guardlock_0.9.1-rc.2_linux_amd64.tar.gz",
		"guardlock_0.9.1-rc.2_linux_arm64.cdx.json",
		"guardlock_0.9.1-rc.2_linux_arm64.tar.gz",
		"guardlock_0.9.1~rc.2_amd64.deb",
		"guardlock_0.9.1~rc.2_arm64.deb",
		provenanceName,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// The sources are copied to another directory and released there again: whoever has
// them can find out whether a release was made of them.
func TestReleaseIsTheSameWhereverItIsMade(t *testing.T) {
	root := filepath.Join(t.TempDir(), "deeper", "down")
	for name := range strings.SplitSeq(command(t, made.root, "git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"), "\x00") {
		data, err := os.ReadFile(filepath.Join(made.root, name))
		if name == "" || os.IsNotExist(err) {
			continue
		}
		info, statErr := os.Stat(filepath.Join(made.root, name))
		path := filepath.Join(root, name)
		if mkdirErr := os.MkdirAll(filepath.Dir(path), 0o755); err != nil || statErr != nil || mkdirErr != nil {
			t.Fatal(err, statErr, mkdirErr)
		}
		if err := os.WriteFile(path, data, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}

	again, err := newRelease(root, testVersion, filepath.Join(t.TempDir(), "dist"), allTargets[:2])
	if err != nil {
		t.Fatal(err)
	}
	if err := again.make(t.Context()); err != nil {
		t.Fatal(err)
	}

	sums, err := os.ReadFile(filepath.Join(again.out, sumsName))
	if err != nil {
		t.Fatal(err)
	}
	all := listed(sums)
	if len(all) != 9 {
		t.Errorf("%d files, want 9:\n%s", len(all), sums)
	}
	want := listed(file(t, sumsName))
	for _, d := range all {
		if !slices.Contains(want, d) {
			t.Errorf("%s differs", d.name)
		}
	}
}

// unpacked is what a tar.gz holds, by name.
func unpacked(t *testing.T, raw []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return untarred(t, z)
}

func untarred(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func TestArchivesHoldABinaryThatRuns(t *testing.T) {
	for _, b := range made.builds {
		dir := fmt.Sprintf("guardlock_0.9.1-rc.2_%s_%s", b.os, b.arch)
		all := unpacked(t, file(t, dir+".tar.gz"))
		for _, name := range []string{"guardlock", "LICENSE", "completions/guardlock.bash", "completions/guardlock.fish", "completions/guardlock.zsh"} {
			if len(all[dir+"/"+name]) == 0 {
				t.Errorf("%s: no %s", dir, name)
			}
		}
		if b.os != runtime.GOOS || b.arch != runtime.GOARCH {
			continue
		}

		path := filepath.Join(t.TempDir(), "guardlock")
		if err := os.WriteFile(path, all[dir+"/guardlock"], 0o755); err != nil {
			t.Fatal(err)
		}
		if got := command(t, "/", path, "version"); !strings.HasPrefix(got, "guardlock v0.9.1-rc.2 (revision 0123456789ab, go") {
			t.Errorf("it says %s", got)
		}
	}
}

func TestNothingIsReleasedThatCouldNotBeMadeAgain(t *testing.T) {
	root := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		command(t, root, "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"}, args...)...)
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "one")
	git("tag", "v1.0.0")
	git("commit", "-q", "--allow-empty", "-m", "two")
	out := filepath.Join(t.TempDir(), "dist")
	t.Setenv("GUARDLOCK_REVISION", "")
	t.Setenv("SOURCE_DATE_EPOCH", "")

	refused := func(version, out, want string) {
		t.Helper()
		if _, err := newRelease(root, version, out, allTargets); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", version, err, want)
		}
	}
	for _, version := range []string{"", "1.2.3", "v1.2", "v01.2.3", "v1.2.3+x", "v1.2.3-a/../b", "v1.2.3 -X main.x=y"} {
		refused(version, out, "is no version")
	}
	refused("v1.0.0", out, "the tag v1.0.0 is at commit")
	refused("v1.0.1", root, "is there already")
	if _, err := newRelease(root, "v1.0.1", out, []string{"plan9/386"}); err == nil {
		t.Error("an unknown target was taken")
	}

	r, err := newRelease(root, "v1.0.1", out, allTargets)
	if err != nil || len(r.revision) != 40 || r.epoch.IsZero() {
		t.Errorf("got %+v, %v", r, err)
	}

	if err := os.WriteFile(filepath.Join(root, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	refused("v1.0.1", out, "not committed")
	if err := os.RemoveAll(filepath.Join(root, ".git")); err != nil {
		t.Fatal(err)
	}
	refused("v1.0.1", out, "set GUARDLOCK_REVISION")
}
