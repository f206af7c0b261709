//go:build sdk

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/sdk"
)

// What a new user does, from nothing to the decision about the first own record, in
// each language, with the command alone and the toolchains that this machine has.
func TestAModuleOfEachLanguageMasksItsFirstRecord(t *testing.T) {
	for _, language := range sdk.Languages() {
		t.Run(language, func(t *testing.T) {
			u := newUser(t)
			u.run("module", "init", "--lang", language, "mask")
			u.npm("mask")
			u.says(u.run("module", "test", "mask", "--build", "--all-reasons"), "17 of 17 cases held, 4 of 4 reasons given")

			u.run("keygen", "--out", "ada", "--no-password")
			u.run("keygen", "--out", "grace", "--no-password")
			u.run("module", "trust-root", "--author", "ada@example.com=ada.pub", "--approver", "grace@example.com=grace.pub", "--out", "trust.yaml")
			u.run("module", "sign", u.only("mask/*.wasm"), "--key", "ada.key")
			u.run("module", "approve", "mask", "--key", "grace.key", "--topic", "orders", "--data-class", "internal", "--valid-for", "30d", "--yes")
			u.says(u.run("module", "verify", "mask", "--trust-root", "trust.yaml", "--data-class", "internal"), "starts with its configuration")

			d := u.deployment()
			u.run("check", "guardlock.yaml")
			gateway := serve(t, d)
			u.run("topic", "create", "orders")
			u.feed("paid with 4111111111111111\n", "produce", "--topic", "orders")
			if stored := u.run("consume", "--topic", "orders"); stored != "paid with ************1111\n" {
				t.Errorf("stored is %q", stored)
			}
			gateway.terminate()

			found := u.run("audit", "query", "--dir", d.audit(), "--topic", "orders", "--reason", "mask.masked")
			if strings.Count(found, "mask.masked") != 1 || !strings.Contains(found, " modified ") {
				t.Errorf("the decisions are:\n%s", found)
			}
		})
	}
}

// user is somebody at a terminal, in a directory of their own.
type user struct {
	t       *testing.T
	dir     string
	address string
}

func newUser(t *testing.T) *user {
	return &user{t: t, dir: t.TempDir(), address: net.JoinHostPort("127.0.0.1", strconv.Itoa(freePorts(t, 5)))}
}

// run runs a command, which must end well, and returns what it prints.
func (u *user) run(args ...string) string {
	u.t.Helper()
	return u.feed("", args...)
}

// feed does so with something on the command's input.
func (u *user) feed(input string, args ...string) string {
	u.t.Helper()
	cmd := command(u.t, args...)
	cmd.Dir = u.dir
	cmd.Env = append(os.Environ(), "GUARDLOCK_BOOTSTRAP="+u.address)
	cmd.Stdin = strings.NewReader(input)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		u.t.Fatalf("guardlock %s: %v\n%s%s", strings.Join(args, " "), err, out, &problems)
	}

	return string(out)
}

// npm installs the compiler that a module's package-lock.json pins, where it has one.
func (u *user) npm(dir string) {
	u.t.Helper()
	cmd := exec.Command("npm", "ci", "--silent")
	cmd.Dir = filepath.Join(u.dir, dir)
	if _, err := os.Stat(filepath.Join(cmd.Dir, "package-lock.json")); err != nil {
		return
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		u.t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

func (u *user) says(text, part string) {
	u.t.Helper()
	if !strings.Contains(text, part) {
		u.t.Errorf("without %q:\n%s", part, text)
	}
}

// only is the one file of a pattern, as one names it from the directory.
func (u *user) only(pattern string) string {
	u.t.Helper()
	found := must(filepath.Glob(filepath.Join(u.dir, pattern)))(u.t)
	if len(found) != 1 {
		u.t.Fatalf("%s are %q", pattern, found)
	}
	return must(filepath.Rel(u.dir, found[0]))(u.t)
}

// deployment writes the configuration of a gateway for what was signed and approved.
func (u *user) deployment() *deployment {
	u.t.Helper()
	wasm := u.only("mask/*.wasm")
	d := &deployment{t: u.t, dir: u.dir, config: filepath.Join(u.dir, "guardlock.yaml"), address: u.address}
	d.write("guardlock.yaml", fmt.Appendf(nil, `
listen: {address: %s}
broker: {embedded: {}}
trust: {root: trust.yaml}
modules:
  - {name: mask, wasm: %s, signature: %s, approvals: [%s]}
bindings:
  - {topics: [orders], modules: [mask], data_class: internal}
`, u.address, wasm, strings.TrimSuffix(wasm, ".wasm")+".sigstore.json", u.only("mask/approval.*")))

	return d
}
