package devel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/transforms/sdk"
)

const initHelp = `Begin a module: a directory of that name, with a source that works, the SDK it is
written with, and cases. It masks the numbers of payment cards; change it to what
your records need.

The SDK lies in the directory, and this command downloads nothing. The languages and
what builds them:

  rust   rustup, with: rustup target add wasm32-unknown-unknown
  go     Go 1.24 or later, or TinyGo
  as     AssemblyScript: Node.js 20 or later with npm, and npm ci in the directory
  c      clang with wasm-ld (Debian: clang lld), or pip install ziglang`

type initCommand struct {
	language string
}

func newInitCommand() *cobra.Command {
	var c initCommand
	cmd := &cobra.Command{
		Use:   "init --lang LANGUAGE NAME",
		Short: "Begin a module in Rust, Go, AssemblyScript or C",
		Long:  initHelp,
		Example: `  guardlock module init --lang rust card-mask
  guardlock module build card-mask && guardlock module test card-mask`,
		Args: cli.NeedArgs("NAME"),
		RunE: c.run,
	}

	cmd.Flags().StringVar(&c.language, "lang", "", strings.Join(sdk.Languages(), " or "))
	return cmd
}

var moduleName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

func (c *initCommand) run(cmd *cobra.Command, args []string) error {
	dir := args[0]
	name := filepath.Base(dir)
	if c.language == "" {
		return cli.NeedFlag(cmd, "lang", "guardlock module init --lang rust "+cli.ShellWord(dir))
	}
	if !moduleName.MatchString(name) {
		return exit.Usagef("a module's name is of small letters, digits, - and _, such as card-mask; %q is not", name)
	}

	project, err := sdk.Project(c.language, name)
	if errors.Is(err, sdk.ErrLanguage) {
		return exit.WithHint(exit.WithCode(err, exit.Usage), "--lang is %s", strings.Join(sdk.Languages(), " or "))
	}
	if err != nil {
		return err
	}

	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return exit.Usagef("%s is there already, and not empty", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("beginning a module: %w", err)
	}

	return c.write(cmd, dir, project)
}

func (c *initCommand) write(cmd *cobra.Command, dir string, project map[string][]byte) error {
	paths := cli.SortedKeys(project)
	for _, p := range paths {
		to := filepath.Join(dir, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("beginning a module: %w", err)
		}
		if err := disk.Create(to, project[p], 0o644); err != nil {
			return fmt.Errorf("beginning a module: %w", err)
		}
	}

	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), map[string]any{"directory": dir, "language": c.language, "files": paths})
	}

	source := paths[slices.IndexFunc(paths, isSource)]
	word := cli.ShellWord(dir)
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `%s is a module in %s. Its source is %s, its cases are in %s.

  %s module build %s    makes the .wasm
  %s module test %s     runs the cases
`, cli.Printable(dir), c.language, filepath.Join(dir, source), filepath.Join(dir, "cases"), cli.Program(), word, cli.Program(), word)

	return err
}

// isSource tells the source that one is to change from the SDK's.
func isSource(path string) bool {
	return path == "src/lib.rs" || path == "main.go" || path == "assembly/index.ts" || strings.HasSuffix(path, ".c")
}
