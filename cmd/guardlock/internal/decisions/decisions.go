// Package decisions holds the commands of `guardlock audit`: they ask the
// decision log, check it, and compare a stored batch with what it says.
//
// Trust: a log that is read may have been tampered with; audit finds that out.
package decisions

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditHelp = `The decision log holds what became of every record that met the gateway, and why:
which modules with which digests judged it, under which policy and approvals,
who sent it, and where it is stored. It holds nothing of the records.

These commands read the log's files and can run beside a gateway that is writing.
Only prune, retain, hold, reconcile acknowledge, erase and adopt change anything of it. Where
a segment has no index yet (*.idx), a query leaves one beside it if it may, so that the next
answer comes faster. Those that change it, but for adopt, and compare need the audit key,
verify and replay ask for it, and compare also needs a broker.`

func NewCommand() *cobra.Command {
	group := cli.NewGroup("audit", "Look into the log of decisions", auditHelp,
		newAuditQueryCommand(),
		newAuditShowCommand(),
		newAuditTailCommand(),
		newAuditSummaryCommand(),
		newAuditVerifyCommand(),
		newAuditCompareCommand(),
		newAuditReplayCommand(),
		newAuditReconcileCommand(),
		newAuditExportCommand(),
		newAuditProveCommand(),
		newAuditWitnessCommand(),
		newAuditPruneCommand(),
		newAuditRetainCommand(),
		newAuditHoldCommand(),
		newAuditManifestCommand(),
		newAuditEraseCommand(),
		newAuditAdoptCommand(),
	)

	for _, cmd := range group.Commands() {
		cli.Once(cmd)
	}
	return group
}

const defaultAuditDir = "data/audit"

func registerAuditDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVarP(dir, "dir", "d", defaultAuditDir, "`DIRECTORY` of the decision log")
}

// openAudit opens a log for questions. Of one without its mark it warns: what was cut off
// at its end is in no answer.
func openAudit(cmd *cobra.Command, dir string) (*query.Reader, error) {
	r, err := openLog(dir)
	if err != nil {
		return nil, err
	}

	marked, err := r.Marked()
	if err != nil {
		return nil, auditError(dir, err)
	}
	if !marked {
		cli.Warn(cmd.ErrOrStderr(), fmt.Errorf("the decision log in %s: %w: see `guardlock audit verify --dir %s`", dir, audit.ErrNoMark, cli.ShellWord(dir)))
	}

	return r, nil
}

func openLog(dir string) (*query.Reader, error) {
	r, err := query.Open(dir)
	if err != nil {
		return nil, auditError(dir, err)
	}
	return r, nil
}

// auditError gives the log's errors their exit codes and hints.
func auditError(dir string, err error) error {
	err = fmt.Errorf("reading the decision log in %s: %w", dir, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "give its directory with --dir: audit.dir of the configuration, by default audit in data_dir")
	case exit.Unanswered(err):
		return exit.WithHint(err, unread)
	case errors.Is(err, audit.ErrCorrupt):
		return exit.WithHint(exit.WithCode(err, exit.Refused), "keep the files as they are, and run `guardlock audit verify --dir %s`", dir)
	}

	return err
}
