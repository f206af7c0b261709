package decisions

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// writeAdmissions says who let the modules of a row's batch run.
func writeAdmissions(w io.Writer, d query.WithAdmissions) error {
	if d.Batch == nil || len(d.Batch.Modules) == 0 {
		return nil
	}

	f := &fieldWriter{w: w, p: cli.PaletteFor(w)}
	if len(d.Admissions) == 0 && d.Batch.Outcome.Forwards() {
		f.field("admitted", "%s", "the log does not hold the admission: the part of it that did may have been removed")
	}

	for i := range d.Admissions {
		found := &d.Admissions[i]
		f.field("admitted", "%s  %s at %s", found.Control.Module.Name, found.ID, found.Control.Subject)
		if found.Control.Admission != nil {
			writeWho(f, found.Control.Admission)
			for _, s := range found.Control.Tables() {
				f.field("table", "%s", s.Detail)
			}
			continue
		}

		for _, s := range found.Control.Steps { // a log from before this had fields
			if s.Name == "author" || s.Name == "approvals" {
				f.field("", "%s", s.Detail)
			}
		}
	}

	return f.err
}

// writeWho says who vouched for a module, and until when.
func writeWho(f *fieldWriter, a *audit.Admission) {
	if a.Author.Identity != "" {
		f.field("author", "%s", facts(a.Author.Identity, "key", a.Author.KeyID, "key until", day(a.Author.KeyUntil)))
	}
	for i := range a.Approvals {
		p := &a.Approvals[i]
		f.field("approved", "%s", facts("by "+p.Approver, "until", day(p.Until), "ticket", p.Ticket, "key", p.KeyID, "key until", day(p.KeyUntil)))
		f.field("", "%s", facts("", "approval", p.ID))
	}

	if a.Threshold > 0 {
		f.field("", "%s", cli.Count(a.Threshold, "approval")+" needed by the trust root; policy may ask for more")
	}
}

// writeAdmission says what a module was judged by.
func writeAdmission(f *fieldWriter, a *audit.Admission) {
	g := &a.Grant
	f.field("cluster", "%s", a.Cluster)
	f.field("topics", "%s", strings.Join(a.Topics, ", "))
	f.field("config", "%s", a.Config)
	writeWho(f, a)
	f.field("trust root", "%s", a.TrustRoot)
	f.field("grant", "%s", g.Digest)
	f.field("", "%s", facts("", "from", day(g.From), "until", day(g.Until)))

	for _, list := range []struct {
		name  string
		items []string
	}{{"topics", g.Topics}, {"functions", g.Functions}, {"keys", g.Keys}, {"routes", g.Routes}, {"audience", g.Audience}} {
		if len(list.items) > 0 {
			f.field("", "%s", list.name+" "+strings.Join(list.items, ", "))
		}
	}

	f.field("", "%s", limitsText(g.Limits))
	f.field("imports", "%s", strings.Join(a.Imports, ", "))
	f.field("until", "%s", day(a.Until))
}

// writeLoaded says what a configuration was put together from.
func writeLoaded(f *fieldWriter, l *audit.Loaded) {
	f.field("at fault", "%s", l.Fault)
	for i := range l.Files {
		file := &l.Files[i]
		revision := ""
		if file.Revision > 0 {
			revision = fmt.Sprint(file.Revision)
		}
		f.field("file", "%s", facts(file.Role+": "+file.Name+"  "+file.Digest.String(), "revision", revision))
	}
}

// writeEra says where the record of a partition begins.
func writeEra(f *fieldWriter, e *audit.Era) {
	f.field("cluster", "%s", e.Cluster)
	f.field("begins at", "%s", eraText(e))
	if e.TopicID != ([16]byte{}) {
		f.field("topic id", "%x", e.TopicID)
	}

	epoch := "not known"
	if e.LeaderEpoch >= 0 {
		epoch = fmt.Sprint(e.LeaderEpoch)
	}
	f.field("epoch", "%s", "of the leader: "+epoch)
	f.field("began", "%s", e.Began.UTC().Format(time.RFC3339Nano))
}

// eraText spells topic/partition@offset.
func eraText(e *audit.Era) string {
	return coordinateText(query.Coordinate{Cluster: e.Cluster, Topic: e.Topic, Partition: e.Partition, Offset: e.Offset})
}

// facts joins a text and pairs of names and values; a pair without a value is left
// out.
func facts(text string, pairs ...string) string {
	var all []string
	if text != "" {
		all = append(all, text)
	}

	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			all = append(all, pairs[i]+" "+pairs[i+1])
		}
	}

	return strings.Join(all, "  ")
}

func limitsText(l audit.Limits) string {
	var memory, output, deadline, instances string
	if l.MemoryBytes > 0 {
		memory = humanize.IBytes(uint64(l.MemoryBytes))
	}
	if l.OutputBytes > 0 {
		output = humanize.IBytes(uint64(l.OutputBytes))
	}
	if l.DeadlineMS > 0 {
		deadline = (time.Duration(l.DeadlineMS) * time.Millisecond).String()
	}
	if l.Instances > 0 {
		instances = fmt.Sprint(l.Instances)
	}

	return facts("", "memory", memory, "output", output, "deadline", deadline, "instances", instances)
}

// day spells a time that may be none.
func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
