// Package devel is the commands with which a module is written: test, run and bench
// it, begin a new one, build it.
//
// All of it but try works offline and on this machine alone: no gateway, no key, no
// broker. What is said of a module here is said by the code that a gateway runs.
//
// Trust: the module may be someone else's, and runs in the sandbox of a gateway, in
// which it can reach nothing. What it makes of records is printed, escaped.
package devel

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/trust"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// NewCommands makes the commands, for the group that holds all about modules.
func NewCommands() []*cobra.Command {
	return []*cobra.Command{newInitCommand(), newBuildCommand(), newTestCommand(), newRunCommand(), newTryCommand(), newBenchCommand()}
}

// module is a module's file and what lies beside it.
type module struct {
	file   string
	dir    string
	bytes  []byte
	config []byte // nil: none lies beside it
}

// beside is what lies beside the module.
func (m module) beside() cases.Beside {
	return cases.Beside{Config: m.config, Read: func(path string) ([]byte, error) {
		return disk.Read(filepath.Join(m.dir, filepath.FromSlash(path)), transforms.MaxTableBytes)
	}}
}

// load reads a module, given as its .wasm file or as the directory that holds it.
func load(path string) (module, error) {
	file, config, err := trust.Find(path)
	if err != nil {
		return module{}, err
	}

	m := module{file: file, dir: filepath.Dir(file)}
	if m.bytes, err = trust.ReadWasm(file); err != nil {
		return m, err
	}
	if config == "" {
		return m, nil
	}
	if m.config, err = disk.Read(config, signing.MaxConfigBytes); err != nil {
		return m, fmt.Errorf("reading the module's configuration: %w", err)
	}

	return m, nil
}

// loadBuilt reads a module, after it was built if that is wanted. Of one that is older
// than its source it warns: what is seen of it is not what its author wrote last.
func loadBuilt(cmd *cobra.Command, path string, build bool) (module, error) {
	if build {
		b := builder{dir: path, log: cmd.ErrOrStderr()}
		if _, _, err := b.write(cmd.Context()); err != nil {
			return module{}, err
		}
	}

	m, err := load(path)
	if err != nil {
		return m, err
	}
	if stale := m.staleness(); stale != "" && !build {
		cli.Warn(cmd.ErrOrStderr(), errors.New(stale))
	}

	return m, nil
}

// open opens the module's sandbox, or says why no gateway would load it.
func (m module) open() (*cases.Sandbox, error) {
	s, err := cases.Open(m.bytes, []string{transforms.TrialCommand})
	if err == nil {
		return s, nil
	}

	err = exit.Judged(fmt.Errorf("loading %s: %w", m.file, err))
	if _, refused := errors.AsType[*wasm.RefusedError](err); refused {
		return nil, exit.WithHint(err, "no gateway would load this module: see `guardlock module inspect %s`", cli.ShellWord(m.file))
	}
	return nil, exit.WithHint(err, "see `guardlock module inspect %s`", cli.ShellWord(m.file))
}

// closeSandbox ends a sandbox. What it held is given back either way.
func closeSandbox(ctx context.Context, s *cases.Sandbox) { _ = s.Close(context.WithoutCancel(ctx)) }

// failureText says how a module failed, and in which of its functions.
func failureText(r cases.Result) string {
	text := r.Problem
	if r.Failure != "" {
		text = r.Failure + ": " + text
	}
	if len(r.Calls) == 0 {
		return text
	}

	const shown = 5
	calls := r.Calls[:min(len(r.Calls), shown)]
	text += "\nin " + strings.Join(calls, ", called by ")

	if more := len(r.Calls) - len(calls); more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}

	return text
}

// countsText says how many records came to which outcome.
func countsText(counts map[string]int) string {
	var all []string
	for _, outcome := range cases.Outcomes() {
		if n := counts[outcome]; n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, outcome))
		}
	}

	return strings.Join(all, ", ")
}
