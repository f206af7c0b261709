package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/server"
)

const checkHelp = `Check reads a configuration as serve would, without opening a port, a broker or
the decision log: the file itself, then every file that it names, signatures,
approvals and the policy. Every problem is reported, each with its place, and
then what would run where, and until when.

A problem keeps a gateway from starting: exit code 3. A module that would be
refused does not: the gateway starts, and what is produced to that module's
topics is refused. Neither does a log of another gateway that audit.reconcile
could not read: then its looks conclude nothing. These are warnings here, and
exit code 3 only with --strict: for a review of a change, not before a start.`

func newCheckCommand() *cobra.Command {
	var strict, explain bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Report every problem of a configuration at once",
		Long:  checkHelp,
		Example: `  guardlock check guardlock.yaml
  guardlock check guardlock.yaml --explain  # as guardlock status, of a gateway that does not run
  guardlock check guardlock.yaml --strict   # what is a warning else is a problem, too`,
		Args: cli.NeedArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := server.Check(cmd.Context(), args[0])
			if explain && r.Status != nil && len(r.Problems) == 0 {
				return reportExplained(cmd, r, strict)
			}
			return reportCheck(cmd, args[0], r, strict)
		},
	}

	cmd.Flags().BoolVar(&explain, "explain", false, "show what would run where, by whose leave and until when, as status does")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 3 for what is a warning else: a module that would be refused, a log that audit.reconcile could not read")
	return cmd
}

// reportExplained shows what a gateway with this configuration would tell of itself.
func reportExplained(cmd *cobra.Command, r server.Report, strict bool) error {
	if _, err := showStatus(cmd, r.Status); err != nil {
		return err
	}
	if failed := append(r.Refused, r.Warnings...); strict && len(failed) > 0 {
		return strictly(&r, exit.Refusedf("%w", errors.Join(failed...)))
	}
	for _, w := range r.Warnings {
		cli.Warn(cmd.ErrOrStderr(), w)
	}
	return nil
}

// strictly takes the code of a "no" from the error of a configuration about which nobody
// said no: what its modules were refused for is that somebody could not be asked.
func strictly(r *server.Report, err error) error {
	saidNo := func(err error) bool {
		refused, ok := errors.AsType[interface {
			error
			Undecided() bool
		}](err)
		return !exit.Unanswered(err) && (!ok || !refused.Undecided())
	}
	if len(r.Problems)+len(r.Warnings) > 0 || slices.ContainsFunc(r.Refused, saidNo) {
		return err
	}
	return exit.WithCode(err, exit.Failure)
}

// checkLine is the JSON form of a check, for scripts that decide about a start.
type checkLine struct {
	File     string   `json:"file"`
	OK       bool     `json:"ok"` // it starts, and every module runs; with --strict nothing is warned of, either
	Problems []string `json:"problems"`
	Refused  []string `json:"refused"`
	Warnings []string `json:"warnings"` // what else a gateway that starts could not do
	Insecure []string `json:"insecure"` // settings that a gateway warns of at its start
	Bindings []bound  `json:"bindings"`
	Reasons  []gives  `json:"reasons"`
}

// gives is the JSON form of the reasons that a module can give.
type gives struct {
	Module  string   `json:"module"`
	Reasons []string `json:"reasons"`
}

// bound is the JSON form of what one binding would run, and until when.
type bound struct {
	Cluster   string    `json:"cluster"`
	Binding   string    `json:"binding"`
	Topics    []string  `json:"topics"`
	Modules   []string  `json:"modules"`
	Until     time.Time `json:"until,omitzero"`
	Refused   string    `json:"refused,omitempty"`
	Isolation string    `json:"isolation"`
}

func reportCheck(cmd *cobra.Command, path string, r server.Report, strict bool) error {
	out := cmd.OutOrStdout()
	warned := append(r.Refused, r.Warnings...)
	failed := len(r.Problems) > 0 || strict && len(warned) > 0
	if cli.WantsJSON(cmd) {
		line := checkLine{
			File:     path,
			OK:       !failed && len(r.Refused) == 0,
			Problems: texts(r.Problems),
			Refused:  texts(r.Refused),
			Warnings: texts(r.Warnings),
			Insecure: append([]string{}, r.Insecure...),
			Bindings: make([]bound, len(r.Bindings)),
			Reasons:  make([]gives, len(r.Reasons)),
		}
		for i, c := range r.Reasons {
			line.Reasons[i] = gives(c)
		}
		for i, b := range r.Bindings {
			line.Bindings[i] = bound(b)
		}

		if err := json.NewEncoder(out).Encode(line); err != nil {
			return err
		}
	}

	if failed {
		return strictly(&r, problemsOf(path, append(r.Problems, warned...), r.Unread))
	}

	if cli.WantsJSON(cmd) {
		return nil
	}

	for _, name := range r.Insecure {
		cli.Warn(cmd.ErrOrStderr(), fmt.Errorf("INSECURE: %s", name))
	}
	for _, w := range warned {
		cli.Warn(cmd.ErrOrStderr(), w)
	}
	if err := writeBindings(out, r.Bindings); err != nil {
		return err
	}

	if err := writeReasons(out, r.Reasons); err != nil {
		return err
	}

	if len(r.Refused) > 0 {
		_, err := fmt.Fprintf(out, "%s: starts, and refuses the topics of the modules above\n", path)
		return err
	}

	_, err := fmt.Fprintf(out, "%s: ok\n", path)
	return err
}

// shownBindings is how many bindings are shown to a person. With --json all of
// them are printed.
const shownBindings = 30

// writeBindings shows what would run where, as a table with one binding in a
// row.
func writeBindings(w io.Writer, all []server.Bound) error {
	if len(all) == 0 {
		return nil
	}

	t := cli.NewTable("BINDING", "TOPICS", "RUNS", "UNTIL")
	for _, b := range all[:min(len(all), shownBindings)] {
		t.Add(b.Binding, shortList(b.Topics), runs(b), until(b))
	}

	if err := t.Write(w); err != nil {
		return err
	}

	if more := len(all) - shownBindings; more > 0 {
		_, err := fmt.Fprintf(w, "and %s; --json lists all\n", cli.Count(more, "more binding"))
		return err
	}

	return nil
}

// writeReasons shows how much each module has to choose among, and the first of it.
func writeReasons(w io.Writer, all []server.Catalogue) error {
	if len(all) == 0 {
		return nil
	}

	t := cli.NewTable("MODULE", "REASONS", "WHICH")
	for _, c := range all[:min(len(all), shownBindings)] {
		t.Add(c.Module, strconv.Itoa(len(c.Reasons)), shortList(c.Reasons))
	}
	return t.Write(w)
}

// shortList keeps the table narrow: of a long list it shows the beginning and
// how many more there are.
func shortList(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], " "), len(names)-shown)
}

func runs(b server.Bound) string {
	switch {
	case b.Refused != "":
		return "refused: " + b.Refused
	case len(b.Modules) == 0:
		return "no module"
	}

	names := strings.Join(b.Modules, ", ")
	switch b.Isolation {
	case "topic":
		return names + " (apart for each topic)"
	case "process":
		return names + " (each in processes of its own)"
	}
	return names
}

func until(b server.Bound) string {
	if b.Until.IsZero() || b.Refused != "" {
		return "-"
	}
	return b.Until.UTC().Format("2006-01-02 15:04 UTC")
}

func texts(found []error) []string {
	out := make([]string, len(found))
	for i, err := range found {
		out[i] = err.Error()
	}

	return out
}
