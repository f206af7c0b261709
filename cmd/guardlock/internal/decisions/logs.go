package decisions

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/internal/exit"
)

// logsFlags name the logs that are asked: one, or those of several gateways.
type logsFlags struct {
	dirs     []string
	manifest string

	found  []gatewayLog     // once they were asked for
	signed *manifest.Signed // nil: no manifest was given, or a plain list
}

const logsHelp = `
Several logs are merged by time, and each row says its gateway: repeat --dir, or name
the gateways of a cluster in a file:

  gateways:
    - name: gw-a
      dir: gw-a/audit            # from where the file is
      log_key: gw-a/log.key.pub  # optional: its last checkpoint must be this key's
    - name: gw-b
      dir: gw-b/audit

A log that is missing or cannot be read is an error, and nothing is answered without it.
Which logs there must be, a signed manifest says (see audit manifest --help): give it with
--manifest, and with --trust-root who may sign it. Then --dir says where the logs are, if
the manifest does not: each is known by its id. One too many or too few is an error.`

func (l *logsFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&l.dirs, "dir", "d", []string{defaultAuditDir}, "`DIRECTORY` of a decision log; once for each gateway")
	cmd.Flags().StringVar(&l.manifest, "manifest", "", "`FILE` with the gateways of a cluster and their logs")
	if cmd.Flags().Lookup(trustRootFlag) == nil {
		cmd.Flags().String(trustRootFlag, "", "the trust root `FILE` whose approvers must have signed the --manifest")
	}
}

// trustRootFlag is a flag that some commands have for other signatures, too.
const trustRootFlag = "trust-root"

// gatewayLog is one log that is asked.
type gatewayLog struct {
	Name   string
	Dir    string
	LogKey string // its file, or itself
	id     string // that a manifest demands; "" where none does
	by     *manifest.Signed
}

// sources are the logs that the flags name.
func (l *logsFlags) sources(cmd *cobra.Command) (all []gatewayLog, err error) {
	if l.found == nil {
		l.found, err = l.find(cmd)
	}
	return l.found, err
}

func (l *logsFlags) find(cmd *cobra.Command) ([]gatewayLog, error) {
	root, err := cmd.Flags().GetString(trustRootFlag)
	if err != nil {
		return nil, err
	}
	if l.manifest != "" {
		return l.listed(cmd, root)
	}
	if root != "" {
		return nil, exit.Usagef("--%s says who may sign a --manifest, and none is given", trustRootFlag)
	}

	var all []gatewayLog
	for _, dir := range l.dirs {
		from := gatewayLog{Dir: dir}
		if len(l.dirs) > 1 {
			from.Name = dir
		}
		all = append(all, from)
	}

	return all, nil
}

// beside is a path as a file names it: from where the file is.
func beside(file, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(file), path)
}

// open opens all logs, or none: what one of them holds is in no answer without it.
func (l *logsFlags) open(cmd *cobra.Command) (logs query.Logs, err error) {
	sources, err := l.sources(cmd)
	if err != nil {
		return nil, err
	}

	var errs []error
	seen := make(map[uint32]string)
	for _, from := range sources {
		r, err := openAudit(cmd, from.Dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}

		log := query.Log{Gateway: from.Name, Dir: from.Dir, Reader: r}
		logs = append(logs, log)
		if err := from.check(cmd.Context(), &logs[len(logs)-1], seen); err != nil {
			errs = append(errs, err)
		}
	}

	if len(errs) == 1 {
		return nil, errors.Join(logs.Close(), errs[0])
	}
	if len(errs) > 0 {
		return nil, exit.WithCode(errors.Join(append(errs, logs.Close())...), exit.CodeOf(errs[0]))
	}
	return logs, nil
}

// check holds a log against what the manifest says of it, and against the others.
func (g *gatewayLog) check(ctx context.Context, log *query.Log, seen map[uint32]string) error {
	node, err := log.Reader.Node()
	if err != nil {
		return auditError(g.Dir, err)
	}
	if err := g.identify(ctx, log.Reader); err != nil {
		return err
	}
	if other := seen[node]; other != "" {
		return exit.Usagef("%s and %s are the same log", other, g.Dir)
	}
	if segs, err := log.Refresh(); g.Name != "" && (err != nil || len(segs) == 0) {
		return exit.WithCode(errors.Join(fmt.Errorf("reading the decision log in %s: nothing is in it", g.Dir), err), exit.NotFound)
	}

	log.Node = node
	seen[node] = g.Dir
	if g.LogKey == "" {
		return nil
	}

	trust, err := trustIn(g.LogKey)
	if err != nil {
		return err
	}
	prover, err := tree.OpenProver(filepath.Join(g.Dir, tree.DirName), log.Reader.Reader)
	if err == nil {
		_, _, _, err = trust.Open([]byte(prover.Signed()))
	}
	if err != nil {
		return exit.Judged(fmt.Errorf("the log in %s is not shown to be that of %s: %w", g.Dir, g.Name, err))
	}
	return nil
}

// lookUp finds a decision in that of the logs which has it.
func (l *logsFlags) lookUp(ctx context.Context, logs query.Logs, id string) (log query.Log, d query.Decision, err error) {
	log = logs[0]
	if parsed, err := audit.ParseDecisionID(id); err == nil {
		of, there := logs.Of(parsed.Node)
		if !there {
			return log, d, noSuchDecision(id, l.names())
		}
		log = of
	}

	d, err = lookUp(ctx, log.Reader, log.Dir, id)
	d.Gateway = log.Gateway
	return log, d, err
}

// failed gives an error of the logs its exit code and hint.
func (l *logsFlags) failed(err error) error {
	return auditError(l.names(), err)
}

// names is what messages call the logs.
func (l *logsFlags) names() string {
	if l.manifest != "" {
		return l.manifest
	}
	return strings.Join(l.dirs, ", ")
}
