package evidence

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// RangeProof is what a certificate proves.
type RangeProof struct {
	Range     Range
	Gaps      []Gap // offsets without a decision
	Logs      []LogProof
	Batches   int
	Decided   Times // of all decisions
	Epochs    int   // leaders' epochs that are known
	Verdicts  []Tally
	Policies  []string
	Approvals map[string][][]byte
	Names     map[Name]string
}

// LogProof is what is proven by one of the logs.
type LogProof struct {
	Checkpoint Checkpoint
	KeyHash    uint32
	Vouched
	Bare       bool  // nothing of the log is enclosed but the checkpoint
	Era        int64 // entry that says where the record begins; -1 where no gap needs it
	Batches    int
	Admissions []Admitted // each once
	Used       []Times    // when each of them let decisions be made
	Served     []Served   // in the log's order
	Unserved   int        // decisions before which the certificate has no authority
}

// Served is what a gateway served under, and how many decisions of the range it made
// under that.
type Served struct {
	InForce
	Decisions int
	Decided   Times
}

// Times are those of the first and the last decision of some, in µs since 1970.
type Times struct{ First, Last int64 }

func (t *Times) add(at int64) {
	t.First = min(t.First, at)
	t.Last = max(t.Last, at)
}

// Tally counts the records of a range with one verdict.
type Tally struct {
	Module  string // empty where none decided
	Ruling  Ruling // its Module means nothing
	Ran     bool   // modules ran; else Ruling.Verdict is the outcome of the batch
	Records int64
}

// certification is one certificate on its way to a proof.
type certification struct {
	file     *Certificate
	proof    *RangeProof
	sections []*sectionCheck
	topic    [16]byte // that eras and decisions are about; zero as long as none tells it
	tallies  map[Tally]int64
	names    map[Name]bool
	room     int // how many bytes of leaves there may still be
}

// sectionCheck is what one log says, on its way to a proof. Numbers of entries and of
// decisions mean something within their log only.
type sectionCheck struct {
	*certification
	log        *LogProof
	decisions  map[uint64]decisionAt
	used       map[uint64]bool
	placements []placementAt
	era        *Era
	admissions Admissions
	admitted   map[int64]int // index of an admission → its place in the proof; −1 as long as it is not used
}

type decisionAt struct {
	index int64
	*Decision
}

type placementAt struct {
	index int64
	*Placement
}

// VerifyRange checks a certificate by keys alone. Whatever does not hold is ErrUnproven;
// an offset without a decision, or with two, does not hold.
func VerifyRange(f *Certificate, t *Trust) (*RangeProof, error) {
	v := certification{
		file:    f,
		proof:   &RangeProof{Range: f.Range, Gaps: f.Gaps, Decided: Times{math.MaxInt64, math.MinInt64}},
		tallies: make(map[Tally]int64),
		names:   make(map[Name]bool),
		room:    maxPacked,
	}
	if err := v.open(t); err != nil {
		return nil, err
	}

	for _, check := range []func() error{
		v.each((*sectionCheck).committed), v.covered, v.each((*sectionCheck).judged), v.each((*sectionCheck).complete), v.told,
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return v.proof, nil
}

// open checks what vouches for each of the logs. One log counts once.
func (v *certification) open(t *Trust) error {
	if len(v.file.Logs) == 0 {
		return unproven("there is no log in it")
	}
	if m := v.file.Manifest; m != nil && (!bytes.Equal(m.digest(), m.Digest) || len(m.Signatures) == 0) {
		return unproven("the manifest in it is not the one that it was written with, or nobody signed it")
	}

	v.proof.Logs = make([]LogProof, len(v.file.Logs))
	for i := range v.file.Logs {
		c, keyHash, vouched, err := t.vouched(v.file.Logs[i].Checkpoint)
		if err != nil {
			return err
		}
		if i > 0 && c.Origin <= v.proof.Logs[i-1].Checkpoint.Origin {
			return unproven("the log %s is in it twice, or out of its order", c.Origin)
		}

		log := &v.proof.Logs[i]
		*log = LogProof{Checkpoint: c, KeyHash: keyHash, Vouched: vouched, Era: -1}
		v.sections = append(v.sections, &sectionCheck{
			certification: v,
			log:           log,
			decisions:     make(map[uint64]decisionAt),
			used:          make(map[uint64]bool),
			admitted:      make(map[int64]int),
		})
	}
	return nil
}

// each makes one check of the check of each log. Its error names the log where there are
// several.
func (v *certification) each(check func(*sectionCheck) error) func() error {
	return func() error {
		for _, s := range v.sections {
			err := check(s)
			if err != nil && len(v.sections) > 1 {
				err = fmt.Errorf("%w (in the log %s)", err, s.log.Checkpoint.Origin)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// committed checks that all leaves are in the tree, and takes them for what they are.
func (v *sectionCheck) committed() error {
	section := &v.file.Logs[slices.Index(v.sections, v)]
	if v.log.Bare = v.file.Manifest != nil && section.bare(); v.log.Bare {
		return nil
	}
	leaves, proof, err := section.unpack(v.room)
	if err != nil {
		return unproven("%w", err)
	}
	size := v.log.Checkpoint.Size
	if len(leaves) == 0 || leaves[len(leaves)-1].index >= size {
		return unproven("it has no entries, or one that is not among the %d of the checkpoint", size)
	}
	root, rest, err := rootOf(leaves, proof, 0, size)
	if err != nil || len(rest) > 0 || root != v.log.Checkpoint.Root {
		return unproven("its entries are not those of the log")
	}

	for i := range leaves {
		v.room -= len(leaves[i].raw)
		l, err := Parse(leaves[i].raw)
		if err != nil {
			return unproven("entry %d: %w", leaves[i].index, err)
		}
		if err := v.take(leaves[i].index, l); err != nil {
			return err
		}
	}
	return nil
}

func (v *sectionCheck) take(index int64, l *Leaf) error {
	for _, n := range l.Names() {
		v.names[n] = true
	}

	switch {
	case l.Decision != nil && !l.Decision.Consume:
		if _, twice := v.decisions[l.Decision.Seq]; twice {
			return unproven("entry %d decides a second time", index)
		}
		v.decisions[l.Decision.Seq] = decisionAt{index, l.Decision}
	case l.Placement != nil:
		v.placements = append(v.placements, placementAt{index, l.Placement})
	case l.Control != nil && (l.Control.Kind == KindAdmission || l.Control.Kind == KindStanding):
		v.admissions.Add(index, l.Control)
		v.admitted[index] = -1
	case l.Control != nil && l.Control.Kind == KindAuthority && v.file.Format != FirstRangeFormat:
		return v.serves(index, l.Control)
	case l.Control != nil && l.Control.Kind == KindEra:
		return v.begin(index, l.Control)
	default:
		return unproven("entry %d has no place in this certificate", index)
	}
	return nil
}

// covered checks that each offset of the range has one placement, or an explanation.
func (v *certification) covered() error {
	r := v.file.Range
	if r.First < 0 || r.Last < r.First || r.Last == math.MaxInt64 {
		return unproven("offsets %d to %d are no range", r.First, r.Last)
	}

	var spans []Span
	epochs := make(map[int32]bool)
	for _, s := range v.sections {
		for _, b := range s.placements {
			if b.Where != (Coord{r.Cluster, r.Topic, r.Partition}) || b.Base < 0 || b.Records == 0 || b.Base > r.Last || b.last() < r.First {
				return unproven("entry %d is about no offset of the range", b.index)
			}
			spans = append(spans, Span{b.Base, b.last()})
			if b.LeaderEpoch >= 0 {
				epochs[b.LeaderEpoch] = true
			}
		}
	}
	if len(spans) == 0 {
		return unproven("it has no decision")
	}

	v.proof.Batches = len(spans)
	v.proof.Epochs = len(epochs)
	spans, err := v.explained(spans)
	if err != nil {
		return err
	}
	if err := r.Exactly(spans); err != nil {
		return unproven("%w", err)
	}
	return nil
}

// last is the last offset of a placement that has records.
func (p *Placement) last() int64 { return p.Base + int64(p.Records) - 1 }

// Span is a stretch of offsets, both included.
type Span struct{ First, Last int64 }

func bySpan(a, b Span) int { return cmp.Compare(a.First, b.First) }

// maxNamed is how many stretches an error names.
const maxNamed = 10

// Exactly returns an error that names each offset of the range which no span holds, or
// more than one. The spans are sorted by their first offset.
func (r *Range) Exactly(spans []Span) error {
	var wrong []string
	name := func(first, last int64, what string) {
		wrong = append(wrong, fmt.Sprintf("%d to %d %s", first, last, what))
	}
	next := r.First      // nothing was found of it yet
	reached := int64(-1) // the last offset of what was found
	for _, s := range spans {
		if s.First > next {
			name(next, s.First-1, "have no decision")
		}
		from := max(s.First, r.First)
		if to := min(reached, s.Last, r.Last); from <= to {
			name(from, to, "have two decisions")
		}
		reached = max(reached, s.Last)
		next = max(next, reached+1)
	}

	if next <= r.Last {
		name(next, r.Last, "have no decision")
	}

	if len(wrong) == 0 {
		return nil
	}
	more := ""
	if len(wrong) > maxNamed {
		more = fmt.Sprintf(", and %d stretches more", len(wrong)-maxNamed)
		wrong = wrong[:maxNamed]
	}
	return fmt.Errorf("offsets %s%s", strings.Join(wrong, ", "), more)
}

// judged finds, for each placement, its decision, who let the modules run, and what
// became of the records.
func (v *sectionCheck) judged() error {
	type answer struct {
		seq   uint64
		route string
	}
	seen := make(map[answer]bool)
	for _, b := range v.placements {
		a := answer{b.Decision, b.Route}
		if seen[a] {
			return unproven("entry %d answers a decision that was answered already", b.index)
		}
		seen[a] = true

		d, ok := v.decisions[b.Decision]
		if !ok {
			return unproven("entry %d answers a decision that is not in it", b.index)
		}
		if err := answers(b, d); err != nil {
			return err
		}
		if b.Route == "" && !v.sameTopic(d.TopicID) {
			return unproven("entry %d is about another topic of the same name: it was deleted and made again", d.index)
		}
		if !v.used[b.Decision] {
			v.used[b.Decision] = true
			if err := v.admit(d); err != nil {
				return err
			}
		}
		if err := v.tally(b, d); err != nil {
			return err
		}
	}
	return nil
}

// sameTopic reports whether a topic is that of all others which tell theirs, in any log.
func (v *certification) sameTopic(id [16]byte) bool {
	if v.topic == ([16]byte{}) {
		v.topic = id
	}
	return id == v.topic || id == [16]byte{}
}

// answers checks that a placement is the broker's answer to a decision.
func answers(b placementAt, d decisionAt) error {
	switch {
	case b.index <= d.index:
		return unproven("entry %d is not the answer to the decision of entry %d", b.index, d.index)
	case b.Where.Cluster != d.Where.Cluster:
		return unproven("entry %d is about another cluster than the decision", b.index)
	case b.Route == "" && b.Where != d.Where:
		return unproven("entry %d is about another partition than the decision", b.index)
	case b.Route != "" && b.Route != b.Where.Topic:
		return unproven("entry %d names two topics", b.index)
	}
	return nil
}

func (v *sectionCheck) admit(d decisionAt) error {
	found, err := v.admissions.Of(d.index, d.Decision)
	if err != nil {
		return err
	}

	p := v.proof
	v.served(d)
	p.Decided.add(d.Time)
	if d.PolicyRevision != "" && !slices.Contains(p.Policies, d.PolicyRevision) {
		p.Policies = append(p.Policies, d.PolicyRevision)
	}
	for i := range found {
		at := v.admitted[found[i].Index]
		if at < 0 {
			at = len(v.log.Admissions)
			v.admitted[found[i].Index] = at
			v.log.Admissions = append(v.log.Admissions, found[i])
			v.log.Used = append(v.log.Used, Times{d.Time, d.Time})
		}
		v.log.Used[at].add(d.Time)
	}
	return nil
}

// serves takes an authority. Entries come in the log's order.
func (v *sectionCheck) serves(index int64, c *Control) error {
	in := InForce{index, c}
	if c.Outcome != OutcomeInForce {
		return unproven("entry %d is no authority that was in force", index)
	}
	if in.File(RoleConfiguration) == "" {
		return unproven("entry %d does not say under which configuration the gateway served", index)
	}
	v.log.Served = append(v.log.Served, Served{InForce: in, Decided: Times{math.MaxInt64, math.MinInt64}})
	return nil
}

// served counts a decision under the last authority before it. Certificates need not
// have one: the log may be older than authorities, or be pruned.
func (v *sectionCheck) served(d decisionAt) {
	at := below(len(v.log.Served), func(i int) int64 { return v.log.Served[i].Index }, d.index) - 1
	if at < 0 {
		v.log.Unserved++
		return
	}
	v.log.Served[at].Decisions++
	v.log.Served[at].Decided.add(d.Time)
}

// tally counts the records of a placement that are in the range, by their verdicts.
func (v *certification) tally(b placementAt, d decisionAt) error {
	first := max(v.file.Range.First, b.Base) - b.Base
	end := min(v.file.Range.Last, b.last()) - b.Base + 1
	at := int64(0)
	for _, run := range d.Runs {
		r := d.Rulings[run.Ruling]
		if b.Route != "" && (r.Verdict != VerdictRouted || r.Route != b.Route) {
			continue
		}

		t := Tally{Ruling: r, Ran: true}
		if r.Verdict != 0 && int(r.Module) < len(d.Modules) {
			t.Module = d.Modules[r.Module].Name
		}
		t.Ruling.Module = 0
		if n := min(end, at+int64(run.Count)) - max(first, at); n > 0 {
			v.tallies[t] += n
		}
		at += int64(run.Count)
	}

	if len(d.Runs) == 0 && b.Route == "" {
		v.tallies[Tally{Ruling: Ruling{Verdict: d.Outcome, Reason: d.Reason}}] += end - first
		at = int64(d.Records)
	}
	if at < end {
		return unproven("the decision of entry %d is about fewer records than entry %d places", d.index, b.index)
	}
	return nil
}

// complete checks that nothing is in the certificate that the range does not need.
func (v *sectionCheck) complete() error {
	for seq, d := range v.decisions {
		if !v.used[seq] {
			return unproven("entry %d is about no offset of the range", d.index)
		}
	}
	for index, at := range v.admitted {
		if at < 0 {
			return unproven("entry %d let nothing run that the range needs", index)
		}
	}
	for i := range v.log.Served {
		if v.log.Served[i].Decisions == 0 {
			return unproven("nothing was decided under the authority of entry %d that the range needs", v.log.Served[i].Index)
		}
	}

	v.log.Batches = len(v.placements)
	return nil
}

// told sums up, and takes the names and the approvals that the certificate encloses.
func (v *certification) told() (err error) {
	p := v.proof
	for t, n := range v.tallies {
		t.Records = n
		p.Verdicts = append(p.Verdicts, t)
	}
	slices.SortFunc(p.Verdicts, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Ruling.Reason, b.Ruling.Reason), cmp.Compare(a.Module, b.Module))
	})

	p.Names = make(map[Name]string)
	for i := range v.file.Names {
		n, value, err := v.file.Names[i].name()
		if err != nil {
			return unproven("%w", err)
		}
		if !v.names[n] {
			return unproven("no entry holds such a name as %q", value)
		}
		p.Names[n] = value
	}

	var admissions []Admitted
	for i := range p.Logs {
		admissions = append(admissions, p.Logs[i].Admissions...)
	}
	p.Approvals, err = approvalsOf(admissions, v.file.Approvals)
	return err
}
