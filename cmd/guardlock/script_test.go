package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/bench"
	"github.com/guardlock/guardlock/internal/server"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/transforms"
)

// TestMain lets the test binary be the command: the scripts run it as
// "guardlock", and a gateway in a test starts its children from it.
func TestMain(m *testing.M) {
	children := []string{server.BrokerCommand, transforms.TrialCommand, transforms.WorkerCommand, policy.WorkerCommand, bench.Command}
	if len(os.Args) > 1 && slices.Contains(children, os.Args[1]) {
		main()
	}
	testscript.Main(m, map[string]func(){"guardlock": main})
}

// TestScripts runs testdata/script: one file per subcommand. Each script has a
// broker of its own at $BOOTSTRAP, and the modules of the catalogue.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			if err := os.CopyFS(filepath.Join(env.WorkDir, "modules"), os.DirFS("../../transforms/modules")); err != nil {
				return err
			}
			if err := copyRedpandasModule(env.WorkDir, "redpanda", "stops"); err != nil {
				return err
			}
			for dir, write := range map[string]func(string) error{
				"data/audit": writeAuditLog, "two-clusters": writeClustersLog, "not-stored": writeNotStoredLog,
				"segments/audit": writeSegmentsLog, "proven/audit": writeProvenLog, "recent/audit": writeRecentLog, "eras/audit": writeErasLog,
				"gone/audit": writeGoneLog, "fleet": writeFleetLogs, "pair": writePairLogs,
			} {
				if err := write(filepath.Join(env.WorkDir, dir)); err != nil {
					return err
				}
			}
			for _, dir := range []string{"data", "segments"} {
				if err := writeAuditKey(filepath.Join(env.WorkDir, dir, "audit.key")); err != nil {
					return err
				}
			}

			broker, err := startBroker()
			if err != nil {
				return err
			}

			env.Defer(broker.Close)
			env.Setenv("BOOTSTRAP", broker.ListenAddrs()[0])
			env.Setenv("GUARDLOCK_BOOTSTRAP", broker.ListenAddrs()[0])
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "mode": mode, "flip": flip, "capture": capture, "later": later},
	})
}

// copyRedpandasModule puts a module that was built with Redpanda's SDK into folders.
func copyRedpandasModule(work string, folders ...string) error {
	file, err := os.ReadFile("../../transforms/testdata/redpanda/rust.wasm")
	for _, folder := range folders {
		err = errors.Join(err, os.MkdirAll(filepath.Join(work, folder), 0o755), os.WriteFile(filepath.Join(work, folder, "rust.wasm"), file, 0o600))
	}

	return err
}

// exits runs a command and checks its exit code: exits CODE COMMAND ARG...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0

	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("running %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}

	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// mode checks a file's permissions: mode 0600 FILE.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode MODE FILE")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)

	if info.Mode().Perm() != os.FileMode(want) {
		ts.Fatalf("mode %o, want %o", info.Mode().Perm(), want)
	}
}

// flip changes one byte of a file, the last one if no offset is given.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: flip FILE [OFFSET]")
	}
	path := ts.MkAbs(args[0])
	content, err := os.ReadFile(path)
	ts.Check(err)
	at := len(content) - 1

	if len(args) == 2 {
		at, err = strconv.Atoi(args[1])
		ts.Check(err)
	}

	content[at] ^= 1
	ts.Check(os.WriteFile(path, content, 0o600))
}

// later has a gateway write to a log by a clock that is so far ahead: later DIR DURATION.
func later(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: later DIR DURATION")
	}
	by, err := time.ParseDuration(args[1])
	ts.Check(err)

	l, err := audit.Open(ts.MkAbs(args[0]), audit.Options{Key: testAuditKey, Node: "gw", Now: func() time.Time { return time.Now().Add(by) }})
	ts.Check(err)
	ts.Check(l.Close())
}

// capture keeps the first match of a pattern in the last output as a variable.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	found := regexp.MustCompile(args[1]).FindString(ts.ReadFile("stdout"))
	if found == "" {
		ts.Fatalf("no match for %q", args[1])
	}

	ts.Setenv(args[0], found)
}
