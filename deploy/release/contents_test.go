package main

import (
	"bytes"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	godigest "github.com/opencontainers/go-digest"
	spec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestBillsOfMaterialsFollowTheirSchema(t *testing.T) {
	dir := filepath.Join(strings.TrimSpace(command(t, ".", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go")), "schema")
	compiler := jsonschema.NewCompiler()
	for url, name := range map[string]string{
		"http://cyclonedx.org/schema/bom-1.6.schema.json":  "bom-1.6.schema.json",
		"http://cyclonedx.org/schema/spdx.schema.json":     "spdx.schema.json",
		"http://cyclonedx.org/schema/jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(url, document); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}

	for _, b := range made.builds {
		raw := file(t, fmt.Sprintf("guardlock_0.9.1-rc.2_%s_%s.cdx.json", b.os, b.arch))
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Errorf("%s/%s: %v", b.os, b.arch, err)
		}
		listsWhatIsIn(t, b, raw)
	}
}

// listsWhatIsIn compares a bill with the binary that is in the archive.
func listsWhatIsIn(t *testing.T, b build, raw []byte) {
	t.Helper()
	var bom cdx.BOM
	if err := json.Unmarshal(raw, &bom); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("guardlock_0.9.1-rc.2_%s_%s", b.os, b.arch)
	binary := unpacked(t, file(t, name+".tar.gz"))[name+"/guardlock"]
	if got, want := (*bom.Metadata.Component.Hashes)[0].Value, godigest.FromBytes(binary).Encoded(); got != want {
		t.Errorf("%s: the bill is of %s, the binary is %s", name, got, want)
	}

	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range *bom.Components {
		got = append(got, c.Name+"@"+c.Version)
	}
	want := []string{"std@" + strings.TrimPrefix(info.GoVersion, "go")}
	for _, m := range info.Deps {
		want = append(want, m.Path+"@"+m.Version)
	}
	if !slices.Equal(got, want) || len(want) < 50 {
		t.Errorf("%s: the bill lists\n%s\nthe binary\n%s", name, got, want)
	}
}

// want is what both kinds of packages hold, with their modes.
var want = map[string]string{
	"/etc/guardlock":                                      "drwxr-x---",
	"/usr/bin/guardlock":                                  "-rwxr-xr-x",
	"/usr/lib/systemd/system/guardlock.service":           "-rw-r--r--",
	"/usr/lib/sysusers.d/guardlock.conf":                  "-rw-r--r--",
	"/usr/share/bash-completion/completions/guardlock":    "-rw-r--r--",
	"/usr/share/doc/guardlock/copyright":                  "-rw-r--r--",
	"/usr/share/fish/vendor_completions.d/guardlock.fish": "-rw-r--r--",
	"/usr/share/zsh/site-functions/_guardlock":            "-rw-r--r--",
}

// holds compares a listing of `ls -l` form with want.
func holds(t *testing.T, listing string) {
	t.Helper()
	found := 0
	pages := 0
	for line := range strings.Lines(listing) {
		fields := strings.Fields(line)
		name := strings.TrimSuffix(strings.TrimPrefix(fields[len(fields)-1], "."), "/")
		if strings.HasPrefix(name, "/usr/share/man/man1/guardlock") && fields[0] == "-rw-r--r--" {
			pages++
			continue
		}
		if mode, ok := want[name]; ok {
			found++
			if fields[0] != mode || !strings.Contains(line, "root") {
				t.Errorf("got %s", line)
			}
		} else if fields[0][0] != 'd' {
			t.Errorf("%s is not expected", line)
		}
	}
	if pages != len(made.manual) || pages < 50 {
		t.Errorf("%d manual pages of %d", pages, len(made.manual))
	}
	if found != len(want) {
		t.Errorf("%d of %d files:\n%s", found, len(want), listing)
	}
}

func TestDebIsWhatDpkgTakes(t *testing.T) {
	path := filepath.Join(made.out, "guardlock_0.9.1~rc.2_amd64.deb")
	holds(t, command(t, ".", "dpkg-deb", "--contents", path))
	control := command(t, ".", "dpkg-deb", "--info", path)
	for _, line := range []string{"Package: guardlock", "Version: 0.9.1~rc.2", "Architecture: amd64", "postinst", "prerm"} {
		if !strings.Contains(control, line) {
			t.Errorf("no %q in\n%s", line, control)
		}
	}

	dir := t.TempDir()
	command(t, ".", "dpkg-deb", "--raw-extract", path, dir)
	unitIsForUsrBin(t, dir)
	for _, script := range []string{"postinst", "prerm"} {
		command(t, dir, "sh", "-n", "DEBIAN/"+script)
	}
	if mayMount() && runtime.GOARCH == "amd64" {
		installs(t, path)
	}
}

// mayMount reports whether tests may mount something of their own. Where they may not,
// as in most containers, what is released runs without walls around it.
func mayMount() bool { return exec.Command("unshare", "--mount", "true").Run() == nil }

// installs puts the package into a copy of this system that is thrown away, and takes it
// out again. The user stays, since files of the decision log are its.
func installs(t *testing.T, path string) {
	t.Helper()
	const script = `set -e
mount -t tmpfs tmpfs . && cd "$PWD" && mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root && mount -t proc proc root/proc
cp "$1" root/guardlock.deb
chroot root sh -ec 'dpkg -i /guardlock.deb; guardlock version; getent passwd guardlock; stat -c "%U %G %a" /etc/guardlock
  dpkg -P guardlock; test ! -e /usr/bin/guardlock; getent passwd guardlock'`

	got := command(t, t.TempDir(), "unshare", "--mount", "sh", "-c", script, "sh", path)
	for _, want := range []string{"guardlock v0.9.1-rc.2 ", "root guardlock 750", "/var/lib/guardlock:/usr/sbin/nologin"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestRpmIsWhatRpmTakes(t *testing.T) {
	path := filepath.Join(made.out, "guardlock-0.9.1~rc.2-1.x86_64.rpm")
	if got := command(t, ".", "rpm", "-K", "--nosignature", path); !strings.Contains(got, "digests OK") {
		t.Errorf("rpm -K says %s", got)
	}
	holds(t, command(t, ".", "rpm", "-qplv", path))
	info := command(t, ".", "rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{ARCH} %{LICENSE} %{BUILDHOST}", path)
	if info != "guardlock 0.9.1~rc.2 x86_64 Apache-2.0 guardlock.dev" {
		t.Errorf("it is %s", info)
	}
}

// A reader of manuals finds every command, as of this release, from the first page on.
func TestManualPagesAreOfTheirRelease(t *testing.T) {
	dir := t.TempDir()
	command(t, ".", "dpkg-deb", "--raw-extract", filepath.Join(made.out, "guardlock_0.9.1~rc.2_amd64.deb"), dir)
	for page, want := range map[string]string{
		"guardlock.1.gz":              "guardlock-serve(1)",
		"guardlock-audit-verify.1.gz": "guardlock audit verify",
	} {
		text := command(t, dir, "gzip", "-dc", filepath.Join("usr/share/man/man1", page))
		if !strings.Contains(text, want) || !strings.Contains(text, testVersion) {
			t.Errorf("%s is\n%s", page, text)
		}
	}
}

func unitIsForUsrBin(t *testing.T, dir string) {
	t.Helper()
	unit, err := os.ReadFile(filepath.Join(dir, "usr/lib/systemd/system/guardlock.service"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(unit, []byte("ExecStart=/usr/bin/guardlock serve")) || bytes.Contains(unit, []byte("/usr/local")) {
		t.Errorf("the unit is\n%s", unit)
	}
}

// platform is one image of the layout, by its blobs.
type platform struct {
	config spec.Image
	layers [][]byte
}

// images walks the layout as a runtime does, and checks every digest on its way.
func images(t *testing.T) map[string]platform {
	t.Helper()
	all := untarred(t, bytes.NewReader(file(t, "guardlock_0.9.1-rc.2_image.tar")))
	if string(all["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", all["oci-layout"])
	}
	blob := func(d spec.Descriptor) []byte {
		data := all["blobs/sha256/"+d.Digest.Encoded()]
		if godigest.FromBytes(data) != d.Digest || int64(len(data)) != d.Size {
			t.Errorf("blob %s is not what was described", d.Digest)
		}
		return data
	}
	parse := func(data []byte, v any) {
		if err := json.Unmarshal(data, v); err != nil {
			t.Fatal(err)
		}
	}

	var top, index spec.Index
	parse(all["index.json"], &top)
	parse(blob(top.Manifests[0]), &index)
	found := map[string]platform{}
	for _, d := range index.Manifests {
		var m spec.Manifest
		var p platform
		parse(blob(d), &m)
		parse(blob(m.Config), &p.config)
		for _, l := range m.Layers {
			p.layers = append(p.layers, blob(l))
		}
		found[d.Platform.OS+"/"+d.Platform.Architecture] = p
	}
	return found
}

func TestImageHoldsWhatItNeedsAndNoMore(t *testing.T) {
	all := images(t)
	if len(all) != 2 || all["linux/arm64"].config.Architecture != "arm64" {
		t.Fatalf("%d images", len(all))
	}
	image := all["linux/amd64"]
	if c := image.config.Config; c.User != "65532:65532" || c.Entrypoint[0] != "/guardlock" || c.Labels[spec.AnnotationRevision] != testRevision {
		t.Errorf("it runs as %+v", c)
	}

	layer := unpacked(t, image.layers[0])
	if len(layer) != 13 {
		t.Errorf("%d entries", len(layer))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(layer["etc/ssl/certs/ca-certificates.crt"]) || strings.Count(string(layer["etc/ssl/certs/ca-certificates.crt"]), "BEGIN") < 100 {
		t.Error("the authorities cannot be read")
	}
}

// The image runs unpacked, as a container engine would run it: its own root, which it
// cannot write, its own user, and /proc.
func TestImageRunsFromItsLayout(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	packed := filepath.Join(t.TempDir(), "layer.tar.gz")
	if err := os.WriteFile(packed, images(t)["linux/"+runtime.GOARCH].layers[0], 0o644); err != nil {
		t.Fatal(err)
	}
	command(t, root, "tar", "-xzpf", packed)

	run := func(args ...string) string { return command(t, root, filepath.Join(root, "guardlock"), args...) }
	if mayMount() {
		if err := os.Mkdir(filepath.Join(root, "proc"), 0o755); err != nil {
			t.Fatal(err)
		}
		run = func(args ...string) string {
			const script = `mount --bind . . && cd "$PWD" && mount -t proc proc proc && mount -t tmpfs -o mode=1777 tmpfs tmp && mount -o remount,bind,ro . && exec chroot --userspec=65532:65532 . /guardlock "$@"`
			return command(t, root, "unshare", append([]string{"--mount", "--pid", "--fork", "sh", "-c", script, "sh"}, args...)...)
		}
	}

	if got := run("version"); !strings.HasPrefix(got, "guardlock v0.9.1-rc.2 ") {
		t.Errorf("it says %s", got)
	}
	demo := run("demo", "--exit", "--listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(freePorts(t, 70))))
	if !strings.Contains(demo, "30,000 records acknowledged") {
		t.Errorf("the demo says\n%s", demo)
	}
}

// freePorts finds n ports in a row that nobody listens on.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for first := 28000 + os.Getpid()%10*80; first < 29000; first += 80 {
		var err error
		for port := first; port < first+n && err == nil; port++ {
			var l net.Listener
			if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
				err = l.Close()
			}
		}
		if err == nil {
			return first
		}
	}
	t.Fatal(errors.New("no free ports"))
	return 0
}
