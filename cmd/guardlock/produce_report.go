package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// produceReport tells the user about each record and, at the end, about all.
type produceReport struct {
	out, err io.Writer
	topic    string
	json     bool
	progress *progress
	ok       int
	refused  int
	broken   int
	decision string // of the first refusal that carried one
}

func newProduceReport(out, err io.Writer, topic string, json bool, size int64) *produceReport {
	return &produceReport{out: out, err: err, topic: topic, json: json, progress: newProgress(err, size)}
}

// produceLine is the JSON form of one record's fate.
type produceLine struct {
	Line      int    `json:"line"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    *int64 `json:"offset,omitempty"`
	Error     string `json:"error,omitempty"`
	Message   string `json:"message,omitempty"`
	Decision  string `json:"decision,omitempty"`
}

// decisionID is how decisions are printed by the audit room.
var decisionID = regexp.MustCompile(`\bgl-[0-9a-f]{8}-[0-9a-z]{1,13}(-[0-9]+)?\b`)

func (r *produceReport) stored(n numbered) {
	r.ok++
	r.progress.add(1, len(n.record.Value))
	if r.json {
		l := produceLine{Line: n.line, Topic: r.topic, Partition: n.record.Partition}
		if n.record.Offset >= 0 { // unknown with --acks=none
			l.Offset = &n.record.Offset
		}
		_ = printJSONLine(r.out, l)
	}
}

// refuse reports a record that is not stored. The message is the server's and
// comes from a closed catalogue: it holds nothing of the record.
func (r *produceReport) refuse(n numbered, message string) {
	word := "failed"
	if isRefusal(n.err) {
		r.refused++
		word = "refused"
	} else {
		r.broken++
	}
	name := errorName(n.err)
	decision := decisionID.FindString(message)
	if r.decision == "" {
		r.decision = decision
	}
	if r.json {
		_ = printJSONLine(r.out, produceLine{Line: n.line, Topic: r.topic, Partition: n.record.Partition, Error: name, Message: message, Decision: decision})
		return
	}
	r.progress.clear()
	p := paletteFor(r.err)
	if message != "" {
		name += ": " + message
	}
	fmt.Fprintf(r.err, "line %d %s: %s\n", n.line, p.red(word), printable(name))
}

func errorName(err error) string {
	if k, ok := errors.AsType[*kerr.Error](err); ok {
		return k.Message
	}
	return err.Error()
}

func (r *produceReport) failed() int { return r.refused + r.broken }

// finish writes the summary; done is what became of the records that were
// taken. The error carries the exit code.
func (r *produceReport) finish(done string) error {
	r.progress.finish()
	if !r.json {
		fmt.Fprintf(r.err, "%s %s in topic %s", count(r.ok, "record"), done, printable(r.topic))
		if r.failed() > 0 {
			fmt.Fprintf(r.err, ", %d not", r.failed())
		}
		fmt.Fprintln(r.err)
	}
	switch {
	case r.refused > 0:
		err := refusedf("sending to topic %q: %s refused", r.topic, count(r.refused, "record"))
		if r.decision != "" {
			err = withHint(err, "why: `guardlock audit show %s`", r.decision)
		}
		return err
	case r.broken > 0:
		return fmt.Errorf("sending to topic %q: %s failed", r.topic, count(r.broken, "record"))
	}
	return nil
}

// count is a number with its noun.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "ch"):
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
