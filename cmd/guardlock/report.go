package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/internal/exit"
)

// report prints err as `guardlock: what: why`, then its hint, and returns the
// exit code. Control characters are escaped: an error may quote a broker.
func report(w io.Writer, err error) int {
	if code := exit.CodeOf(err); code == exit.Interrupted {
		fmt.Fprintln(w, "guardlock: interrupted")
		return code
	}
	p := paletteFor(w)
	first, more, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(w, "%s %s\n", p.red("guardlock:"), printable(first))
	for line := range strings.Lines(more) {
		fmt.Fprintf(w, "  %s\n", printable(strings.TrimSuffix(line, "\n")))
	}
	if hint := exit.HintOf(err); hint != "" {
		fmt.Fprintf(w, "%s %s\n", p.dim("hint:"), printable(hint))
	}
	return exit.CodeOf(err)
}

// needArgs checks the number of positional arguments and names what is missing.
func needArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return exit.WithHint(exit.Usagef("%s: missing %s", commandName(cmd), strings.Join(names[len(args):], " ")),
				"see `%s --help`", cmd.CommandPath())
		case len(args) > len(names):
			return exit.WithHint(exit.Usagef("%s: unexpected argument %q", commandName(cmd), args[len(names)]),
				"see `%s --help`", cmd.CommandPath())
		}
		return nil
	}
}

// needFlag is the error for a flag that the command cannot do without.
func needFlag(cmd *cobra.Command, name, example string) error {
	return exit.WithHint(exit.Usagef("%s: --%s is not given", commandName(cmd), name), "for example: %s", example)
}

// commandName is the command's path without the program's name.
func commandName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}
