package replay

import (
	"fmt"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// comparison holds a decision of the log against one that is made here.
type comparison struct {
	d         *Decision
	in        *Input
	materials *Materials
	chain     []link
	single    bool // the input is one record of the batch
}

// reasonLimit stands in the log for any reason that was one too many in its hour.
const reasonLimit = "reason_limit"

// Notes that go with every result of modules.
const (
	noteState = "what modules count or remember started empty here; in the gateway it may have held more"
	noteClock = "records have the only clock: no time of day was read"
)

func (c *comparison) compare(got *made) *Result {
	r := &Result{}
	for i := range c.chain {
		c.chain[i].describe(r)
	}

	if len(c.chain) > 0 {
		r.Notes = append(r.Notes, noteState, noteClock)
		r.add("grant", Same, "functions, keys, routes and limits as granted by "+c.d.Entry.GrantDigest.String())
		r.add("policy", Same, c.d.Entry.PolicyRevision+", under which the modules were let run")
		if len(c.d.Bindings) == 0 {
			r.Notes = append(r.Notes, "how the binding encodes changed batches is not known: the log has no snapshot of it, or it is not kept")
		}
	}

	if c.single {
		c.record(r, got)
	} else {
		c.batch(r, got)
	}

	r.settle()
	return r
}

// batch compares all that the log says of a batch.
func (c *comparison) batch(r *Result, got *made) {
	c.input(r, &got.entry)
	logged := c.d.Entry
	made := &got.entry
	r.same("outcome", c.excuse(made), logged.Outcome.String(), made.Outcome.String())
	r.same("reason", c.excuse(made), orNone(logged.Reason), orNone(made.Reason))
	c.rulings(r, made)
	c.output(r, got)
}

// record compares what became of the one record. Where its batch was refused unread, or
// failed, only the batch can tell.
func (c *comparison) record(r *Result, got *made) {
	logged := rulingAt(c.d.Entry, c.d.Index)
	given := rulingAt(&got.entry, 0)
	r.Notes = append(r.Notes, fmt.Sprintf("the input is record %d of the batch's %d: the output has a MAC as a whole batch, and is not compared", c.d.Index+1, c.d.Entry.Records))

	switch {
	case logged == nil && c.d.Entry.Outcome == got.entry.Outcome && c.d.Entry.Reason == got.entry.Reason:
		r.add("outcome", Same, fmt.Sprintf("the batch: %s, %s", got.entry.Outcome, orNone(got.entry.Reason)))
	case logged == nil:
		r.add("outcome", Unknown, fmt.Sprintf("the batch came to %s (%s) as a whole, which another record may have done: give the whole batch", c.d.Entry.Outcome, orNone(c.d.Entry.Reason)))
	case given == nil:
		r.same("outcome", c.excuse(&got.entry), logged.Verdict.String(), got.entry.Outcome.String())
	default:
		excuse := c.excuse(&got.entry)
		r.same("outcome", excuse, verdictOf(c.d.Entry, logged), verdictOf(&got.entry, given))
		r.same("reason", excuse, orNone(logged.Reason), orNone(given.Reason))
		if logged.Route != "" || given.Route != "" {
			r.same("route", excuse, orNone(logged.Route), orNone(given.Route))
		}
	}
}

// same adds a finding about two words of a closed catalogue. Where they differ and excuse
// says why they may, it was not compared.
func (r *Result) same(what, excuse, logged, made string) {
	switch {
	case logged == made, logged == reasonLimit:
		r.add(what, Same, made)
	case excuse != "":
		r.add(what, Unknown, fmt.Sprintf("the log says %s, the replay %s, and %s", logged, made, excuse))
	default:
		r.add(what, Differs, fmt.Sprintf("the log says %s, the replay %s", logged, made))
	}
}

// excuse says why the replay may come to something else although all is the same, or
// nothing.
func (c *comparison) excuse(made *audit.BatchEntry) string {
	if (made.Outcome == audit.OutcomeTimeout) != (c.d.Entry.Outcome == audit.OutcomeTimeout) {
		return "how long a module takes depends on the machine"
	}
	for i := range c.chain {
		if l := &c.chain[i]; l.varies.verdicts {
			return "module " + l.spec.Name + " " + l.varies.why
		}
	}

	return ""
}

// input compares what the log says of the batch as it came.
func (c *comparison) input(r *Result, made *audit.BatchEntry) {
	logged := c.d.Entry
	before := r.count(Differs)
	differ := func(what string, logged, made any) {
		if logged != made {
			r.add("input", Differs, fmt.Sprintf("%s %v, and that of the batch was %v", what, made, logged))
		}
	}

	differ("its number of records is", logged.Records, made.Records)
	differ("its producer id is", logged.ProducerID, made.ProducerID)
	if logged.ProducerID >= 0 {
		differ("its producer epoch is", logged.ProducerEpoch, made.ProducerEpoch)
		differ("its first sequence number is", logged.BaseSequence, made.BaseSequence)
	}

	differ("its codec is", logged.Codec, made.Codec)

	if c.rebuilt() == "" {
		differ("its size in bytes is", logged.BytesIn, made.BytesIn)
	}
	if r.count(Differs) == before {
		r.add("input", Same, fmt.Sprintf("records: %d, bytes: %d", made.Records, made.BytesIn))
	}
}

// rebuilt says why a batch that was built of records need not be the one that was sent,
// or nothing.
func (c *comparison) rebuilt() string {
	switch {
	case c.in.raw != nil:
		return ""
	case c.d.Entry.Codec != 0:
		return "how its producer compressed it is only in the batch itself: give that instead of records"
	case !c.in.timed:
		return "some of the records have no timestamp, which the batch had"
	}
	return ""
}

// rulings compares what became of each record, and names the first that differs.
func (c *comparison) rulings(r *Result, made *audit.BatchEntry) {
	logged := c.d.Entry
	if len(logged.Runs) == 0 && len(made.Runs) == 0 {
		return
	}

	excuse := c.excuse(made)
	differ := 0
	first := -1
	for i := range max(logged.Records, made.Records) {
		if !sameRuling(logged, rulingAt(logged, i), made, rulingAt(made, i)) {
			if differ == 0 {
				first = i
			}
			differ++
		}
	}

	if differ == 0 {
		r.add("records", Same, fmt.Sprintf("verdict, module, reason and route of each of %d", made.Records))
		return
	}

	r.same("records", excuse, fmt.Sprintf("%s of record %d", orUnjudged(logged, first), first+1), orUnjudged(made, first)+fmt.Sprintf(" (%d differ)", differ))
}

// output holds what is forwarded here against the MAC of what was.
func (c *comparison) output(r *Result, got *made) {
	logged := c.d.Entry
	switch {
	case !logged.Outcome.Forwards() && got.output == nil:
		r.add("output", Same, "nothing was forwarded")
		return
	case !logged.Outcome.Forwards():
		return // the outcome differs, which is told
	case !c.d.MAC.Made():
		r.add("output", Unknown, "the log has no MAC of it")
		return
	case len(c.materials.Audit) == 0:
		r.add("output", Unknown, "its MAC is under the audit key, which was not given")
		return
	}

	text := fmt.Sprintf("%d bytes", len(got.output))
	evidence := pipeline.EvidenceOf(got.output, logged.Evidence)
	for _, key := range c.materials.Audit {
		if evidence != nil && c.d.MAC.Check(key, evidence) {
			covered := "every byte"
			if logged.Evidence == audit.EvidenceHeader {
				covered = "producer, sequence, times, count and checksum"
			}
			r.add("output", Same, fmt.Sprintf("%s: the MAC of what was forwarded is of this, %s", text, covered))
			return
		}
	}

	text += fmt.Sprintf(", and %d were forwarded", logged.BytesOut)
	if len(got.output) == logged.BytesOut {
		text = fmt.Sprintf("as long as what was forwarded (%d bytes), and with another MAC", len(got.output))
	}

	if why := c.mayDiffer(); why != "" {
		r.add("output", Unknown, text+"; "+why)
		return
	}

	r.add("output", Differs, text)
}

// mayDiffer says why output may differ although all is the same, or nothing.
func (c *comparison) mayDiffer() string {
	for i := range c.chain {
		if l := &c.chain[i]; l.varies.why != "" {
			return "module " + l.spec.Name + " " + l.varies.why
		}
	}
	return c.rebuilt()
}

// rulingAt is what the log or the replay says of one record; nil where nothing judged it.
func rulingAt(e *audit.BatchEntry, index int) *audit.Ruling {
	for _, run := range e.Runs {
		if index < int(run.Count) {
			return &e.Rulings[run.Ruling]
		}
		index -= int(run.Count)
	}
	return nil
}

func sameRuling(a *audit.BatchEntry, ra *audit.Ruling, b *audit.BatchEntry, rb *audit.Ruling) bool {
	if ra == nil || rb == nil {
		return ra == rb
	}
	if ra.Verdict != rb.Verdict || ra.Reason != rb.Reason && ra.Reason != reasonLimit || ra.Route != rb.Route {
		return false
	}
	return ra.Verdict == audit.Passed || a.Modules[ra.Module] == b.Modules[rb.Module]
}

// verdictOf is what became of a record, and by which module.
func verdictOf(e *audit.BatchEntry, r *audit.Ruling) string {
	if r.Verdict == audit.Passed {
		return r.Verdict.String()
	}
	return fmt.Sprintf("%s by %s", r.Verdict, e.Modules[r.Module].Name)
}

func orUnjudged(e *audit.BatchEntry, index int) string {
	r := rulingAt(e, index)
	if r == nil {
		return "no verdict"
	}
	return fmt.Sprintf("%s (%s)", verdictOf(e, r), orNone(r.Reason))
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
