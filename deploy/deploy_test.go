package deploy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/guardlock/guardlock/internal/config"
)

// guardlock runs the built binary in dir and returns what it printed.
type guardlock struct {
	binary   string
	password string // in its environment, unless empty
}

func (g guardlock) run(dir string, args ...string) (string, error) {
	cmd := exec.Command(g.binary, args...)
	cmd.Dir = dir
	if g.password != "" {
		cmd.Env = append(os.Environ(), "GUARDLOCK_PASSWORD="+g.password)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (g guardlock) must(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := g.run(dir, args...)
	if err != nil {
		t.Fatalf("guardlock %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// directory holds the binary for all tests.
var directory string

func TestMain(m *testing.M) {
	var err error
	if directory, err = os.MkdirTemp("", "guardlock-deploy"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}

	code := m.Run()
	os.RemoveAll(directory)
	os.Exit(code)
}

// build makes the binary of this tree, once, with the linker's flags of a
// release build.
var build = sync.OnceValues(func() (guardlock, error) {
	g := guardlock{binary: filepath.Join(directory, "guardlock")}
	flags, err := linkerFlags("./build.sh", "GUARDLOCK_VERSION=v0.0.0-test", "GUARDLOCK_REVISION=0123456789abcdef0123456789abcdef01234567")
	if err != nil {
		return g, err
	}
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags="+flags, "-o", g.binary, "../cmd/guardlock").CombinedOutput(); err != nil {
		return g, fmt.Errorf("building: %w\n%s", err, out)
	}

	return g, nil
})

// linkerFlags runs a copy of build.sh with a Go command that builds nothing, and
// returns what it hands to the linker.
func linkerFlags(script string, environment ...string) (string, error) {
	tools, err := os.MkdirTemp(directory, "tools")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tools, "go"), []byte("#!/bin/sh\nprintf '%s\\n' \"$@\"\n"), 0o700); err != nil {
		return "", err
	}

	cmd := exec.Command(script, "out")
	cmd.Env = append(os.Environ(), "PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, environment...)

	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running %s: %w\n%s", script, err, out)
	}

	found := regexp.MustCompile(`(?m)^-ldflags=(.*)$`).FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("%s hands nothing to the linker:\n%s", script, out)
	}

	return string(found[1]), nil
}

func built(t *testing.T) guardlock {
	t.Helper()
	g, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Every sample must be accepted, with every file that it names in place: the
// way README.md describes them, made by the commands that it names.
func TestSamplesAreAcceptedByCheck(t *testing.T) {
	g := built(t)
	dir := t.TempDir()
	installation(t, g, dir)

	samples, err := filepath.Glob("samples/*.yaml")
	if err != nil || len(samples) < 4 {
		t.Fatalf("found %d samples: %v", len(samples), err)
	}

	for _, sample := range append(samples, "compose/guardlock.yaml") {
		copyFile(t, sample, filepath.Join(dir, "guardlock.yaml"))
		if out, err := g.run(dir, "check", "--strict", "guardlock.yaml"); err != nil {
			t.Errorf("%s: %v\n%s", sample, err, out)
		}
		if strings.Contains(read(t, sample), "insecure") {
			t.Errorf("%s shows an insecure setting", sample)
		}
	}
}

// The sample of a cluster is one that a gateway holds itself against.
func TestSampleOfAClusterNamesItsGateways(t *testing.T) {
	g := built(t)
	dir := t.TempDir()
	installation(t, g, dir)
	sample := read(t, "samples/fleet.yaml")
	write(t, filepath.Join(dir, "guardlock.yaml"), strings.Replace(sample, "node: gateway-a", "node: gateway-c", 1), 0o600)
	if out, err := g.run(dir, "check", "guardlock.yaml"); err == nil || !strings.Contains(out, "cluster payments, revision 3, has no gateway gateway-c") {
		t.Errorf("a gateway that is not in it: %v\n%s", err, out)
	}

	write(t, filepath.Join(dir, "guardlock.yaml"), sample, 0o600)
	write(t, filepath.Join(dir, "fleet/cluster.yaml"), read(t, "samples/fleet/cluster.yaml")+"\n", 0o600)
	if out, err := g.run(dir, "check", "guardlock.yaml"); err == nil || !strings.Contains(out, "too few of the trust root's approvers") {
		t.Errorf("one that was changed: %v\n%s", err, out)
	}
}

// Whoever gets a release must be able to find its sources.
func TestReleaseBuildSaysItsVersionAndRevision(t *testing.T) {
	const want = "guardlock v0.0.0-test (revision 0123456789ab,"
	if said := built(t).must(t, ".", "version"); !strings.HasPrefix(said, want) {
		t.Errorf("the binary says %q, want %q", said, want)
	}
}

func TestReleaseBuildAsksGitForVersionAndRevision(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		return // then there is nobody to ask
	}
	repository := t.TempDir()
	script := filepath.Join(repository, "deploy", "build.sh")
	if err := os.Mkdir(filepath.Dir(script), 0o700); err != nil {
		t.Fatal(err)
	}

	write(t, script, read(t, "build.sh"), 0o700)
	says := func(version, revision string) {
		t.Helper()
		flags, err := linkerFlags(script, "GUARDLOCK_VERSION=", "GUARDLOCK_REVISION=")
		if want := "-X github.com/guardlock/guardlock/internal/build.version=" + version + " -X github.com/guardlock/guardlock/internal/build.revision=" + revision; err != nil || !strings.HasSuffix(flags, want) {
			t.Errorf("%q does not end in %q: %v", flags, want, err)
		}
	}

	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", repository, "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %s: %v", args[0], err)
		}
		return strings.TrimSpace(string(out))
	}

	says("", "")
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	says("", git("rev-parse", "HEAD"))
	git("tag", "v1.2.3")
	says("v1.2.3", git("rev-parse", "HEAD"))
	write(t, script, read(t, "build.sh")+"\n", 0o700)
	says("v1.2.3", git("rev-parse", "HEAD")+"+changes")
}

// The check above proves nothing if check accepts anything.
func TestSampleWithAChangedModuleIsRefused(t *testing.T) {
	g := built(t)
	dir := t.TempDir()
	installation(t, g, dir)
	copyFile(t, "samples/embedded.yaml", filepath.Join(dir, "guardlock.yaml"))

	config := filepath.Join(dir, "modules/gdpr/config.json")
	if err := os.WriteFile(config, []byte(read(t, config)+" "), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := g.run(dir, "check", "guardlock.yaml"); err != nil || !strings.Contains(out, "warning: module gdpr is refused (config_changed)") {
		t.Errorf("check does not warn of a changed configuration: %v\n%s", err, out)
	}
	if out, err := g.run(dir, "check", "--strict", "guardlock.yaml"); err == nil || !strings.Contains(out, "gdpr") {
		t.Errorf("check took a changed configuration: %s", out)
	}
}

// installation makes the files that the samples name.
func installation(t *testing.T, g guardlock, dir string) {
	t.Helper()
	for _, d := range []string{"keys", "tls", "modules", "fleet"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}

	write(t, filepath.Join(dir, "keys/upstream.password"), "s3cret\n", 0o600)
	write(t, filepath.Join(dir, "keys/pseudonyms.key"), strings.Repeat("5a", 32), 0o600)
	write(t, filepath.Join(dir, "keys/ops.token"), strings.Repeat("5a", 32), 0o600)
	g.password = "s3cret"
	g.must(t, dir, "user", "add", "alice", "--file", "users.yaml")
	g.password = ""

	for _, person := range []string{"ada", "grace", "linus"} {
		g.must(t, dir, "keygen", "--no-password", "--out", person)
	}
	g.must(t, dir, "module", "trust-root", "--author", "ada=ada.pub", "--approver", "grace=grace.pub", "--approver", "linus=linus.pub", "--out", "trust.yaml")
	copyFile(t, "samples/fleet/cluster.yaml", filepath.Join(dir, "fleet/cluster.yaml"))
	g.must(t, dir, "audit", "manifest", "sign", "fleet/cluster.yaml", "--key", "grace.key")
	approveModule(t, g, dir, "gdpr", "--topic", "customers*", "--secret", "pseudonyms")
	approveModule(t, g, dir, "fraud", "--topic", "payments", "--route", "payments-review")
	approveModule(t, g, dir, "sensor", "--topic", "sensors")

	authority := newAuthority(t)
	for _, name := range []string{"ca", "clients-ca", "tsa"} {
		write(t, filepath.Join(dir, "tls", name+".pem"), authority, 0o644)
	}

	for _, name := range []string{"gateway", "gateway-client"} {
		cert, key := newCertificate(t)
		write(t, filepath.Join(dir, "tls", name+".pem"), cert, 0o644)
		write(t, filepath.Join(dir, "tls", name+".key"), key, 0o600)
	}
}

func approveModule(t *testing.T, g guardlock, dir, name string, grant ...string) {
	t.Helper()
	home := filepath.Join(dir, "modules", name)
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}

	copyFile(t, filepath.Join("../transforms/modules", name, name+".wasm"), filepath.Join(home, name+".wasm"))
	copyFile(t, filepath.Join("../transforms/modules", name, "config.json"), filepath.Join(home, "config.json"))
	g.must(t, dir, "module", "sign", filepath.Join("modules", name, name+".wasm"), "--key", "ada.key")

	for _, person := range []string{"grace", "linus"} {
		args := []string{"module", "approve", filepath.Join("modules", name), "--key", person + ".key", "--yes"}
		g.must(t, dir, append(args, grant...)...)
	}
}

func newAuthority(t *testing.T) string {
	cert, _ := newCertificate(t)
	return cert
}

// newCertificate is one that signs itself, for files that must hold one.
func newCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sample"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}

	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}

	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// There is no engine to build the image with here, so its file is held against
// the tree: what it copies exists, its Go is that of go.mod, its build is static.
func TestImageBuildsFromWhatIsThere(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	for _, line := range strings.Split(dockerfile, "\n") {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "COPY" || strings.HasPrefix(words[1], "--from") {
			continue
		}
		for _, source := range words[1 : len(words)-1] {
			if _, err := os.Stat(filepath.Join("..", source)); err != nil {
				t.Errorf("COPY of %s, which is nowhere", source)
			}
		}
	}

	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	if !strings.Contains(dockerfile, "FROM golang:"+want+" AS build\n") {
		t.Errorf("the image is not built with Go %s, which go.mod asks for", want)
	}

	for _, line := range []string{"deploy/build.sh /out/guardlock", "FROM scratch", "USER 65532:65532"} {
		if !strings.Contains(dockerfile, line) {
			t.Errorf("Dockerfile lacks %q", line)
		}
	}

	script := read(t, "build.sh")
	if info, err := os.Stat("build.sh"); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf("build.sh cannot be run: %v", err)
	}

	for _, option := range []string{"CGO_ENABLED=0", "-trimpath", "-buildid="} {
		if !strings.Contains(script, option) {
			t.Errorf("build.sh lacks %s", option)
		}
	}
}

type composeFile struct {
	Services map[string]struct {
		Build    struct{ Context, Dockerfile string }
		Networks []string
		Ports    []string
		Volumes  []string
		Command  []string
	}
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]struct{}
}

// The point of the compose file is that no client reaches the broker.
func TestComposeLetsNobodyAroundTheGateway(t *testing.T) {
	var c composeFile
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}

	kafka := c.Services["kafka"]
	gateway := c.Services["guardlock"]
	if len(kafka.Ports) != 0 || len(kafka.Networks) != 1 || !c.Networks[kafka.Networks[0]].Internal {
		t.Errorf("kafka is within reach: ports %v, networks %v", kafka.Ports, kafka.Networks)
	}

	for _, p := range gateway.Ports {
		if !strings.HasPrefix(p, "127.0.0.1:") {
			t.Errorf("port %s is published to other machines, without TLS", p)
		}
	}

	if _, err := os.Stat(filepath.Join(gateway.Build.Context, gateway.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	for name, s := range c.Services {
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: network %s is not declared", name, n)
			}
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			_, named := c.Volumes[source]
			if _, err := os.Stat(source); !named && err != nil {
				t.Errorf("%s: volume %s is neither declared nor there", name, source)
			}
		}
	}
}

// What the unit runs must be commands of the binary, and, where systemd is at
// hand, it must find nothing wrong with the unit.
func TestUnitIsValid(t *testing.T) {
	g := built(t)
	unit := read(t, "guardlock.service")
	starts := regexp.MustCompile(`(?m)^ExecStart(?:Pre)?=/usr/local/bin/guardlock (\w+)(?: (--\w+))?`).FindAllStringSubmatch(unit, -1)
	if len(starts) != 2 {
		t.Fatalf("found %d commands", len(starts))
	}

	for _, s := range starts {
		if help := g.must(t, ".", s[1], "--help"); !strings.Contains(help, s[2]) {
			t.Errorf("%s has no %s", s[1], s[2])
		}
	}

	for _, line := range []string{"NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n", "SystemCallFilter=@system-service", "SystemCallFilter=sched_setattr", "UMask=0077"} {
		if !strings.Contains(unit, line) {
			t.Errorf("the unit lacks %s", line)
		}
	}

	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		return // what this machine has no systemd for was checked above
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "guardlock.service")
	socket := filepath.Join(dir, "guardlock.socket")
	write(t, file, strings.ReplaceAll(unit, "/usr/local/bin/guardlock", g.binary), 0o644)
	write(t, socket, read(t, "guardlock.socket"), 0o644)

	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", file, socket).CombinedOutput(); err != nil || strings.Contains(string(out), "guardlock.s") {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}

	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+exposure, file).CombinedOutput()
	if err != nil {
		t.Errorf("the unit is open to more than docs/operating.md says: %v\n%s", err, out)
	}
}

// exposure is the most that systemd-analyze may find, of 100. It finds 14 (docs/operating.md);
// other versions of systemd look at other things.
const exposure = "20"

// Of the sample in front of a real cluster systemd opens the ports that it listens on.
func TestSocketUnitOpensWhatTheSampleListensOn(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("samples", "upstream.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(raw, "")
	if err != nil {
		t.Fatal(err)
	}

	listen := cfg.Clusters[0].Listen
	host, _, err := net.SplitHostPort(listen.Address)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{listen.Address}
	for i := range 3 {
		want = append(want, net.JoinHostPort(host, strconv.Itoa(listen.FirstNodePort+i)))
	}

	var got []string
	for _, m := range regexp.MustCompile(`(?m)^ListenStream=(.*)$`).FindAllStringSubmatch(read(t, "guardlock.socket"), -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("the socket unit opens %v, the sample listens on %v", got, want)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	write(t, to, read(t, from), 0o644)
}
