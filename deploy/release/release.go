package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// allTargets are what a release has binaries for.
var allTargets = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"}

// sumsName is the file that names all others by their digests; it is what is signed.
const sumsName = "SHA256SUMS"

// release is one release while it is made.
type release struct {
	root, out, work string
	version         string // as v1.2.3
	revision        string // the commit
	epoch           time.Time
	began           time.Time
	builds          []build
	completions     map[string][]byte // by shell
	manual          map[string][]byte // compressed pages by file name
}

// build is the binary of one target.
type build struct {
	os, arch, path string
}

var versionPattern = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.]+)?$`)

// newRelease refuses what could not be made again from the repository: a version that
// is none, a commit with changes, a tag that is elsewhere.
func newRelease(root, version, out string, targets []string) (*release, error) {
	if !versionPattern.MatchString(version) {
		return nil, fmt.Errorf("%q is no version: it must be as v1.2.3 or v1.2.3-rc.1", version)
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(out); err == nil {
		return nil, fmt.Errorf("%s is there already", out)
	}

	r := &release{root: root, out: out, version: version, began: time.Now()}
	if err := r.identify(); err != nil {
		return nil, err
	}

	for _, t := range targets {
		if !slices.Contains(allTargets, t) {
			return nil, fmt.Errorf("%q is no target of a release: they are %s", t, strings.Join(allTargets, ", "))
		}
		system, arch, _ := strings.Cut(t, "/")
		r.builds = append(r.builds, build{os: system, arch: arch})
	}
	return r, nil
}

// identify finds the commit and its time: from git or, in an unpacked archive, from
// the environment.
func (r *release) identify() error {
	revision, seconds := os.Getenv("GUARDLOCK_REVISION"), os.Getenv("SOURCE_DATE_EPOCH")
	if _, err := os.Stat(filepath.Join(r.root, ".git")); err == nil && revision == "" {
		if revision, err = r.committed(); err != nil {
			return err
		}
		if seconds == "" {
			if seconds, err = r.git("log", "-1", "--format=%ct"); err != nil {
				return err
			}
		}
	}
	if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(revision) {
		return errors.New("no git repository: set GUARDLOCK_REVISION to the commit, and SOURCE_DATE_EPOCH to its time")
	}

	epoch, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}

	r.revision = revision
	r.epoch = time.Unix(epoch, 0).UTC()
	return nil
}

// committed is the commit that is checked out, if nothing beside it is.
func (r *release) committed() (string, error) {
	changes, err := r.git("status", "--porcelain")
	if err != nil {
		return "", err
	}
	if changes != "" {
		return "", fmt.Errorf("there are changes that are not committed:\n%s", changes)
	}
	head, err := r.git("rev-parse", "--verify", "HEAD")
	if err != nil {
		return "", err
	}

	if tagged, err := r.git("rev-parse", "--verify", "--quiet", "refs/tags/"+r.version+"^{commit}"); err == nil && tagged != head {
		return "", fmt.Errorf("the tag %s is at commit %s, and %s is checked out", r.version, tagged, head)
	}
	return head, nil
}

func (r *release) git(args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-C", r.root, "-c", "safe.directory=*"}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// make writes everything that needs no key.
func (r *release) make(ctx context.Context) (err error) {
	if r.work, err = os.MkdirTemp("", "guardlock-release"); err != nil {
		return err
	}
	defer os.RemoveAll(r.work)
	if err := os.Mkdir(r.out, 0o755); err != nil {
		return err
	}

	for i := range r.builds {
		if r.builds[i].path, err = r.compile(ctx, r.builds[i].os, r.builds[i].arch); err != nil {
			return err
		}
	}
	if err := errors.Join(r.complete(ctx), r.document(ctx)); err != nil {
		return err
	}

	for _, b := range r.builds {
		if err := errors.Join(r.archive(b), r.billOfMaterials(b), r.packages(b)); err != nil {
			return err
		}
	}

	if err := r.image(); err != nil {
		return err
	}
	return r.sums()
}

// kept are the variables that a build sees. What else is set could change its bytes,
// as GOAMD64 and GOEXPERIMENT would.
var kept = []string{"PATH", "HOME", "TMPDIR", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOTOOLCHAIN", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"}

// compile builds one binary with deploy/build.sh, as anybody can again.
func (r *release) compile(ctx context.Context, system, arch string) (string, error) {
	fmt.Printf("building for %s/%s\n", system, arch)
	path := filepath.Join(r.work, system+"-"+arch)
	cmd := exec.CommandContext(ctx, filepath.Join(r.root, "deploy/build.sh"), path)
	cmd.Stderr = os.Stderr
	cmd.Env = append(keptEnvironment(), "GOOS="+system, "GOARCH="+arch,
		"GUARDLOCK_VERSION="+r.version, "GUARDLOCK_REVISION="+r.revision)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building for %s/%s: %w", system, arch, err)
	}
	return path, nil
}

func keptEnvironment() []string {
	env := []string{"GOENV=off", "GOWORK=off"}
	for _, name := range kept {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// document has the manual pages made of the commands' own help.
func (r *release) document(ctx context.Context) error {
	dir := filepath.Join(r.work, "man")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}

	cmd := exec.CommandContext(ctx, "go", "run", "-tags", "man", "./cmd/guardlock", dir, r.version, strconv.FormatInt(r.epoch.Unix(), 10))
	cmd.Dir = r.root
	cmd.Env = append(keptEnvironment(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false -trimpath")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("writing manual pages: %w: %s", err, out)
	}

	var err error
	r.manual, err = pages(dir)
	return err
}

// complete asks a binary that runs here for its shell completions, which are the same
// on every platform.
func (r *release) complete(ctx context.Context) error {
	i := slices.IndexFunc(r.builds, func(b build) bool { return b.os == runtime.GOOS && b.arch == runtime.GOARCH })
	var path string
	if i >= 0 {
		path = r.builds[i].path
	} else {
		var err error
		if path, err = r.compile(ctx, runtime.GOOS, runtime.GOARCH); err != nil {
			return err
		}
	}

	r.completions = map[string][]byte{}
	for _, shell := range []string{"bash", "fish", "zsh"} {
		out, err := exec.CommandContext(ctx, path, "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("completions for %s: %w", shell, err)
		}
		r.completions[shell] = out
	}

	return nil
}

// number is the version as packages spell it.
func (r *release) number() string { return strings.TrimPrefix(r.version, "v") }

// create makes a file of the release.
func (r *release) create(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(filepath.Join(r.out, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Println(name)
	return nil
}

// sums writes the checksums of all files, as sha256sum does.
func (r *release) sums() error {
	digests, err := digestsOf(r.out)
	if err != nil {
		return err
	}
	return r.create(sumsName, func(w io.Writer) error {
		for _, d := range digests {
			if _, err := fmt.Fprintf(w, "%s  %s\n", d.sum, d.name); err != nil {
				return err
			}
		}
		return nil
	})
}

// digest is a file of a release and its SHA-256 in hex.
type digest struct{ name, sum string }

// digestsOf reads all files of a directory, in the order of their names.
func digestsOf(dir string) ([]digest, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}

	var all []digest
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return nil, err
		}
		all = append(all, digest{name: e.Name(), sum: hex.EncodeToString(h.Sum(nil))})
	}

	return all, nil
}
