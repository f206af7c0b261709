package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the children of these tests, each of which does one thing.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "__") {
		os.Exit(m.Run())
	}

	switch os.Args[1] {
	case "__confined":
		confined()
	case "__environment":
		fmt.Print(os.Environ())
	case "__wait":
		fmt.Println("started")
		io.Copy(io.Discard, os.Stdin)
	case "__parent": // starts a child that holds our standard output, and waits
		cmd, err := Command(context.Background(), "__wait")
		if err != nil {
			panic(err)
		}

		cmd.Stdin = os.Stdin
		cmd.Stdout = os.Stdout
		if _, err := Start(cmd); err != nil {
			panic(err)
		}

		select {}
	case "__polite": // twice, as the child of a polite parent would
		if err := errors.Join(GiveWay(3), GiveWay(4), GiveWay(100)); err != nil {
			panic(err)
		}
		fmt.Println(niceness())
	case "__memory":
		if err := (Bounds{Reserved: 64 << 20, Written: 1 << 30}).Apply(); err != nil {
			panic(err)
		}
		for {
			held = append(held, make([]byte, 1<<20))
		}
	case "__dumpable":
		if err := (Bounds{}).Apply(); err != nil {
			panic(err)
		}
		dumpable()
	case "__time":
		if err := (Bounds{CPU: time.Second}).Apply(); err != nil {
			panic(err)
		}
		for {
			spent++
		}
	}

	os.Exit(0)
}

// held and spent are what children use up.
var (
	held  [][]byte
	spent int
)

func start(t *testing.T, command string, prepare func(*exec.Cmd)) *Process {
	t.Helper()
	cmd, err := Command(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}

	prepare(cmd)
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}

	return p
}

func TestChildHasNoEnvironment(t *testing.T) {
	t.Setenv("SECRET", "xyz")
	var said Words
	p := start(t, "__environment", func(cmd *exec.Cmd) { cmd.Stdout = &said })
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if said.String() != "[]" {
		t.Errorf("its environment is %s", said.String())
	}
}

// A descriptor that this process was started with is no child's.
func TestChildInheritsNothingOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux can close them")
		return
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}

	defer r.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}

	var stdin io.Closer
	p := start(t, "__wait", func(cmd *exec.Cmd) { stdin, _ = cmd.StdinPipe() })
	w.Close()

	if rest, err := io.ReadAll(r); len(rest) != 0 || err != nil { // ends when nobody else has the other end
		t.Errorf("read %q, %v", rest, err)
	}
	stdin.Close()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

func TestKilledChildIsToldFromOneThatEnds(t *testing.T) {
	for _, kill := range []bool{true, false} {
		var stdin io.Closer
		p := start(t, "__wait", func(cmd *exec.Cmd) { stdin, _ = cmd.StdinPipe() })
		if kill {
			p.Kill()
		} else {
			stdin.Close()
		}

		p.Wait()
		if p.Killed() != kill {
			t.Errorf("killed: %t, but it is said to be killed: %t", kill, p.Killed())
		}
	}
}

// The grandchild holds the other end of a pipe, which tells when it is gone.
func TestChildDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux has a signal for it")
		return
	}

	var out io.ReadCloser
	p := start(t, "__parent", func(cmd *exec.Cmd) {
		cmd.StdinPipe()
		out, _ = cmd.StdoutPipe()
	})

	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "started\n" {
		t.Fatalf("read %q, %v", line, err)
	}

	p.Kill()
	if rest, err := io.ReadAll(lines); len(rest) != 0 || err != nil {
		t.Errorf("read %q, %v", rest, err)
	}

	p.Wait()
}

func TestChildGivesWayToItsParent(t *testing.T) {
	var said Words
	p := start(t, "__polite", func(cmd *exec.Cmd) { cmd.Stdout = &said })
	if err := p.Wait(); err != nil || said.First() != "19 <nil>" {
		t.Errorf("%v, %s", err, said.First())
	}
}

func TestBoundsEndAChildThatPassesThem(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux has these bounds")
		return
	}

	var said Words
	p := start(t, "__memory", func(cmd *exec.Cmd) { cmd.Stderr = &said })
	if err := p.Wait(); err == nil || !said.OutOfMemory() {
		t.Errorf("memory: %v, %s", err, said.First())
	}

	p = start(t, "__time", func(*exec.Cmd) {})
	p.Wait()
	if !p.OutOfTime() || p.Killed() {
		t.Errorf("time: %v", p.ProcessState)
	}
}

// Somebody may kill a child that is about to use up its time: that says nothing about what it computed.
func TestKilledChildIsNotOutOfTime(t *testing.T) {
	p := start(t, "__time", func(*exec.Cmd) {})
	p.Kill()
	p.Wait()
	if p.OutOfTime() || !p.Killed() {
		t.Errorf("it ended by %v", p.ProcessState)
	}
}

// A core that a program collects has no limit of its size.
func TestChildWithBoundsLeavesNoCoreToAnybody(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux hands cores to programs")
		return
	}

	var said Words
	p := start(t, "__dumpable", func(cmd *exec.Cmd) { cmd.Stdout = &said })
	if err := p.Wait(); err != nil || said.First() != "core limit 0, dumpable 0" {
		t.Errorf("%v, %s", err, said.First())
	}
}

func TestWordsKeepTheBeginning(t *testing.T) {
	var w Words
	for range 3 {
		line := []byte(strings.Repeat("x", maxWords/2-1) + "\n")
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatalf("took %d, %v", n, err)
		}
	}

	if len(w.String()) != maxWords || len(w.First()) != maxWords/2-1 {
		t.Errorf("kept %d bytes, of which the first line is %d", len(w.String()), len(w.First()))
	}
}
