package audit_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
)

const childEnv = "GUARDLOCK_AUDIT_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, appendForEver(dir, os.Stdout))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// appendForEver is the child: eight appenders report each sequence number whose
// ticket has resolved, with the number of records it stands for.
func appendForEver(dir string, out io.Writer) error {
	l, err := audit.Open(dir, audit.Options{Key: testKey, SegmentBytes: 32 << 10})
	if err != nil {
		return err
	}

	var mu sync.Mutex
	fail := make(chan error)
	for g := range 8 {
		go func() {
			for n := 1; ; n++ {
				ticket := l.Append(batchOf(fmt.Sprintf("t%d", g), 0, n%700), []byte("x"))
				if err := ticket.Wait(context.Background()); err != nil {
					fail <- err
					return
				}

				line := binary.BigEndian.AppendUint64(nil, ticket.Seq())
				line = binary.BigEndian.AppendUint32(line, uint32(n%700))
				mu.Lock()
				_, err := out.Write(line)
				mu.Unlock()

				if err != nil {
					fail <- err
					return
				}

				if n%2 == 0 {
					l.Place(ticket.Seq(), audit.Placement{BaseOffset: int64(n) * 1000})
				}
			}
		}()
	}

	return <-fail
}

func TestKilledProcessLosesNoResolvedTicket(t *testing.T) {
	dir := t.TempDir()
	resolved := map[uint64]int{}
	rounds := 6

	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		killChild(t, dir, 150+130*round, resolved)
		l := mustOpen(t, dir, audit.Options{})
		got := map[uint64]int{}
		for d, err := range query.New(l.Reader()).Query(t.Context(), query.Filter{Kinds: []audit.Kind{audit.KindBatch}, ByBatch: true}) {
			if err != nil {
				t.Fatal(err)
			}
			got[d.Batch.Seq] = d.Batch.Records
		}

		for seq, n := range resolved {
			if have, ok := got[seq]; !ok || have != n {
				t.Fatalf("round %d: batch %d has %d records (found: %v), want %d", round, seq, have, ok, n)
			}
		}

		mustClose(t, l)
		if _, err := audit.VerifyChain(dir); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// startChild starts a process that writes the log in dir, and reports its tickets.
func startChild(t *testing.T, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr

	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	return cmd, bufio.NewReader(pipe)
}

// killChild runs the child until it has reported n tickets, kills it, and notes
// all that it reported.
func killChild(t *testing.T, dir string, n int, resolved map[uint64]int) {
	t.Helper()
	cmd, in := startChild(t, dir)
	line := make([]byte, 12)
	for i := 0; ; i++ {
		if i == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}

		if _, err := io.ReadFull(in, line); err != nil {
			if i < n {
				t.Fatalf("child ended after %d tickets: %v", i, err)
			}
			break
		}

		resolved[binary.BigEndian.Uint64(line)] = int(binary.BigEndian.Uint32(line[8:]))
	}

	_ = cmd.Wait() // killed
}
