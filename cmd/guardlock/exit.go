package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes. They are documented in the root command's help: scripts branch
// on them, so a meaning never changes.
const (
	exitOK          = 0
	exitFailure     = 1   // something did not work: file, network, broker
	exitUsage       = 2   // the command line is wrong
	exitRefused     = 3   // a rule said no: signature, approval, policy, module, log check
	exitNotFound    = 4   // what was asked for does not exist
	exitInterrupted = 130 // Ctrl-C before the work was done
)

// failure is an error that knows its exit code and what the user can do.
type failure struct {
	err  error
	code int
	hint string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// withCode gives err an exit code, keeping a hint that it may have.
func withCode(err error, code int) error {
	return &failure{err: err, code: code, hint: hintOf(err)}
}

// withHint gives err one sentence on what to do, keeping its exit code.
func withHint(err error, format string, args ...any) error {
	return &failure{err: err, code: codeOf(err), hint: fmt.Sprintf(format, args...)}
}

// usagef is an error in the command line (exit 2).
func usagef(format string, args ...any) error {
	return withCode(fmt.Errorf(format, args...), exitUsage)
}

// refusedf is a "no" by a rule (exit 3).
func refusedf(format string, args ...any) error {
	return withCode(fmt.Errorf(format, args...), exitRefused)
}

// notFoundf says that what was asked for does not exist (exit 4).
func notFoundf(format string, args ...any) error {
	return withCode(fmt.Errorf(format, args...), exitNotFound)
}

func codeOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return exitFailure
}

func hintOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.hint
	}
	return ""
}

// report prints err as `guardlock: what: why`, then its hint, and returns the
// exit code. Control characters are escaped: an error may quote a broker.
func report(w io.Writer, err error) int {
	if code := codeOf(err); code == exitInterrupted {
		fmt.Fprintln(w, "guardlock: interrupted")
		return code
	}
	p := paletteFor(w)
	first, more, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(w, "%s %s\n", p.red("guardlock:"), printable(first))
	for line := range strings.Lines(more) {
		fmt.Fprintf(w, "  %s\n", printable(strings.TrimSuffix(line, "\n")))
	}
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(w, "%s %s\n", p.dim("hint:"), printable(hint))
	}
	return codeOf(err)
}

// needArgs checks the number of positional arguments and names what is missing.
func needArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return withHint(usagef("%s: missing %s", commandName(cmd), strings.Join(names[len(args):], " ")),
				"see `%s --help`", cmd.CommandPath())
		case len(args) > len(names):
			return withHint(usagef("%s: unexpected argument %q", commandName(cmd), args[len(names)]),
				"see `%s --help`", cmd.CommandPath())
		}
		return nil
	}
}

// needFlag is the error for a flag that the command cannot do without.
func needFlag(cmd *cobra.Command, name, example string) error {
	return withHint(usagef("%s: --%s is not given", commandName(cmd), name), "for example: %s", example)
}

// commandName is the command's path without the program's name.
func commandName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}
