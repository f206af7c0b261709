package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program builds guardlock once for all tests of a run.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "guardlock-e2e-")
	if err != nil {
		return "", err
	}

	path := filepath.Join(dir, "guardlock")
	out, err := exec.Command("go", "build", "-o", path, "github.com/guardlock/guardlock/cmd/guardlock").CombinedOutput()
	if err != nil {
		return path, fmt.Errorf("building guardlock: %w\n%s", err, out)
	}

	return path, nil
})

// built tells removeProgram that there is something to remove.
var built sync.Once

func removeProgram() {
	none := false
	built.Do(func() { none = true })
	if none {
		return
	}
	if path, _ := program(); path != "" {
		os.RemoveAll(filepath.Dir(path))
	}
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	built.Do(func() {})
	return exec.Command(must(program())(t), args...)
}

// guardlock runs a command to its end.
func guardlock(t *testing.T, args ...string) (output string, exit int) {
	t.Helper()
	out, err := command(t, args...).CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if failed != nil {
		exit = failed.ExitCode()
	}

	return string(out), exit
}

// process is a gateway that serves.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of the end; read it after ended
}

// serve starts a gateway and waits until clients can connect.
func serve(t *testing.T, d *deployment) *process {
	t.Helper()
	return start(t, d, command(t, "serve", "--config", d.config))
}

// start is serve by another command.
func start(t *testing.T, d *deployment, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	log := must(os.OpenFile(filepath.Join(d.dir, "gateway.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))(t)
	defer log.Close()
	p.cmd.Stderr = log
	stdout := must(p.cmd.StdoutPipe())(t)

	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		said := false
		for !said && lines.Scan() {
			said = strings.Contains(lines.Text(), "is ready on") // after where operators are answered
		}
		ready <- said
		for lines.Scan() {
		}
		p.err = p.cmd.Wait()
		close(p.ended)
	}()

	t.Cleanup(p.killAll)
	select {
	case ok := <-ready:
		if !ok {
			t.Fatalf("the gateway did not start:\n%s", tail(d))
		}
	case <-time.After(testTimeout):
		t.Fatalf("the gateway is not ready after %s:\n%s", testTimeout, tail(d))
	}

	return p
}

func tail(d *deployment) string {
	text, _ := os.ReadFile(filepath.Join(d.dir, "gateway.log"))
	return string(text[max(0, len(text)-4000):])
}

// kill is kill -9: nothing in the process gets to know.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// killAll kills the gateway and its children, of which the embedded broker would
// go on to save what it has, while the test's folder is removed.
func (p *process) killAll() {
	children := p.children()
	p.kill()
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		eventually(p.t, "a child of the gateway ends", func() bool { return !running(pid) })
	}
}

// running is false of a process that has ended, whether or not somebody has
// asked how.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// terminate asks for an orderly end and waits for it.
func (p *process) terminate() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("the gateway did not end in order: %v", p.err)
		}
	case <-time.After(testTimeout):
		p.t.Errorf("the gateway did not end within %s", testTimeout)
	}
}
