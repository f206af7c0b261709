package decisions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

func newAuditShowCommand() *cobra.Command {
	var logs logsFlags
	cmd := &cobra.Command{
		Use:   "show DECISION_ID",
		Short: "Show everything about one decision",
		Long: `Show everything that the log holds about one decision: of a record, of a whole
batch (an id without the last number), of a module's admission, or of a
configuration. With a record's comes who let its modules run: the admission of
each, its author and approvers, and the authority that was in force. Of an
authority (what a gateway served under) come the objects that it names, and
whether each is kept as it was. Ids stand in the errors that producers get and in
audit query.
` + logsHelp,
		Example: `  guardlock audit show gl-5c3a91f0-2k-0
  guardlock audit show gl-5c3a91f0-2k --json
  guardlock audit show gl-5c3a91f0-2k-0 --manifest cluster.yaml`,
		Args: cli.NeedArgs("DECISION_ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return runAuditShow(cmd, &logs, args[0]) },
	}

	logs.register(cmd)
	return cmd
}

func runAuditShow(cmd *cobra.Command, flags *logsFlags, id string) error {
	logs, err := flags.open(cmd)
	if err != nil {
		return err
	}

	defer logs.Close()
	log, d, err := flags.lookUp(cmd.Context(), logs, id)
	if err != nil {
		return err
	}

	admissions, err := log.Admissions(cmd.Context(), d)
	if err != nil {
		return auditError(log.Dir, err)
	}

	all := query.WithAdmissions{Decision: d, Admissions: admissions}
	if d.Batch != nil {
		in, err := log.AuthorityOf(cmd.Context(), d)
		switch {
		case err == nil:
			all.Authority = &in
		case !errors.Is(err, audit.ErrNotFound):
			return auditError(log.Dir, err)
		}
	}

	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), all)
	}
	if err := writeDecision(cmd.OutOrStdout(), d); err != nil {
		return err
	}

	if d.Kind == audit.KindAuthority {
		return writeObjects(cmd.OutOrStdout(), objects.Of(log.Dir), d.Control)
	}

	return errors.Join(writeAdmissions(cmd.OutOrStdout(), all), writeInForce(cmd.OutOrStdout(), all.Authority))
}

func lookUp(ctx context.Context, r *query.Reader, dir, id string) (query.Decision, error) {
	if _, err := audit.ParseDecisionID(id); err != nil {
		return query.Decision{}, exit.WithHint(exit.WithCode(err, exit.Usage), "copy it whole from the producer's error, or from `guardlock audit query`")
	}
	d, err := r.Lookup(ctx, id)
	if errors.Is(err, audit.ErrNotFound) {
		return d, noSuchDecision(id, dir)
	}
	if err != nil {
		return d, auditError(dir, err)
	}

	return d, nil
}

func noSuchDecision(id, where string) error {
	return exit.WithHint(exit.NotFoundf("looking up %s: no such decision in %s", id, where), "the part after gl- names the log: is it another gateway's? What was pruned is gone, too; `guardlock audit verify` says where the log goes on")
}

// fieldWriter prints "name value" lines; empty values are left out.
type fieldWriter struct {
	w   io.Writer
	p   cli.Palette
	err error
}

func (f *fieldWriter) field(name, format string, args ...any) {
	value := fmt.Sprintf(format, args...)
	if f.err != nil || value == "" {
		return
	}
	_, f.err = fmt.Fprintf(f.w, "%s %s\n", f.p.Bold(fmt.Sprintf("%-10s", name)), cli.Printable(value))
}

func writeDecision(w io.Writer, d query.Decision) error {
	f := &fieldWriter{w: w, p: cli.PaletteFor(w)}
	f.field("decision", "%s", d.ID)
	f.field("gateway", "%s", d.Gateway)
	f.field("kind", "%s", d.Kind)
	f.field("time", "%s", d.Time.UTC().Format(time.RFC3339Nano))
	f.field("outcome", "%s", d.Outcome)
	f.field("reason", "%s", d.Reason)

	if d.Control != nil {
		writeControl(f, d.Control)
	}
	if d.Batch != nil {
		writeRecord(f, d)
	}

	return f.err
}

func writeControl(f *fieldWriter, c *audit.ControlEntry) {
	f.field("subject", "%s", c.Subject)
	f.field("module", "%s", moduleText(&c.Module))
	f.field("principal", "%s", c.Principal)
	f.field("revision", "%s", c.Revision)

	if c.Admission != nil {
		writeAdmission(f, c.Admission)
	}
	if c.Loaded != nil {
		writeLoaded(f, c.Loaded)
	}
	if c.Era != nil {
		writeEra(f, c.Era)
	}

	for i := range c.Facts {
		f.field(c.Facts[i].Key, "%s", c.Facts[i].Value)
	}
	for _, s := range c.Steps {
		f.field("  step", "%s: %s  %s", s.Name, s.Verdict, s.Detail)
	}
	writeRedacted(f, c.Redacted)
}

// writeRedacted says what an erasure took out, and for which request.
func writeRedacted(f *fieldWriter, rs audit.Redactions) {
	for i := range rs {
		f.field("redacted", "%s", rs[i].Place.String()+" under request "+rs[i].Request.String())
	}
}

func writeRecord(f *fieldWriter, d query.Decision) {
	b := d.Batch
	f.field("direction", "%s", b.Direction)
	f.field("cluster", "%s", d.Cluster)
	f.field("record", "%s", coordinateText(d.Coordinate))

	if d.Routed != nil {
		f.field("routed to", "%s", coordinateText(*d.Routed))
	}
	f.field("decided by", "%s", moduleText(d.Module))
	f.field("principal", "%s", d.Principal)
	f.field("client", "%s", orDash(d.ClientID)+" from "+orDash(d.Source))
	f.field("tls", "%s", tlsText(d.TLS))
	f.field("tls cert", "%s", d.TLS.Fingerprint)
	writeRedacted(f, d.Redacted)

	for i := range b.Modules {
		f.field("chain", "%d. %s", i+1, moduleText(&b.Modules[i]))
	}
	f.field("policy", "%s", b.PolicyRevision)
	f.field("grant", "%s", b.GrantDigest)
	place := cli.Count(b.Records, "record")

	if d.Index >= 0 {
		place = fmt.Sprintf("record %d of %d", d.Index+1, b.Records)
	}
	f.field("batch", "%s, %s, %d bytes in, %d out, %s", place, b.Outcome, b.BytesIn, b.BytesOut, stateText(b))
	f.field("", "%s", b.Reason)

	if epoch := b.Leader.Number(); epoch >= 0 {
		f.field("", "leader epoch %d", epoch)
	}
	if b.Producer.ProducerID >= 0 {
		f.field("producer", "id %d, epoch %d, sequence %d", b.Producer.ProducerID, b.Producer.ProducerEpoch, b.Producer.BaseSequence)
	}
	if b.HasMAC() {
		f.field("evidence", "%s", b.Evidence)
	}
	if b.Recovered {
		f.field("", "%s", "its offset was found again after a crash")
	}
}

// stateText says how far a batch came, and Kafka's error if that is why.
func stateText(b *query.BatchInfo) string {
	if b.State != query.StateRefused {
		return string(b.State)
	}
	return "not stored: " + b.Error()
}

// tlsText spells version and cipher suite; nothing without TLS.
func tlsText(t audit.TLS) string {
	return strings.TrimSuffix(strings.Join([]string{t.Version, t.Cipher}, ", "), ", ")
}

func moduleText(m *audit.ModuleRef) string {
	if m == nil || m.Name == "" {
		return ""
	}
	if m.Digest == (audit.Digest{}) {
		return m.Name
	}
	return m.Name + "  " + m.Digest.String()
}
