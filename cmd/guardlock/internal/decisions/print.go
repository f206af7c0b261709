package decisions

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
)

// decisionPrinter writes decisions as they come, in columns of fixed width: a
// log may be long, and a follower cannot wait to align.
type decisionPrinter struct {
	w       *bufio.Writer
	p       cli.Palette
	format  string
	wide    bool // room for long names, and what a connection was
	gateway int  // width of the column that says whose log it is; 0 without
	columns []query.Column
	printed int
}

// decisionTime is to the millisecond; secondsTime is what fits a line.
const (
	decisionTime = "2006-01-02T15:04:05.000Z"
	secondsTime  = "2006-01-02T15:04:05Z"
)

// Lines are at most 120 columns, unless a name is long; wide ones are not.
const (
	decisionFormat = "%-20s  %s  %-20s  %-8s  %-21s  %-12s  %s\n"
	wideFormat     = "%-24s  %s  %-26s  %-16s  %-26s  %-16s  %-12s  %s\n"
	outcomeWidth   = 11
)

func (o *decisionPrinter) flush() error { return o.w.Flush() }

func (o *decisionPrinter) print(d query.Decision) error {
	o.printed++
	switch o.format {
	case formatJSONLines:
		return cli.PrintJSONLine(o.w, d)
	case formatJSON:
		return o.element(d)
	case formatCSV:
		return o.csv(&d)
	}

	if o.printed == 1 {
		header := o.line("GATEWAY", "TIME", fmt.Sprintf("%-*s", outcomeWidth, "OUTCOME"), "WHAT", "MODULE", "REASON", "PRINCIPAL", "TLS", "DECISION")
		if _, err := o.w.WriteString(o.p.Bold(strings.TrimSuffix(header, "\n")) + "\n"); err != nil {
			return err
		}
	}

	module := "-"
	if d.Module != nil {
		module = d.Module.Name
	}

	at := secondsTime
	if o.wide {
		at = decisionTime
	}

	_, err := o.w.WriteString(o.line(cli.Printable(d.Gateway), d.Time.UTC().Format(at), outcomeText(o.p, d.Outcome), cli.Printable(whatOf(d)), cli.Printable(module),
		cli.Printable(orDash(reasonOf(&d))), cli.Printable(orDash(d.Principal)), cli.Printable(orDash(tlsBrief(d.TLS))), d.ID.String()))
	return err
}

// reasonOf is why a row is as it is: for what is not stored, Kafka's error.
func reasonOf(d *query.Decision) string {
	if d.Outcome == query.NotStored {
		return d.Batch.Error()
	}
	return d.Reason
}

// line puts cells into their columns. The first, the gateway, is there where there are
// several; TLS is on wide lines only.
func (o *decisionPrinter) line(gateway, at, outcome, what, module, reason, principal, tls, decision string) string {
	if o.gateway > 0 {
		at = fmt.Sprintf("%-*s  %-*s", o.gateway, gateway, o.timeWidth(), at)
	}
	if o.wide {
		return fmt.Sprintf(wideFormat, at, outcome, what, module, reason, principal, tls, decision)
	}
	return fmt.Sprintf(decisionFormat, at, outcome, what, module, reason, principal, decision)
}

func (o *decisionPrinter) timeWidth() int {
	if o.wide {
		return len(decisionTime)
	}
	return len(secondsTime)
}

// tlsBrief spells the version and how the fingerprint of the client's
// certificate begins: 1.3/5f3a91c2.
func tlsBrief(t audit.TLS) string {
	brief := strings.TrimPrefix(t.Version, "TLS ")
	if f := t.Fingerprint.String(); f != "" {
		brief += "/" + f[:8]
	}
	return brief
}

// outcomeText pads before it colours: codes have no width.
func outcomeText(p cli.Palette, outcome string) string {
	padded := fmt.Sprintf("%-*s", outcomeWidth, cli.Printable(outcome))
	switch outcome {
	case "passed", "allowed", "applied", audit.EraBegun, audit.ReconciledComplete:
		return p.Green(padded)
	case "modified", "dropped", "routed":
		return p.Yellow(padded)
	case "-", "":
		return padded
	}

	return p.Red(padded)
}

// whatOf is what a row is about: a record's place, a batch, or a subject.
func whatOf(d query.Decision) string {
	if d.Control != nil && d.Control.Era != nil {
		return d.Kind.String() + " " + eraText(d.Control.Era)
	}
	if d.Control != nil {
		return d.Kind.String() + " " + d.Control.Subject
	}
	place := coordinateText(d.Coordinate)
	if d.Count > 1 {
		place += fmt.Sprintf(" (%d)", d.Count)
	}

	return place
}

// coordinateText spells topic/partition@offset; the offset is left out where
// the record has none.
func coordinateText(c query.Coordinate) string {
	place := fmt.Sprintf("%s/%d", topicText(c.Cluster, c.Topic), c.Partition)
	if c.Offset < 0 {
		return place
	}
	return fmt.Sprintf("%s@%d", place, c.Offset)
}

// topicText spells cluster:topic, without the cluster that a configuration of
// one has.
func topicText(cluster, topic string) string {
	if cluster == config.MainCluster {
		return topic
	}
	return cluster + ":" + topic
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
