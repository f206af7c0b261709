package decisions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

const auditProveHelp = `Write one file that proves what became of one record: which modules judged it under
whose approval, what they decided, and where the broker stored it. Whoever has the
log's public key (log.key.pub beside the gateway's data) verifies the file with
"guardlock audit verify FILE", offline and without the log.

The record is a place, TOPIC/PARTITION@OFFSET, or the decision's id. A checkpoint of
the log must speak for the decision already: the gateway signs one each ten seconds
(audit.evidence.every).

With --offsets A-B it is about a partition, TOPIC/PARTITION, and the file is a certificate
of the range: each of its offsets has one decision, which modules made it, who let them
run, and under which configuration, policy and trust root. Gateways of a cluster store batches of one partition by turns: give the logs of
all, and the certificate is made of all together. Whoever verifies it needs all their keys.
If an offset has no decision in these logs, or two, there is no certificate, and the error
names the offsets; but what was stored before any of the gateways took its first batch for
the partition is named in it, as those logs say. With --bootstrap brokers are asked what the
others are: a transaction's marker, nothing any more, or no longer kept. The certificate
says what they told, which it does not prove. "guardlock audit reconcile" tells what is left.
With a signed --manifest and --trust-root the certificate encloses the manifest and each of
its logs, so that it shows that none was left out.

With --stamped the file is made with the last checkpoint that a time-stamping authority
(RFC 3161, audit.evidence.timestamp) stamped, and so also proves when the entries were
there at the latest.

With --witnessed it is made with the last checkpoint that every witness of the gateway
(audit.evidence.witnesses) cosigned. The last of all waits for them: a file that is made
with it may not hold for who asks for witnesses.

In the log stand digests of principal, client id, source and certificate. The file
tells what is behind them, unless --redacted leaves that out; it proves the rest all
the same.
` + logsHelp

type auditProveCommand struct {
	logs     logsFlags
	cluster  string
	out      string
	offsets  string
	redacted bool
	client   kafka.ClientFlags

	stamped   bool
	witnessed bool
}

func newAuditProveCommand() *cobra.Command {
	var c auditProveCommand
	cmd := &cobra.Command{
		Use:   "prove TOPIC/PARTITION@OFFSET | DECISION_ID | TOPIC/PARTITION --offsets A-B",
		Short: "Write a file that proves what became of a record, or of each in a range",
		Long:  auditProveHelp,
		Example: `  guardlock audit prove customers/1@3380 -o 3380.evidence.json
  guardlock audit prove gl-5c3a91f0-2k-0 --redacted
  guardlock audit prove customers/1 --offsets 0-999999 -o customers-1.range.json
  guardlock audit prove customers/1 --offsets 0-999999 --manifest cluster.yaml --trust-root trust.yaml
  guardlock audit verify 3380.evidence.json --log-key data/log.key.pub`,
		Args: cli.NeedArgs("TOPIC/PARTITION@OFFSET or DECISION_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("offsets") {
				return c.runRange(cmd, args[0])
			}
			if partitionShape.MatchString(args[0]) {
				return exit.WithHint(exit.Usagef("proving %s: it is a partition: which of its records?", args[0]),
					"%s@OFFSET proves one record, %s --offsets A-B each in a range", args[0], args[0])
			}
			return c.run(cmd, args[0])
		},
	}

	c.logs.register(cmd)
	c.client.Register(cmd)
	cmd.Flags().StringVar(&c.cluster, "cluster", "", "the place is in this `NAME` of the configuration's clusters")
	cmd.Flags().StringVarP(&c.out, "output", "o", "", "`FILE` to write; it must not be there yet (default: the record's place, with .evidence.json)")
	cmd.Flags().StringVar(&c.offsets, "offsets", "", "prove each offset from `A-B`, both included, of TOPIC/PARTITION")
	cmd.Flags().BoolVar(&c.stamped, "stamped", false, "use the last checkpoint that has a time stamp (audit.evidence.timestamp)")
	cmd.Flags().BoolVar(&c.witnessed, "witnessed", false, "use the last checkpoint that every witness cosigned (audit.evidence.witnesses)")
	cmd.Flags().BoolVar(&c.redacted, "redacted", false, "do not tell who produced the record")

	return cmd
}

// prover makes files with the checkpoint that the flags ask for.
func (c *auditProveCommand) prover(log query.Log) (*tree.Prover, error) {
	open := tree.OpenProver
	switch {
	case c.stamped && c.witnessed:
		return nil, exit.Usagef("--stamped and --witnessed name two checkpoints: give one of them, and make a second file with the other")
	case c.stamped:
		open = tree.OpenStampedProver
	case c.witnessed:
		open = tree.OpenWitnessedProver
	}
	return open(filepath.Join(log.Dir, tree.DirName), log.Reader.Reader)
}

// proved is what --json prints.
type proved struct {
	File       string           `json:"file"`
	Bytes      int              `json:"bytes"`
	DecisionID audit.DecisionID `json:"decision_id"`
	Gateway    string           `json:"gateway,omitempty"`
	Record     evidence.Record  `json:"record"`
	Origin     string           `json:"log"`
	Entries    int64            `json:"entries"` // that the checkpoint speaks for
}

func (c *auditProveCommand) run(cmd *cobra.Command, what string) error {
	ctx := cmd.Context()
	logs, err := c.logs.open(cmd)
	if err != nil {
		return err
	}

	defer logs.Close()
	log, d, err := c.find(ctx, logs, what)
	if err != nil {
		return err
	}

	w, err := c.wanted(ctx, log, d, what)
	if err != nil {
		return fmt.Errorf("proving %s: %w", what, err)
	}

	p, err := c.prover(log)
	if err != nil {
		return proveError(what, err)
	}

	f, err := p.Prove(ctx, w)
	if err != nil {
		return proveError(what, err)
	}

	b, err := f.Encode()
	if err != nil {
		return err
	}

	path := c.out
	if path == "" {
		path = fmt.Sprintf("%s-%d-%d.evidence.json", w.Record.Topic, w.Record.Partition, w.Record.Offset)
	}
	if err := disk.Create(path, b, 0o644); err != nil {
		return fmt.Errorf("writing evidence: %w", err)
	}

	return c.report(cmd, log.Reader, d, proved{
		File:       path,
		Bytes:      len(b),
		DecisionID: d.ID,
		Gateway:    d.Gateway,
		Record:     w.Record,
		Origin:     p.Checkpoint().Origin,
		Entries:    p.Checkpoint().Size,
	})
}

func (c *auditProveCommand) report(cmd *cobra.Command, r *query.Reader, d query.Decision, p proved) error {
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), p)
	}
	f := &fieldWriter{w: cmd.OutOrStdout(), p: cli.PaletteFor(cmd.OutOrStdout())}
	by := ""

	if d.Module != nil {
		by = " by " + d.Module.Name
	}
	if d.Reason != "" {
		by += " (" + d.Reason + ")"
	}

	f.field("proves", "%s/%d@%d: %s%s, decided %s", p.Record.Topic, p.Record.Partition, p.Record.Offset, d.Outcome, by, d.Time.UTC().Format(time.RFC3339Nano))
	f.field("file", "%s, %s", p.File, humanize.Bytes(uint64(p.Bytes)))
	f.field("gateway", "%s", p.Gateway)
	f.field("log", "%s, checkpoint of %s entries", p.Origin, humanize.Comma(p.Entries))
	return errors.Join(sayLink(cmd.Context(), f, r), f.err)
}

var placeShape = regexp.MustCompile(`^([a-zA-Z0-9._-]+)/([0-9]+)@([0-9]+)$`)

// find looks up the decision that a place or an id names.
func (c *auditProveCommand) find(ctx context.Context, logs query.Logs, what string) (log query.Log, d query.Decision, err error) {
	place := placeShape.FindStringSubmatch(what)
	if place == nil {
		return c.logs.lookUp(ctx, logs, what)
	}

	partition, err := strconv.ParseInt(place[2], 10, 32)
	if err != nil {
		return log, d, exit.Usagef("proving %s: %s is no partition", what, place[2])
	}

	offset, err := strconv.ParseInt(place[3], 10, 64)
	if err != nil {
		return log, d, exit.Usagef("proving %s: %s is no offset", what, place[3])
	}

	p := int32(partition)
	f := query.Filter{
		Cluster:   c.cluster,
		Topics:    []string{place[1]},
		Partition: &p,
		Offset:    &offset,
		Reverse:   true,
	}
	for d, err := range logs.Query(ctx, f, nil) {
		if err != nil {
			return log, d, c.logs.failed(err)
		}
		log, _ = logs.Of(d.ID.Node)
		return log, d, nil
	}

	return log, d, exit.WithHint(exit.NotFoundf("proving %s: the log in %s knows of no record there", what, c.logs.names()),
		"was it produced through another gateway, or before this one? `guardlock audit query -t %s` lists decisions", place[1])
}

// wanted names the entries that tell the record's story.
func (c *auditProveCommand) wanted(ctx context.Context, log query.Log, d query.Decision, what string) (tree.Wanted, error) {
	at := d.Coordinate
	w := tree.Wanted{Decision: d.ID.Seq, Names: !c.redacted, Approvals: tree.ApprovalsOf(log.Dir)}
	if d.Routed != nil && !strings.HasPrefix(what, at.Topic+"/") { // else its placeholder is meant
		at = *d.Routed
		w.Route = at.Topic
	}

	switch {
	case d.Batch == nil:
		return w, exit.Usagef("it is about no record, but about %s", d.Kind)
	case d.ID.Index < 0:
		return w, exit.WithHint(exit.Usagef("%s is a whole batch", d.ID), "name one record of it: %s-0 is its first", d.ID)
	case at.Offset < 0:
		return w, exit.NotFoundf("its batch is not known to be stored (%s): there is a decision, and no record", stateText(d.Batch))
	}

	w.Record = evidence.Record{
		Cluster:   at.Cluster,
		Topic:     at.Topic,
		Partition: uint32(at.Partition),
		Offset:    at.Offset,
	}

	admissions, err := log.Admissions(ctx, d)
	if err != nil {
		return w, auditError(log.Dir, err)
	}
	if len(admissions) != len(d.Batch.Modules) {
		return w, exit.NotFoundf("the log no longer holds who let its modules run: that part was pruned")
	}

	for i := range admissions {
		w.Admissions = append(w.Admissions, admissions[i].ID.Seq)
	}

	in, err := log.AuthorityOf(ctx, d)
	switch {
	case errors.Is(err, audit.ErrNotFound): // the log is older than authorities, or was pruned
	case err != nil:
		return w, auditError(log.Dir, err)
	default:
		w.Authority = in.ID.Seq
	}
	return w, nil
}

func proveError(what string, err error) error {
	err = fmt.Errorf("proving %s: %w", what, err)
	switch {
	case exit.Unanswered(err):
		return exit.WithHint(err, unread)
	case errors.Is(err, tree.ErrIncomplete):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "`guardlock audit reconcile` tells what is there; decisions of the last seconds are provable with the next checkpoint")
	case errors.Is(err, tree.ErrNotCommitted):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "try again in a moment: the gateway signs a checkpoint every ten seconds, or as audit.evidence.every says; one with a time stamp each hour, or as audit.evidence.timestamp.every says")
	case errors.Is(err, tree.ErrNoStamp):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "set audit.evidence.timestamp; the first stamp is asked for with the next checkpoint")
	case errors.Is(err, tree.ErrNotWitnessed):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "set audit.evidence.witnesses; where that is set, `guardlock status` says which of them does not answer")
	case errors.Is(err, tree.ErrNoTree), errors.Is(err, os.ErrNotExist):
		return exit.WithHint(exit.WithCode(err, exit.NotFound), "a gateway of this version makes it, beside the log that it writes, within audit.evidence.every")
	case errors.Is(err, audit.ErrNotFound), errors.Is(err, audit.ErrPruned):
		return exit.WithCode(err, exit.NotFound)
	case errors.Is(err, tree.ErrDamaged), errors.Is(err, audit.ErrCorrupt):
		return exit.WithHint(exit.WithCode(err, exit.Refused), "keep the files as they are, and compare them with a copy")
	}

	return err
}
