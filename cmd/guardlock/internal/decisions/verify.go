package decisions

import (
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditVerifyHelp = `Read the whole log and check every checksum, every link of the hash chain, every
entry and every seal. Exit code 3 if the bytes are not what was committed, or if
the mark is gone without which a log that was cut short looks whole; 4 if there
is no log.

Whoever can rewrite all of the log can also make a new chain. So keep the line
"keep SEQ:CHAIN" that this prints in another place, and give it to --expect the
next time: a log that was rewritten since then does not go through it.`

func newAuditVerifyCommand() *cobra.Command {
	var dir, expect string
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Check that nobody changed the log",
		Long:    auditVerifyHelp,
		Example: "  guardlock audit verify --dir data/audit\n  guardlock audit verify --expect \"$(cat kept)\"\n  guardlock audit verify --json | jq -r .head",
		Args:    cli.NeedArgs(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return runAuditVerify(cmd, dir, expect) },
	}

	registerAuditDir(cmd, &dir)
	cmd.Flags().StringVar(&expect, "expect", "", "a head that was kept: the log must go through it (`SEQ:CHAIN`)")
	return cmd
}

func runAuditVerify(cmd *cobra.Command, dir, expect string) error {
	var kept *audit.Head
	if expect != "" {
		head, err := audit.ParseHead(expect)
		if err != nil {
			return exit.Usagef("reading --expect: %w", err)
		}
		kept = &head
	}

	report, failure := audit.VerifyPast(dir, kept)
	var err error
	if cli.WantsJSON(cmd) {
		err = cli.PrintJSON(cmd.OutOrStdout(), report)
	} else if len(report.Segments) > 0 {
		err = writeChainReport(cmd.OutOrStdout(), report, failure == nil)
	}

	if failure == nil {
		return err
	}
	if errors.Is(failure, audit.ErrCorrupt) || errors.Is(failure, audit.ErrNoMark) {
		failure = exit.WithHint(exit.Refusedf("%w", failure), "keep the files as they are, and compare them with a copy or a backup")
	} else {
		failure = auditError(dir, failure)
	}

	return errors.Join(failure, err)
}

func writeChainReport(w io.Writer, r audit.Report, intact bool) error {
	t := cli.NewTable("SEGMENT", "ENTRIES", "BATCHES", "DECISIONS", "SEALED", "CHAIN AT ITS END")
	for _, s := range r.Segments {
		t.Add(s.Number, humanize.Comma(int64(s.NextSeq-s.FirstSeq)), humanize.Comma(int64(s.Batches)), humanize.Comma(int64(s.Decisions)),
			yesNo(s.Sealed), fmt.Sprintf("%.16s", s.Chain))
	}

	if err := t.Write(w); err != nil {
		return err
	}
	p := cli.PaletteFor(w)
	verdict := p.Green("intact")

	if !intact {
		verdict = p.Red("damaged") + " after"
	}
	fmt.Fprintf(w, "\n%s: %s decisions, next entry %d\nchain  %s\n", verdict, humanize.Comma(int64(r.Decisions)), r.NextSeq, r.Chain)
	if intact {
		fmt.Fprintf(w, "keep   %s\n", r.Head)
	}
	if r.Unbound > 0 {
		fmt.Fprintf(w, "%s without a known answer of the broker\n", cli.Count(r.Unbound, "forwarded batch"))
	}
	if r.TornBytes > 0 {
		fmt.Fprintf(w, "%d bytes of an unfinished write at the end: the gateway cuts them when it starts\n", r.TornBytes)
	}

	return nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
