package decisions

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
)

// decisionPrinter writes decisions as they come, in columns of fixed width: a
// log may be long, and a follower cannot wait to align.
type decisionPrinter struct {
	w       *bufio.Writer
	p       cli.Palette
	json    bool
	printed int
}

const (
	decisionTime   = "2006-01-02T15:04:05.000Z"
	decisionFormat = "%-24s  %s  %-26s  %-16s  %-26s  %-16s  %-12s  %s\n"
)

func newDecisionPrinter(w io.Writer, json bool) *decisionPrinter {
	return &decisionPrinter{w: bufio.NewWriter(w), p: cli.PaletteFor(w), json: json}
}

func (o *decisionPrinter) flush() error { return o.w.Flush() }

func (o *decisionPrinter) print(d audit.Decision) error {
	o.printed++
	if o.json {
		return cli.PrintJSONLine(o.w, d)
	}
	if o.printed == 1 {
		header := fmt.Sprintf(decisionFormat, "TIME", fmt.Sprintf("%-13s", "OUTCOME"), "WHAT", "MODULE", "REASON", "PRINCIPAL", "TLS", "DECISION")
		if _, err := o.w.WriteString(o.p.Bold(strings.TrimSuffix(header, "\n")) + "\n"); err != nil {
			return err
		}
	}
	module := "-"
	if d.Module != nil {
		module = d.Module.Name
	}
	_, err := fmt.Fprintf(o.w, decisionFormat, d.Time.UTC().Format(decisionTime), outcomeText(o.p, d.Outcome), cli.Printable(whatOf(d)),
		cli.Printable(module), cli.Printable(orDash(d.Reason)), cli.Printable(orDash(d.Principal)),
		cli.Printable(orDash(tlsBrief(d.TLS))), d.ID)
	return err
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
	padded := fmt.Sprintf("%-13s", cli.Printable(outcome))
	switch outcome {
	case "passed", "allowed", "applied":
		return p.Green(padded)
	case "modified", "dropped", "routed":
		return p.Yellow(padded)
	case "-", "":
		return padded
	}
	return p.Red(padded)
}

// whatOf is what a row is about: a record's place, a batch, or a subject.
func whatOf(d audit.Decision) string {
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
func coordinateText(c audit.Coordinate) string {
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
