package kafka

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
)

// produceReport tells the user about each record and, at the end, about all of
// them together.
type produceReport struct {
	out, err io.Writer
	topic    string
	json     bool
	progress *cli.Progress
	ok       int
	refused  int
	broken   int
	unsent   int
	decision string // of the first refusal that carried one
}

func newProduceReport(out, err io.Writer, topic string, json bool, size int64) *produceReport {
	return &produceReport{
		out:      out,
		err:      err,
		topic:    topic,
		json:     json,
		progress: cli.NewProgress(err, size),
	}
}

// Reported is a server's explanation. It comes from a closed catalogue and holds
// nothing of the record.
type Reported struct {
	Message  string
	Decision string
}

// decisionID is how the audit room prints the ids of decisions, which an answer
// holds.
var decisionID = regexp.MustCompile(`\bgl-[0-9a-f]{8}-[0-9a-z]{1,13}(-[0-9]+)?\b`)

// NewReported joins what was said about a batch and about the record at index i of
// it. Where the record's own text names no decision, the batch's does, and this
// record's is the same with its index.
func NewReported(batch, record string, i int) Reported {
	s := Reported{Message: record, Decision: decisionID.FindString(record)}
	if s.Message == "" {
		s.Message = batch
	}

	if s.Decision != "" {
		s.Message = strings.TrimSuffix(s.Message, " (decision "+s.Decision+")")
		return s
	}

	s.Decision = decisionID.FindString(batch)
	if id, err := audit.ParseDecisionID(s.Decision); err == nil && record != "" {
		id.Index = i
		s.Decision = id.String()
	}

	return s
}

// produceLine is the JSON form of one record's outcome, on one line.
type produceLine struct {
	Line      int    `json:"line"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    *int64 `json:"offset,omitempty"`
	Error     string `json:"error,omitempty"`
	Message   string `json:"message,omitempty"`
	Decision  string `json:"decision,omitempty"`
}

func (r *produceReport) stored(n numbered) {
	r.ok++
	r.progress.Add(1, len(n.record.Value))
	if r.json {
		l := produceLine{Line: n.line, Topic: r.topic, Partition: n.record.Partition}
		if n.record.Offset >= 0 { // unknown with --acks=none
			l.Offset = &n.record.Offset
		}
		_ = cli.PrintJSONLine(r.out, l)
	}
}

// refuse reports a record that was refused and is not stored, with the cause
// that the server told.
func (r *produceReport) refuse(n numbered, cause Reported) {
	word := "failed"
	if isRefusal(n.err) {
		r.refused++
		word = "refused"
	} else {
		r.broken++
	}

	if r.decision == "" {
		r.decision = cause.Decision
	}
	text := ErrorName(n.err)
	if cause.Message != "" {
		text += ": " + cause.Message
	}
	if cause.Decision != "" && !strings.Contains(cause.Message, cause.Decision) {
		text += " (decision " + cause.Decision + ")"
	}

	r.tell(n, word, text, cause)
}

// held reports a record that nobody objected to, and that was not sent again.
func (r *produceReport) held(n numbered) {
	r.unsent++
	r.tell(n, "not sent", "another record was refused", Reported{Message: "another record was refused"})
}

func (r *produceReport) tell(n numbered, word, text string, cause Reported) {
	if r.json {
		_ = cli.PrintJSONLine(r.out, produceLine{
			Line:      n.line,
			Topic:     r.topic,
			Partition: n.record.Partition,
			Error:     ErrorName(n.err),
			Message:   cause.Message,
			Decision:  cause.Decision,
		})
		return
	}

	r.progress.Clear()
	fmt.Fprintf(r.err, "line %d %s: %s\n", n.line, cli.PaletteFor(r.err).Red(word), cli.Printable(text))
}

// ErrorName is Kafka's name of an error, or the error's text where Kafka has
// none.
func ErrorName(err error) string {
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return k.Message
	}
	return err.Error()
}

func (r *produceReport) failed() int { return r.refused + r.broken }

// finish writes the summary; done is what became of the records that were
// taken. The error carries the exit code.
func (r *produceReport) finish(done string) error {
	r.progress.Finish()
	if !r.json {
		fmt.Fprintf(r.err, "%s %s in topic %s", cli.Count(r.ok, "record"), done, cli.Printable(r.topic))
		for _, part := range []struct {
			n    int
			word string
		}{{r.refused, "refused"}, {r.broken, "failed"}, {r.unsent, "not sent"}} {
			if part.n > 0 {
				fmt.Fprintf(r.err, ", %d %s", part.n, part.word)
			}
		}

		fmt.Fprintln(r.err)
	}

	switch {
	case r.refused > 0:
		err := exit.Refusedf("sending to topic %q: %s refused", r.topic, cli.Count(r.refused, "record"))
		if r.decision != "" {
			err = exit.WithHint(err, "why: `guardlock audit show %s --dir DIR`, on the gateway's host; DIR is audit.dir of its configuration", r.decision)
		}
		return err
	case r.broken > 0:
		return fmt.Errorf("sending to topic %q: %s failed", r.topic, cli.Count(r.broken, "record"))
	}

	return nil
}
