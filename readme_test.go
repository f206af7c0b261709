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
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is one fenced block of README.md and the comment before it, which says
// what to do with it:
//
//	<!-- run -->            it ends with exit code 0
//	<!-- run: exit 3 -->    with that one
//	<!-- run as: … -->      this command stands for it
//	<!-- serve -->          it runs until the last block is through
//	<!-- prints -->         each line stands in what the block before it printed; "…" is anything
type block struct {
	mark, language, text string
	line                 int
}

func blocks(readme string) []block {
	var all []block
	mark := ""
	open := -1
	lines := strings.Split(readme, "\n")
	for i, l := range lines {
		switch {
		case strings.HasPrefix(l, "```") && open < 0:
			open = i
		case strings.HasPrefix(l, "```"):
			all = append(all, block{mark, strings.TrimPrefix(lines[open], "```"), strings.Join(lines[open+1:i], "\n"), open + 1})
			mark = ""
			open = -1
		case open < 0 && strings.HasPrefix(l, "<!-- "):
			mark = strings.TrimSuffix(strings.TrimPrefix(l, "<!-- "), " -->")
		}
	}

	return all
}

// A new user copies these blocks, so each is run as printed, in a directory that
// looks like a clone, with another port than 9092.
func TestReadmeBlocksWorkAsPrinted(t *testing.T) {
	r := newReader(t)
	output := ""
	ran := 0
	for _, b := range blocks(read(t, "README.md")) {
		switch {
		case b.mark == "prints":
			r.prints(b, output)
		case b.mark == "serve":
			r.serve(b)
		case strings.HasPrefix(b.mark, "run"):
			output = r.run(b)
			ran++
		case b.language == "sh" && b.text != "go test ./...":
			t.Errorf("README.md:%d: nothing says how to run this block", b.line)
		}
	}

	if ran < 8 {
		t.Errorf("ran only %d blocks", ran)
	}
}

// reader does what README.md says.
type reader struct {
	t       *testing.T
	dir     string
	address string
	env     []string
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

	r := &reader{t: t, dir: dir, address: freeAddress(t)}
	r.env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "GUARDLOCK_BOOTSTRAP="+r.address)
	return r
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
		r.t.Fatalf("README.md:%d: exit code %d, want %d\n%s", b.line, code, want, out)
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

	killer := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
	r.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || !killer.Stop() {
			r.t.Errorf("README.md:%d: %v", b.line, err)
		}
		if r.t.Failed() {
			r.t.Logf("the gateway's log:\n%s", log.String())
		}
	})

	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "is ready") {
			return
		}
	}

	r.t.Fatalf("README.md:%d: ended before it was ready", b.line)
}

func (r *reader) prints(b block, output string) {
	r.t.Helper()
	for _, l := range strings.Split(b.text, "\n") {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(l), "…", ".*")
		if !regexp.MustCompile("(?m)^" + pattern + "$").MatchString(output) {
			r.t.Errorf("README.md:%d: nothing like this line was printed:\n%s\nbut:\n%s", b.line, l, output)
			return
		}
	}
}
