package query

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/guardlock/guardlock/audit"
)

// Column is one column of rows in a flat format: a text, or a number. None holds
// anything of a record.
type Column struct {
	Name   string
	Text   func(*Decision) string // nil for a number
	Number func(*Decision) (n int64, ok bool)
}

// TimeColumn is the number column that holds microseconds since 1970.
const TimeColumn = "time_us"

// Columns are those of every flat format, in their order. New ones come behind.
func Columns() []Column {
	return slices.Concat(whereColumns(), whatColumns(), whoColumns(), routeColumns(), batchColumns())
}

func whereColumns() []Column {
	return []Column{
		text("gateway", func(d *Decision) string { return d.Gateway }),
		text("decision_id", func(d *Decision) string { return d.ID.String() }),
		text("kind", func(d *Decision) string { return d.Kind.String() }),
		number(TimeColumn, func(d *Decision) (int64, bool) { return d.Time.UnixMicro(), true }),
		text("time", func(d *Decision) string { return d.Time.UTC().Format(time.RFC3339Nano) }),
		text("cluster", func(d *Decision) string { return d.Cluster }),
		text("topic", func(d *Decision) string { return d.Topic }),
		number("partition", func(d *Decision) (int64, bool) { return int64(d.Partition), d.Batch != nil }),
		number("first_offset", func(d *Decision) (int64, bool) { return d.Offset, d.Offset >= 0 }),
		number("records", func(d *Decision) (int64, bool) { return int64(d.Count), d.Batch != nil }),
	}
}

func whatColumns() []Column {
	return []Column{
		text("outcome", func(d *Decision) string { return d.Outcome }),
		text("reason", func(d *Decision) string { return d.Reason }),
		text("module", (*Decision).moduleName),
		text("module_digest", func(d *Decision) string { return moduleDigest(d.Module) }),
		text("policy_revision", (*Decision).policy),
		text("grant_digest", (*Decision).grant),
		text("subject", (*Decision).subject),
	}
}

func whoColumns() []Column {
	return []Column{
		text("principal", func(d *Decision) string { return d.Principal }),
		text("client_id", func(d *Decision) string { return d.ClientID }),
		text("source", func(d *Decision) string { return d.Source }),
		text("tls_fingerprint", (*Decision).fingerprint),
	}
}

func routeColumns() []Column {
	return []Column{
		text("routed_topic", func(d *Decision) string { return d.route().Topic }),
		number("routed_partition", func(d *Decision) (int64, bool) { return int64(d.route().Partition), d.route().Partition >= 0 }),
		number("routed_offset", func(d *Decision) (int64, bool) { return d.route().Offset, d.route().Offset >= 0 }),
	}
}

func batchColumns() []Column {
	return []Column{
		number("batch", func(d *Decision) (int64, bool) { return int64(d.ID.Seq), true }),
		number("index", func(d *Decision) (int64, bool) { return int64(d.Index), d.Index >= 0 }),
		text("state", (*Decision).state),
		ofBatchText("direction", func(b *BatchInfo) string { return b.Direction.String() }),
		ofBatchText("error", (*BatchInfo).Error),
		ofBatchText("topic_id", (*BatchInfo).topicID),
		ofBatchNumber("bytes_in", func(b *BatchInfo) int { return b.BytesIn }),
		ofBatchNumber("bytes_out", func(b *BatchInfo) int { return b.BytesOut }),
	}
}

func text(name string, value func(*Decision) string) Column { return Column{Name: name, Text: value} }

func number(name string, value func(*Decision) (int64, bool)) Column {
	return Column{Name: name, Number: value}
}

func ofBatchText(name string, value func(*BatchInfo) string) Column {
	return text(name, func(d *Decision) string {
		if d.Batch == nil {
			return ""
		}
		return value(d.Batch)
	})
}

func ofBatchNumber(name string, value func(*BatchInfo) int) Column {
	return number(name, func(d *Decision) (int64, bool) {
		if d.Batch == nil {
			return 0, false
		}
		return int64(value(d.Batch)), true
	})
}

func moduleDigest(m *audit.ModuleRef) string {
	if m == nil {
		return ""
	}
	return m.Digest.String()
}

func (b *BatchInfo) topicID() string {
	if b.TopicID == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(b.TopicID[:])
}

// fingerprint is that of the client's certificate, or what is shown in its place.
func (d *Decision) fingerprint() string {
	if r := d.Redacted.Of(audit.PlaceCertificate); r != nil {
		return r.String()
	}
	return d.TLS.Fingerprint.String()
}

// route is where the record went that is no longer where it was sent to.
func (d *Decision) route() Coordinate {
	if d.Routed == nil {
		return Coordinate{Partition: -1, Offset: -1}
	}
	return *d.Routed
}

func (d *Decision) subject() string {
	if d.Control == nil {
		return ""
	}
	return d.Control.Subject
}

// CSV are the cells of a row. No text of a client's can begin a formula of a
// spreadsheet, or another line.
func CSV(columns []Column, d *Decision) []string {
	cells := make([]string, len(columns))
	for i, c := range columns {
		if c.Text != nil {
			cells[i] = Cell(c.Text(d))
		} else if n, ok := c.Number(d); ok {
			cells[i] = strconv.FormatInt(n, 10)
		}
	}

	return cells
}

// Cell makes a text safe in a spreadsheet: what would begin a formula gets an
// apostrophe before it, and control characters are spelled as \u000a.
func Cell(s string) string {
	if strings.ContainsFunc(s, unprintable) {
		var b strings.Builder
		for _, r := range s {
			if unprintable(r) {
				b.WriteString(`\u` + fmt.Sprintf("%04x", r))
				continue
			}
			b.WriteRune(r)
		}
		s = b.String()
	}

	if begin := strings.TrimLeft(s, " \u00a0"); begin != "" && strings.ContainsRune("=+-@|%＝＋－＠", []rune(begin)[0]) {
		return "'" + s
	}
	return s
}

// unprintable reports whether a character may end a line or is seen by nobody.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Cf, r)
}
