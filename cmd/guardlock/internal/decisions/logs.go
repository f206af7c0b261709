package decisions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// logsFlags name the logs that are asked: one, or those of several gateways.
type logsFlags struct {
	dirs     []string
	manifest string
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

A log that is missing or cannot be read is an error, and nothing is answered without it.`

func (l *logsFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&l.dirs, "dir", "d", []string{defaultAuditDir}, "`DIRECTORY` of a decision log; once for each gateway")
	cmd.Flags().StringVar(&l.manifest, "manifest", "", "`FILE` with the gateways of a cluster and their logs, instead of --dir")
}

// gatewayLog is one gateway in a manifest.
type gatewayLog struct {
	Name   string `yaml:"name"`
	Dir    string `yaml:"dir"`
	LogKey string `yaml:"log_key"`
}

// sources are the logs that the flags name.
func (l *logsFlags) sources(cmd *cobra.Command) ([]gatewayLog, error) {
	if l.manifest != "" {
		if cmd.Flags().Changed("dir") {
			return nil, exit.Usagef("give one of --dir and --manifest")
		}
		return readManifest(l.manifest)
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

func readManifest(path string) ([]gatewayLog, error) {
	content, err := disk.ReadInput(path, disk.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading --manifest: %w", err)
	}

	var file struct {
		Gateways []gatewayLog `yaml:"gateways"`
	}
	in := yaml.NewDecoder(bytes.NewReader(content))
	in.KnownFields(true)
	if err := in.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, exit.Usagef("reading --manifest %s: %w", path, err)
	}
	if len(file.Gateways) == 0 {
		return nil, exit.Usagef("reading --manifest %s: it names no gateways", path)
	}

	names := make(map[string]bool)
	for i := range file.Gateways {
		g := &file.Gateways[i]
		if g.Name == "" || g.Dir == "" || names[g.Name] {
			return nil, exit.Usagef("reading --manifest %s: gateway %d needs a name of its own and a dir", path, i+1)
		}
		names[g.Name] = true
		g.Dir = beside(path, g.Dir)
		if g.LogKey != "" {
			g.LogKey = beside(path, g.LogKey)
		}
	}

	return file.Gateways, nil
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
		if err := from.check(&logs[len(logs)-1], seen); err != nil {
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
func (g *gatewayLog) check(log *query.Log, seen map[uint32]string) error {
	node, err := log.Reader.Node()
	if err != nil {
		return auditError(g.Dir, err)
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

	trust, err := (&evidenceFlags{logKeys: []string{g.LogKey}}).keys()
	if err != nil {
		return err
	}
	prover, err := tree.OpenProver(filepath.Join(g.Dir, tree.DirName), log.Reader.Reader)
	if err == nil {
		_, _, _, err = trust.Open([]byte(prover.Signed()))
	}
	if err != nil {
		return exit.Refusedf("the log in %s is not shown to be that of %s: %w", g.Dir, g.Name, err)
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
