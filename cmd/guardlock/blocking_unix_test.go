//go:build unix

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/exit"
)

// TestNoCommandWaitsForAFileBeyondAnInterrupt: nobody writes to the FIFO. A command that
// takes pipes waits, and is ended by the first SIGTERM or Ctrl-C; the others refuse it.
func TestNoCommandWaitsForAFileBeyondAnInterrupt(t *testing.T) {
	stored := placeFiles(t)
	if err := syscall.Mkfifo("fifo.file", 0o600); err != nil {
		t.Fatal(err)
	}

	waited := 0
	for _, line := range missingFiles {
		ctx, interrupt := context.WithCancel(t.Context())
		pressed := time.AfterFunc(50*time.Millisecond, interrupt)

		code, said := runWithin(t, ctx, strings.NewReplacer("MISSING", "fifo.file", "STORED", stored).Replace(line), strings.NewReader(""))
		switch {
		case code == exit.Interrupted && said == "guardlock: interrupted\n":
			waited++
		case code == exit.OK || !strings.Contains(said, "fifo.file"):
			t.Errorf("%s: exit code %d, %s", line, code, said)
		}
		pressed.Stop()
		interrupt()
	}
	if waited < 20 {
		t.Errorf("only %d commands waited", waited)
	}
}

// TestInterruptEndsWhoReadsStandardInput, on which somebody may say nothing for ever.
func TestInterruptEndsWhoReadsStandardInput(t *testing.T) {
	placeFiles(t)
	silent, other := io.Pipe()
	defer other.Close()

	for _, line := range []string{"policy eval", "module run m.wasm", "audit erase sign request.json --key k.key"} {
		ctx, interrupt := context.WithCancel(t.Context())
		pressed := time.AfterFunc(50*time.Millisecond, interrupt)
		if code, said := runWithin(t, ctx, line, silent); code != exit.Interrupted {
			t.Errorf("%s: exit code %d, %s", line, code, said)
		}
		pressed.Stop()
		interrupt()
	}
}

// systemsWords are what reading a directory or opening a socket gives.
var systemsWords = regexp.MustCompile(": is a directory|no such device|illegal seek")

// TestWhatIsNoFileIsRefusedByEveryCommand: reading a device may have an effect, and a
// directory or a socket gave the system's words.
func TestWhatIsNoFileIsRefusedByEveryCommand(t *testing.T) {
	stored := placeFiles(t)
	if err := os.Mkdir("directory.file", 0o700); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", "socket.file")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	for _, line := range missingFiles {
		for _, other := range []string{"directory.file", "socket.file", os.DevNull} {
			code, said := runWithin(t, t.Context(), strings.NewReplacer("MISSING", other, "STORED", stored).Replace(line), strings.NewReader(""))
			if code == exit.OK || code == exit.Interrupted || systemsWords.MatchString(said) {
				t.Errorf("%s %s: exit code %d, %s", line, other, code, said)
			}
		}
	}
}

// runWithin is run, which must not take long.
func runWithin(t *testing.T, ctx context.Context, line string, stdin io.Reader) (code int, said string) {
	t.Helper()
	var stderr bytes.Buffer
	ended := make(chan int)
	go func() { ended <- run(ctx, strings.Fields(line), stdin, io.Discard, &stderr) }()

	select {
	case code := <-ended:
		return code, stderr.String()
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: does not end", line)
		return 0, ""
	}
}
