// Command guardlock is a gateway in front of Kafka: every record a producer
// sends passes through signed and approved WebAssembly modules before it is
// stored, and every decision goes into a decision log.
//
// This package holds the tree of commands, serve and check. The other commands
// live in internal/ beside it, by group; what the program does lives in the
// rooms that they import.
package main

import (
	"context"
	"errors"
	"io"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

// run executes one command line and returns its exit code (see exit.go).
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)

	err := root.ExecuteContext(ctx)
	if err == nil {
		return exit.OK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = exit.WithCode(err, exit.Interrupted)
	}

	return cli.Report(stderr, err)
}
