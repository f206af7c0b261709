package decisions

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

func newAuditSummaryCommand() *cobra.Command {
	var filter auditFilterFlags
	cmd := &cobra.Command{
		Use:   "summary",
		Short: "Count decisions by outcome, module, reason and topic",
		Long:  "Count decisions by outcome, module, reason and topic.\n" + auditFilterHelp,
		Example: `  guardlock audit summary
  guardlock audit summary --topic payments --from 1d --json
  guardlock audit summary --dir gw-a/audit --dir gw-b/audit`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := filter.filter(cmd, time.Now())
			if err != nil {
				return err
			}

			logs, err := filter.logs.open(cmd)
			if err != nil {
				return err
			}

			defer logs.Close()
			totals, err := logs.Summarize(cmd.Context(), f)
			if err != nil {
				return filter.logs.failed(err)
			}
			if err := filter.logs.unseen(cmd.Context(), logs, f, totals.Decisions+totals.Controls > 0); err != nil {
				return err
			}
			if cli.WantsJSON(cmd) {
				return cli.PrintJSON(cmd.OutOrStdout(), totals)
			}

			return writeTotals(cmd.OutOrStdout(), totals)
		},
	}

	filter.register(cmd)
	return cmd
}

func writeTotals(w io.Writer, t query.Totals) error {
	fmt.Fprintf(w, "%s records in %s batches, %s other entries\n", humanize.Comma(t.Decisions), humanize.Comma(t.Batches), humanize.Comma(t.Controls))
	for _, part := range []struct {
		title  string
		counts map[string]int64
	}{{"OUTCOME", t.Outcomes}, {"MODULE", t.Modules}, {"REASON", t.Reasons}, {"TOPIC", topicCounts(t.Topics)}} {
		if len(part.counts) == 0 {
			continue
		}
		fmt.Fprintln(w)
		rows := cli.NewTable(part.title, "RECORDS")
		for _, name := range byCount(part.counts) {
			rows.Add(orDash(name), humanize.Comma(part.counts[name]))
		}

		if err := rows.Write(w); err != nil {
			return err
		}
	}

	return nil
}

// topicCounts names each topic as the other commands do.
func topicCounts(byCluster map[string]map[string]int64) map[string]int64 {
	counts := make(map[string]int64)
	for cluster, topics := range byCluster {
		for topic, n := range topics {
			counts[topicText(cluster, topic)] += n
		}
	}
	return counts
}

// byCount orders names by their counts, the largest first.
func byCount(counts map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}
