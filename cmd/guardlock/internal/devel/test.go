package devel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/cases"
)

const testHelp = `Run a module's cases in the sandbox of a gateway, offline: no key, no broker, no
gateway. A case is a record and what must become of it. Cases lie beside the
module, in cases/*.yaml:

  config: {rules: [{path: $.email, action: mask, keep_last: 4}]}
  cases:
    - name: an address is masked
      record:
        key: customer-7
        value: '{"email":"alice@example.com"}'
        headers: [{key: source, value: web}]
      expect:
        outcome: modified            # passed, modified, rejected, dropped, routed
        reason: gdpr.masked          # failed, config_refused
        value: '{"email":"*************.com"}'

What a case does not say of the record that comes out must be as it went in. A
key or value is a text, null, {json: …}, {base64: …} or {file: …}; what comes out
may also be {matches: REGEXP}. Without config the module has the config.json that
lies beside it. It has the grant that it asks for, with test keys.

Write the record first, and let --update write what the module makes of it; then
read the difference as you would read code. docs/modules/cases.md has every field.

What a module prints is shown below a case that did not hold, as its own words; a
gateway drops it. Exit code 3 says that a case did not hold, or that no gateway
would load the module.`

type testCommand struct {
	dir        string
	build      bool
	update     bool
	watch      bool
	allReasons bool
	verbose    bool
}

func newTestCommand() *cobra.Command {
	var c testCommand
	cmd := &cobra.Command{
		Use:   "test [MODULE]",
		Short: "Run a module's cases in the real sandbox",
		Long:  testHelp,
		Example: `  guardlock module test modules/gdpr              the module of that directory
  guardlock module test --update                  write down what it does now
  guardlock module test --build --watch           build and test whenever a source or case changes
  guardlock module test my.wasm --cases golden/   cases that lie elsewhere
  guardlock module test --json | jq '.reasons.unreached'`,
		Args: upTo(0, "MODULE"),
		RunE: c.run,
	}

	f := cmd.Flags()
	f.StringVar(&c.dir, "cases", "", "directory of the cases (default: cases, beside the module)")
	f.BoolVar(&c.build, "build", false, "build the module first, as `guardlock module build` does; MODULE is its directory")
	f.BoolVar(&c.update, "update", false, "write what becomes of a record into the cases that do not say so")
	f.BoolVar(&c.watch, "watch", false, "run again whenever the module or a case changes")
	f.BoolVar(&c.allReasons, "all-reasons", false, "fail if a reason that the module declares is given in no case")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "list the cases that passed too")
	return cmd
}

func (c *testCommand) run(cmd *cobra.Command, args []string) error {
	path := "."
	if len(args) > 0 {
		path = args[0]
	}
	if !c.watch {
		return c.once(cmd, path)
	}

	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	w := watch{
		tick: tick.C,
		seen: func() string { return c.fingerprint(path) },
		run: func() {
			if err := c.once(cmd, path); err != nil {
				cli.Report(cmd.ErrOrStderr(), err)
			}
		},
	}
	w.until(cmd.Context())

	return nil
}

// once runs all cases and prints what came of them.
func (c *testCommand) once(cmd *cobra.Command, path string) error {
	m, err := loadBuilt(cmd, path, c.build)
	if err != nil {
		return err
	}

	files, err := c.read(m)
	if err != nil {
		return err
	}

	sandbox, err := m.open()
	if err != nil {
		return err
	}
	defer closeSandbox(cmd.Context(), sandbox)

	report := testReport{Module: m.file, Cases: []caseReport{}}
	var results []cases.Result
	for _, file := range files {
		got := sandbox.RunFile(cmd.Context(), file)
		if err := cmd.Context().Err(); err != nil {
			return err
		}

		updated, err := c.updated(file, got)
		if err != nil {
			return err
		}
		report.add(file, got, updated)
		results = append(results, got...)
	}

	report.Reasons = reasonsReport{
		Declared:  append([]string{}, sandbox.Info().Declared()...),
		Unreached: append([]string{}, cases.Unreached(sandbox.Info().Declared(), results)...),
	}
	report.counted = sandbox.Metrics()
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), report)
	} else {
		err = report.write(cmd.OutOrStdout(), c.verbose)
	}
	return errors.Join(err, c.verdict(report))
}

// verdict is what the exit code says.
func (c *testCommand) verdict(r testReport) error {
	failed := 0
	for _, line := range r.Cases {
		if !line.Passed {
			failed++
		}
	}

	switch {
	case failed > 0:
		return exit.WithHint(exit.Refusedf("testing %s: %s of %d did not hold", r.Module, cli.Count(failed, "case"), len(r.Cases)),
			"if the module is right and the cases are not, --update writes what it does")
	case c.allReasons && len(r.Reasons.Unreached) > 0:
		return exit.Refusedf("testing %s: no case gives %s", r.Module, strings.Join(r.Reasons.Unreached, ", "))
	}

	return nil
}

// casesDir is where a module's cases lie.
func (c *testCommand) casesDir(m module) string {
	if c.dir != "" {
		return c.dir
	}
	return filepath.Join(m.dir, "cases")
}

const maxCaseBytes = 4 << 20 // of a file of cases

// read parses every file of cases, and reports everything wrong with all of them.
func (c *testCommand) read(m module) ([]cases.File, error) {
	dir := c.casesDir(m)
	paths, err := caseFiles(dir, c.dir == "")
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, exit.WithHint(exit.NotFoundf("testing %s: %s holds no *.yaml", m.file, dir),
			"write a case there, as `guardlock module test --help` shows it")
	}

	beside := m.beside()
	var files []cases.File
	var errs []error
	for _, path := range paths {
		raw, err := disk.Read(path, maxCaseBytes)
		if err != nil {
			return nil, fmt.Errorf("reading cases: %w", err)
		}

		file, err := cases.Parse(path, raw, beside)
		if err != nil {
			errs = append(errs, exit.WithCode(err, exit.Refused))
		}
		files = append(files, file)
	}

	return files, problems(errs)
}

// problems is all that is wrong with some files, one thing on a line.
func problems(errs []error) error {
	var lines []string
	for _, err := range errs {
		several, ok := errors.AsType[interface {
			error
			Unwrap() []error
		}](err)
		if !ok {
			lines = append(lines, err.Error())
			continue
		}
		for _, one := range several.Unwrap() {
			lines = append(lines, one.Error())
		}
	}
	if len(lines) == 0 {
		return nil
	}

	return exit.Refusedf("reading cases:\n%s", strings.Join(lines, "\n"))
}

// caseFiles are the files in a directory, which nobody need have made if it is the usual
// one.
func caseFiles(dir string, usual bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && (!usual || !errors.Is(err, os.ErrNotExist)) {
		return nil, fmt.Errorf("reading cases: %w", err)
	}

	var paths []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
			paths = append(paths, filepath.Join(dir, name))
		}
	}

	return paths, nil
}

// updated writes the file of the cases that did not hold, where that is wanted, and
// says which they were.
func (c *testCommand) updated(file cases.File, got []cases.Result) (map[int]cases.Result, error) {
	changed := map[int]cases.Result{}
	if !c.update {
		return changed, nil
	}

	for n, r := range got {
		if len(file.Cases[n].Compare(r)) > 0 {
			changed[n] = r
		}
	}
	if len(changed) == 0 {
		return changed, nil
	}

	after, err := file.Update(changed)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file.Name)
	if err != nil {
		return nil, fmt.Errorf("updating cases: %w", err)
	}
	if err := disk.Replace(file.Name, after, info.Mode().Perm()); err != nil {
		return nil, fmt.Errorf("updating cases: %w", err)
	}

	return changed, nil
}

// testReport is what `module test` prints.
type testReport struct {
	Module  string        `json:"module"`
	Cases   []caseReport  `json:"cases"`
	Reasons reasonsReport `json:"reasons"`

	counted []transforms.Metric
}

type caseReport struct {
	Name        string             `json:"name"`
	File        string             `json:"file"`
	Line        int                `json:"line"`
	Passed      bool               `json:"passed"`
	Updated     bool               `json:"updated,omitempty"`
	Outcome     string             `json:"outcome"`
	Reason      string             `json:"reason,omitempty"`
	Problem     string             `json:"problem,omitempty"`
	Calls       []string           `json:"calls,omitempty"`
	Differences []cases.Difference `json:"differences,omitempty"`

	Printed string `json:"printed,omitempty"` // by the module itself, where it did not hold

	failure string
	said    cases.Printed
}

type reasonsReport struct {
	Declared  []string `json:"declared"`
	Unreached []string `json:"unreached"`
}

func (r *testReport) add(file cases.File, got []cases.Result, updated map[int]cases.Result) {
	for n, result := range got {
		_, written := updated[n]
		line := caseReport{
			Name:        file.Cases[n].Name,
			File:        file.Name,
			Line:        file.Cases[n].Line,
			Outcome:     result.Outcome,
			Reason:      result.Reason,
			Problem:     result.Problem,
			Calls:       result.Calls,
			Differences: file.Cases[n].Compare(result),
			Updated:     written,
			failure:     failureText(result),
		}
		line.Passed = written || len(line.Differences) == 0
		if !line.Passed {
			line.said = result.Printed
			line.Printed = result.Printed.Text
		}
		r.Cases = append(r.Cases, line)
	}
}

func (r testReport) write(w io.Writer, verbose bool) error {
	p := cli.PaletteFor(w)
	passed := 0
	for _, c := range r.Cases {
		mark := p.Red("FAIL")
		switch {
		case c.Updated:
			mark = p.Yellow("new ")
		case c.Passed:
			mark = p.Green("ok  ")
		}
		if c.Passed {
			passed++
		}
		if c.Updated || !c.Passed || verbose {
			fmt.Fprintf(w, "%s  %s:%d  %s\n", mark, cli.Printable(c.File), c.Line, cli.Printable(c.Name))
			c.writeDifferences(w)
		}
	}

	fmt.Fprintf(w, "%d of %s held", passed, cli.Count(len(r.Cases), "case"))
	if declared := len(r.Reasons.Declared); declared > 0 {
		fmt.Fprintf(w, ", %d of %s given", declared-len(r.Reasons.Unreached), cli.Count(declared, "reason"))
	}
	fmt.Fprintln(w)

	if len(r.Reasons.Unreached) > 0 {
		fmt.Fprintf(w, "%s %s\n", p.Dim("in no case:"), strings.Join(r.Reasons.Unreached, ", "))
	}
	writeMetrics(w, r.counted)

	return nil
}

// writeDifferences prints what was wanted above what came.
func (c caseReport) writeDifferences(w io.Writer) {
	width := 0
	for _, d := range c.Differences {
		width = max(width, len(d.Field))
	}

	for _, d := range c.Differences {
		fmt.Fprintf(w, "      %-*s  want %s\n", width, cli.Printable(d.Field), cli.Printable(d.Want))
		fmt.Fprintf(w, "      %-*s   got %s\n", width, "", cli.Printable(d.Got))
	}
	writePrinted(w, "      ", c.said)
	if c.Outcome != cases.Failed || c.Passed {
		return
	}
	for line := range strings.Lines(c.failure) {
		fmt.Fprintf(w, "      %s\n", cli.Printable(strings.TrimSuffix(line, "\n")))
	}
}

const watchEvery = 300 * time.Millisecond

// watch runs something once, and again whenever what it is about looks different.
type watch struct {
	tick <-chan time.Time
	seen func() string
	run  func()
}

func (w watch) until(ctx context.Context) {
	seen := w.seen() // before the run: what changes while it runs is not missed
	w.run()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.tick:
		}

		now := w.seen()
		if now == seen {
			continue
		}
		seen = now
		w.run()
	}
}

// fingerprint changes when a file that a run reads does. Where the run builds, that is
// any in the directory, but for what a build writes, since each writes it anew.
func (c *testCommand) fingerprint(path string) string {
	dir := path
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		dir = filepath.Dir(path)
	}

	var text []string
	for _, root := range []string{dir, c.casesDir(module{dir: dir})} {
		_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil: // what cannot be read is what the run reports
				return nil
			case e.IsDir() && path != root && (!c.build || isBuilt(e.Name())):
				return fs.SkipDir
			case e.IsDir() || c.build && isBuilt(e.Name()):
				return nil
			}

			if info, err := e.Info(); err == nil {
				text = append(text, fmt.Sprint(path, info.Size(), info.ModTime().UnixNano()))
			}
			return nil
		})
	}

	return strings.Join(text, "\n")
}

// isBuilt tells what toolchains write beside a source, or keep there.
func isBuilt(name string) bool {
	switch name {
	case "Cargo.lock", "target", "build", "node_modules":
		return true
	}
	return strings.HasSuffix(name, ".wasm") || strings.HasPrefix(name, ".")
}
