package decisions

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

// NewWhyCommand is for those who produce: most clients show them an error's code
// and nothing else.
func NewWhyCommand() *cobra.Command {
	var logs logsFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "why DECISION_ID | TOPIC/PARTITION",
		Short: "Say why a record was refused, in words for those who sent it",
		Long: `Say why a record was refused: the reason, the module that gave it, and what it
means. Most clients show only an error's code. With the decision's id, which
stands in the gateway's log and in the error where a client shows it, that one is
explained. With a topic and partition, the latest refusals there are.

Nothing of a record is shown, since the log holds nothing of it.
` + logsHelp,
		Example: `  guardlock why gl-5c3a91f0-2k-0
  guardlock why payments/0 --dir /var/lib/guardlock/audit`,
		Args: cli.NeedArgs("DECISION_ID"),
		RunE: func(cmd *cobra.Command, args []string) error { return runWhy(cmd, &logs, args[0], limit) },
	}

	logs.register(cmd)
	cmd.Flags().IntVarP(&limit, "limit", "n", 5, "explain this `NUMBER` of refusals at most")
	cli.Once(cmd)
	return cmd
}

func runWhy(cmd *cobra.Command, flags *logsFlags, subject string, limit int) error {
	topic, partition, byPlace, err := parsePlace(subject)
	if err != nil {
		return err
	}

	logs, err := flags.open(cmd)
	if err != nil {
		return err
	}

	defer logs.Close()

	var found []query.Decision
	if byPlace {
		found, err = refusals(cmd.Context(), logs, query.Filter{
			Topics:    []string{topic},
			Partition: &partition,
			Reverse:   true,
			ByBatch:   true,
		}, limit)
	} else {
		var d query.Decision
		_, d, err = flags.lookUp(cmd.Context(), logs, subject)
		found = []query.Decision{d}
	}

	if err != nil {
		return err
	}
	if len(found) == 0 {
		return exit.NotFoundf("looking for refusals: none of %s in %s", subject, flags.names())
	}

	explained, err := explainAll(cmd.Context(), logs, found)
	if err != nil {
		return err
	}
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), explained)
	}

	return writeWhy(cmd.OutOrStdout(), explained)
}

// parsePlace reads TOPIC/PARTITION; a decision's id holds no slash.
func parsePlace(s string) (topic string, partition int32, ok bool, err error) {
	at := strings.LastIndexByte(s, '/')
	if at < 0 {
		return "", 0, false, nil
	}

	n, err := strconv.ParseInt(s[at+1:], 10, 32)
	if err != nil || n < 0 || at == 0 {
		return "", 0, false, exit.WithHint(exit.Usagef("why %q: neither a decision's id nor TOPIC/PARTITION", s), "for example: guardlock why payments/0")
	}
	return s[:at], int32(n), true, nil
}

// refusals are the latest batches that are stored nowhere.
func refusals(ctx context.Context, logs query.Logs, f query.Filter, limit int) ([]query.Decision, error) {
	var found []query.Decision
	for d, err := range logs.Query(ctx, f, nil) {
		if err != nil {
			return nil, fmt.Errorf("reading the decision log: %w", err)
		}
		if refused(&d) {
			found = append(found, d)
		}
		if len(found) >= limit {
			break
		}
	}

	return found, nil
}

func refused(d *query.Decision) bool {
	return d.Batch != nil && (!d.Batch.Outcome.Forwards() || d.Batch.State == query.StateRefused)
}

type why struct {
	Decision string `json:"decision_id"`
	Gateway  string `json:"gateway,omitempty"`
	Time     string `json:"time"`
	Outcome  string `json:"outcome"`
	Topic    string `json:"topic,omitempty"`
	Module   string `json:"module,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Meaning  string `json:"meaning,omitempty"`

	Suspension *suspension `json:"suspension,omitempty"`
}

func explainAll(ctx context.Context, logs query.Logs, found []query.Decision) ([]why, error) {
	out := make([]why, len(found))
	for i := range found {
		d := &found[i]
		out[i] = why{
			Decision: fmt.Sprint(d.ID),
			Gateway:  d.Gateway,
			Time:     d.Time.UTC().Format(time.RFC3339),
			Outcome:  d.Outcome,
			Reason:   d.Reason,
		}

		if d.Batch != nil {
			out[i].Topic = coordinateText(d.Coordinate)
		}
		if d.Module != nil {
			out[i].Module = d.Module.Name
		}
		// A batch that failed as a whole has its reason there.
		if out[i].Reason == "" && d.Batch != nil {
			out[i].Reason = d.Batch.Reason
		}

		switch {
		case d.Outcome == query.NotStored:
			out[i].Reason = d.Batch.Error()
			out[i].Meaning = notStoredMeaning
		case out[i].Reason != "":
			out[i].Meaning = explain(out[i].Reason)
		}

		var err error
		log, _ := logs.Of(d.ID.Node)
		if out[i].Suspension, err = suspensionOf(ctx, log.Reader, d); err != nil {
			return nil, fmt.Errorf("reading the decision log: %w", err)
		}
	}

	return out, nil
}

func writeWhy(w io.Writer, found []why) error {
	f := &fieldWriter{w: w, p: cli.PaletteFor(w)}
	for i, y := range found {
		if i > 0 && f.err == nil {
			_, f.err = fmt.Fprintln(w)
		}
		f.field("decision", "%s", y.Decision)
		f.field("gateway", "%s", y.Gateway)
		f.field("time", "%s", y.Time)
		f.field("record", "%s", y.Topic)
		f.field("outcome", "%s", y.Outcome)
		f.field("decided by", "%s", y.Module)
		f.field("reason", "%s", y.Reason)
		f.field("", "%s", y.Meaning)

		if s := y.Suspension; s != nil {
			f.field("suspended", "%s: module %s, %s (%s)", s.Since, s.Module, s.Cause, s.Decision)
		}
	}

	return f.err
}
