package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/internal/exit"
)

// Report prints err as `guardlock: what: why`, then its hint, and returns the
// exit code. Control characters are escaped: an error may quote a broker.
func Report(w io.Writer, err error) int {
	if code := exit.CodeOf(err); code == exit.Interrupted {
		fmt.Fprintln(w, "guardlock: interrupted")
		return code
	}

	p := PaletteFor(w)
	printLines(w, p.Red("guardlock:"), err)
	if hint := exit.HintOf(err); hint != "" {
		fmt.Fprintf(w, "%s %s\n", p.Dim("hint:"), Printable(hint))
	}

	return exit.CodeOf(err)
}

// Warn prints err as `warning: what: why`. It changes no exit code, since the
// work goes on.
func Warn(w io.Writer, err error) {
	printLines(w, PaletteFor(w).Yellow("warning:"), err)
}

// printLines prints an error after a first word, with its further lines
// indented below.
func printLines(w io.Writer, first string, err error) {
	line, more, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(w, "%s %s\n", first, Printable(line))
	for line := range strings.Lines(more) {
		fmt.Fprintf(w, "  %s\n", Printable(strings.TrimSuffix(line, "\n")))
	}
}

// NeedArgs checks the number of positional arguments, and names what is missing
// or too much.
func NeedArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return exit.WithHint(exit.Usagef("%s: missing %s", CommandName(cmd), strings.Join(names[len(args):], " ")),
				"see `%s --help`", cmd.CommandPath())
		case len(args) > len(names):
			return exit.WithHint(exit.Usagef("%s: unexpected argument %q", CommandName(cmd), args[len(names)]),
				"see `%s --help`", cmd.CommandPath())
		}
		return nil
	}
}

// OptionalArg takes one argument or none.
func OptionalArg(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return NeedArgs("")(cmd, args)
}

// NeedFlag is the usage error for a flag that the command cannot do without,
// with an example as its hint.
func NeedFlag(cmd *cobra.Command, name, example string) error {
	return exit.WithHint(exit.Usagef("%s: --%s is not given", CommandName(cmd), name), "for example: %s", example)
}

// CommandName is the command's path without the program's name, as messages
// call it.
func CommandName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}
