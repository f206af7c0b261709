package decisions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

// verifiedLog is one log of several, as --json prints it.
type verifiedLog struct {
	Gateway string `json:"gateway"`
	Dir     string `json:"dir"`
	Intact  bool   `json:"intact"`
	Error   string `json:"error,omitempty"` // why it is not
	*verified

	err error
}

// several verifies each log with its own keys, so that one that is damaged or missing
// hides nothing of the others, and closes with one verdict.
func (c *auditVerifyCommand) several(cmd *cobra.Command, sources []gatewayLog) error {
	for _, flag := range []string{"expect", "since", "goes-on-from"} {
		if cmd.Flags().Changed(flag) && len(sources) > 1 {
			return exit.Usagef("--%s is of one log, and %d are given", flag, len(sources))
		}
	}

	var all []verifiedLog
	seen := make(map[uint32]string)
	for _, of := range sources {
		l := verifiedLog{Gateway: of.Name, Dir: of.Dir}
		if l.verified, l.err = c.log(cmd.Context(), of); l.verified != nil {
			l.err = errors.Join(l.verdict, l.owned(cmd.Context(), &of, seen))
		}
		if err := cmd.Context().Err(); err != nil {
			return err
		}

		l.Intact = l.err == nil
		if l.err != nil {
			l.Error = l.err.Error()
		}
		all = append(all, l)
	}

	return errors.Join(reportSeveral(cmd, all, c.logs.listing()), worst(all))
}

// owned finds a log that is there twice, or is not shown to be that of its gateway.
func (l *verifiedLog) owned(ctx context.Context, of *gatewayLog, seen map[uint32]string) error {
	if len(l.Segments) == 0 {
		return nil
	}
	node, err := nodeOf(ctx, of)
	if err != nil {
		return err
	}
	if other := seen[node]; other != "" {
		return exit.Usagef("%s and %s are the same log", other, of.Dir)
	}
	seen[node] = of.Dir

	if of.LogKey != "" && l.verdict == nil && (l.Checkpoint == nil || !l.Checkpoint.Signed) {
		return exit.Refusedf("the log in %s is not shown to be that of %s: it has no checkpoint", of.Dir, of.Name)
	}
	return nil
}

// nodeOf is what the ids of a log's decisions begin with.
func nodeOf(ctx context.Context, of *gatewayLog) (uint32, error) {
	r, err := openLog(of.Dir)
	if err != nil {
		return 0, err
	}
	defer r.Close()

	node, err := r.Node()
	if err != nil {
		return 0, auditError(of.Dir, err)
	}
	return node, of.identify(ctx, r)
}

// reportSeveral writes what was found of each log, and the verdict.
func reportSeveral(cmd *cobra.Command, all []verifiedLog, by *listing) error {
	var failed []string
	for i := range all {
		if all[i].err != nil {
			failed = append(failed, all[i].Gateway)
		}
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), struct {
			Intact   bool          `json:"intact"`
			Manifest *listing      `json:"manifest,omitempty"`
			Logs     []verifiedLog `json:"logs"`
		}{len(failed) == 0, by, all})
	}

	w := cmd.OutOrStdout()
	if err := by.write(w); err != nil {
		return err
	}
	for i := range all {
		if err := all[i].write(w); err != nil {
			return err
		}
	}

	verdict := cli.PaletteFor(w).Green("all intact")
	if len(failed) > 0 {
		verdict = cli.PaletteFor(w).Red("not all intact") + ": see " + cli.Printable(strings.Join(failed, ", "))
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", cli.Count(len(all), "log"), verdict)
	return err
}

func (l *verifiedLog) write(w io.Writer) error {
	if _, err := fmt.Fprintln(w, cli.PaletteFor(w).Bold(cli.Printable(l.heading()))); err != nil {
		return err
	}
	if l.verified != nil {
		if err := l.verified.write(w); err != nil {
			return err
		}
	}
	if l.err != nil {
		if _, err := fmt.Fprintln(w, cli.Printable("error: "+l.err.Error())); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (l *verifiedLog) heading() string {
	if l.Gateway == l.Dir {
		return l.Dir
	}
	return l.Gateway + "  " + l.Dir
}

// worst is the error of all logs together: a log that somebody changed is worse than one
// that is not there, and that is worse than one that could not be proven.
func worst(all []verifiedLog) error {
	var errs []error
	var codes []int
	for i := range all {
		if err := all[i].err; err != nil {
			errs = append(errs, err)
			codes = append(codes, exit.CodeOf(err))
		}
	}

	for _, code := range []int{exit.Refused, exit.NotFound} {
		if slices.Contains(codes, code) {
			return exit.WithCode(errors.Join(errs...), code)
		}
	}
	return errors.Join(errs...)
}
