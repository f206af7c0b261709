package main

import (
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the command: the scripts run it as
// "guardlock".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"guardlock": main})
}

// TestScripts runs testdata/script: one file per subcommand. Each script has a
// broker of its own at $BOOTSTRAP.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			broker, err := startBroker()
			if err != nil {
				return err
			}
			env.Defer(broker.Close)
			env.Setenv("BOOTSTRAP", broker.ListenAddrs()[0])
			env.Setenv("GUARDLOCK_BOOTSTRAP", broker.ListenAddrs()[0])
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
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
