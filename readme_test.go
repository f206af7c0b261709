package guardlock_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/guardlock/guardlock/signing"
)

// block is one fenced block of a page and the comment before it, which says
// what to do with it:
//
//	<!-- run -->            it ends with exit code 0
//	<!-- run: exit 3 -->    with that one
//	<!-- run as: … -->      this command stands for it
//	<!-- install -->        it puts the command on the PATH, from the repository
//	<!-- serve -->          it runs until it is stopped, or the last block is through
//	<!-- serve as: … -->    this command stands for it
//	<!-- stop -->           what was served last is told to end, which stands for it
//	<!-- trust root -->     it is the file that this is about
//	<!-- prints -->         each line stands in what the block before it printed; "…" is anything
type block struct {
	mark, language, text string
	at                   string // page and line
}

func blocks(page, text string) []block {
	var all []block
	mark := ""
	open := -1
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		switch {
		case strings.HasPrefix(l, "```") && open < 0:
			open = i
		case strings.HasPrefix(l, "```"):
			all = append(all, block{
				mark:     mark,
				language: strings.TrimPrefix(lines[open], "```"),
				text:     strings.Join(lines[open+1:i], "\n"),
				at:       fmt.Sprintf("%s:%d", page, open+1),
			})

			mark = ""
			open = -1
		case open < 0 && strings.HasPrefix(l, "<!-- "):
			mark = strings.TrimSuffix(strings.TrimPrefix(l, "<!-- "), " -->")
		}
	}

	return all
}

// pages are read in this order by whoever follows README.md to its end. The
// tutorial leaves a gateway behind, which the pages after it use.
var pages = []string{"README.md", "docs/tutorial.md", "docs/auditing.md", "docs/approving.md", "docs/producing.md", "docs/operating.md", "docs/runbooks.md"}

// modulePages are run by TestModulePagesWorkAsPrinted, with the toolchains they need.
var modulePages = []string{"docs/modules/rust.md", "docs/modules/go.md", "docs/modules/assemblyscript.md", "docs/modules/c.md"}

// cataloguePages need nothing but the command and the modules that come along.
var cataloguePages = []string{"docs/modules/enrich.md", "docs/modules/fraud.md", "docs/modules/validate.md", "docs/modules/convert.md", "docs/modules/sensor.md"}

// Each configuration that a page shows does what the page says.
func TestCataloguePagesWorkAsPrinted(t *testing.T) {
	r := newReader(t)
	for _, page := range cataloguePages {
		if r.follow(page) == 0 {
			t.Errorf("%s has no block to run", page)
		}
	}
}

// A new user copies these blocks, so each is run as printed, in a directory that
// looks like a clone, with another port than 9092.
func TestReadmeBlocksWorkAsPrinted(t *testing.T) {
	r := newReader(t)
	for _, page := range pages {
		ran := r.follow(page)
		if ran == 0 {
			t.Errorf("%s has no block to run", page)
		}
	}
}

// Only the pages above are run, so a command elsewhere would go untried.
func TestOnlyPagesThatAreRunHaveMarkedBlocks(t *testing.T) {
	run := slices.Concat(pages, modulePages, cataloguePages)
	for _, doc := range documents(t) {
		for _, b := range blocks(doc, read(t, doc)) {
			if b.mark != "" && !slices.Contains(run, doc) {
				t.Errorf("%s is marked %q, but the page is not run", b.at, b.mark)
			}
		}
	}
}

// The trust root of docs/approving.md shows every key of the format.
func TestDocumentedTrustRootIsRead(t *testing.T) {
	for _, b := range blocks("docs/approving.md", read(t, "docs/approving.md")) {
		if b.mark != "trust root" {
			continue
		}

		root, err := signing.ParseTrustRoot([]byte(b.text))
		if err != nil {
			t.Fatalf("%s: %v", b.at, err)
		}
		if len(root.Authors()) != 1 || len(root.Approvers()) != 1 || root.Threshold() != 1 {
			t.Errorf("%s: read as %d authors, %d approvers, threshold %d", b.at, len(root.Authors()), len(root.Approvers()), root.Threshold())
		}

		for _, key := range []string{"not_before:", "not_after:", "digests:", "keys:", "approvals:", "threshold:"} {
			if !strings.Contains(b.text, key) {
				t.Errorf("%s does not show %s", b.at, key)
			}
		}

		return
	}

	t.Error("docs/approving.md shows no trust root")
}

// reader does what the pages say.
type reader struct {
	t       *testing.T
	bin     string
	dir     string
	address string
	ops     string // of operators
	witness string
	gateway int // process that was served last
	env     []string
	stop    func() // ends what was served last
}

func newReader(t *testing.T) *reader {
	bin := t.TempDir()
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./cmd/guardlock").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}

	here, err := filepath.Abs("transforms")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(here, filepath.Join(dir, "transforms")); err != nil {
		t.Fatal(err)
	}

	r := &reader{t: t, bin: bin, dir: dir, address: freeAddress(t), ops: freeAddress(t), witness: freeAddress(t), stop: func() {}}
	t.Cleanup(r.endWitness)
	r.env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "GUARDLOCK_BOOTSTRAP="+r.address)
	return r
}

// follow goes through a page, and returns how many blocks it ran.
func (r *reader) follow(page string) int {
	r.t.Helper()
	output := ""
	ran := 0
	for _, b := range blocks(page, read(r.t, page)) {
		switch {
		case b.mark == "prints":
			r.prints(b, output)
			continue
		case b.mark == "serve", strings.HasPrefix(b.mark, "serve as: "):
			r.serve(b)
		case b.mark == "stop":
			r.stop()
		case b.mark == "kill broker":
			r.killBroker(b)
		case b.mark == "install":
			r.install(b)
		case strings.HasPrefix(b.mark, "run"):
			output = r.run(b)
		case b.language == "sh":
			r.t.Errorf("%s: nothing says how to run this block", b.at)
		default:
			continue
		}
		ran++
	}

	return ran
}

// install runs the block in the repository, and has the command put where this
// reader finds it.
func (r *reader) install(b block) {
	r.t.Helper()
	cmd := exec.Command("sh", "-eu", "-c", b.text)
	cmd.Env = append(r.env, "GOBIN="+r.bin, "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "guardlock") {
		r.t.Fatalf("%s: %v\n%s", b.at, err, out)
	}
}

// freeAddress is one on loopback of which the next port, the broker's, is free
// too. It lies below the ports that the kernel gives to whoever asks for any,
// so that it is still free when the gateway listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 50 {
		port := 20000 + 2*rand.IntN(5000)
		first, errFirst := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		second, errSecond := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))

		if errFirst == nil {
			first.Close()
		}
		if errSecond == nil {
			second.Close()
		}
		if errFirst == nil && errSecond == nil {
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}

	t.Fatal("no two free ports in a row")
	return ""
}

// command is the block's own text, but for the port.
func (r *reader) command(b block) *exec.Cmd {
	text := strings.ReplaceAll(b.text, "127.0.0.1:9092", r.address)
	text = strings.ReplaceAll(text, "127.0.0.1:9099", r.ops)
	text = strings.ReplaceAll(text, "127.0.0.1:9444", r.witness)
	if instead, ok := strings.CutPrefix(b.mark, "serve as: "); ok {
		text = instead
	}
	if instead, ok := strings.CutPrefix(b.mark, "run as: "); ok {
		text = instead + " --listen " + r.address
	}

	cmd := exec.Command("sh", "-eu", "-c", text)
	cmd.Dir = r.dir
	cmd.Env = r.env
	return cmd
}

func (r *reader) run(b block) string {
	r.t.Helper()
	out, err := r.command(b).CombinedOutput()
	code := 0
	want := 0

	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		r.t.Fatal(err)
	}

	fmt.Sscanf(b.mark, "run: exit %d", &want)
	if code != want {
		r.t.Fatalf("%s: exit code %d, want %d\n%s", b.at, code, want, out)
	}

	return string(out)
}

// serve starts the block, waits until it says that it is ready, and ends it
// with the test, which it must survive with exit code 0.
func (r *reader) serve(b block) {
	r.t.Helper()
	cmd := r.command(b)
	cmd.Args[3] = "exec " + cmd.Args[3] // signals reach the gateway, not a shell

	stdout, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}

	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}

	r.gateway = cmd.Process.Pid
	killer := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	r.stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || !killer.Stop() {
			r.t.Errorf("%s: %v", b.at, err)
		}
		if r.t.Failed() {
			r.t.Logf("the gateway's log:\n%s", log.String())
		}
	})
	r.t.Cleanup(r.stop)

	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "is ready") {
			return
		}
	}

	r.t.Fatalf("%s: ended before it was ready", b.at)
}

// killBroker does what the block says to the gateway's own child alone: others may run
// on this machine.
func (r *reader) killBroker(b block) {
	r.t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.gateway))
	if err != nil {
		r.t.Fatal(err)
	}

	for _, list := range lists {
		raw, _ := os.ReadFile(list) // a thread may have ended
		for _, child := range strings.Fields(string(raw)) {
			if r.kill(child, "__broker") {
				return
			}
		}
	}
	r.t.Fatalf("%s: the gateway has no broker", b.at)
}

// kill ends a process whose command line has this in it.
func (r *reader) kill(pid, named string) bool {
	line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil || !strings.Contains(string(line), named) {
		return false
	}
	number, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	return syscall.Kill(number, syscall.SIGKILL) == nil
}

// endWitness ends the witness that a page left behind where it failed.
func (r *reader) endWitness() {
	raw, err := os.ReadFile(filepath.Join(r.dir, "witness.pid"))
	if err == nil {
		r.kill(strings.TrimSpace(string(raw)), r.witness)
	}
}

func (r *reader) prints(b block, output string) {
	r.t.Helper()
	for _, l := range strings.Split(b.text, "\n") {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(l), "…", ".*")
		if !regexp.MustCompile("(?m)^" + pattern + "$").MatchString(output) {
			r.t.Errorf("%s: nothing like this line was printed:\n%s\nbut:\n%s", b.at, l, output)
			return
		}
	}
}
