package decisions

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// certified is what prove --offsets --json prints.
type certified struct {
	File  string         `json:"file"`
	Bytes int            `json:"bytes"`
	Range evidence.Range `json:"range"`
	Logs  []certifiedBy  `json:"logs"`

	Manifest *listing `json:"manifest,omitempty"`
}

// certifiedBy is a log that the certificate is made of.
type certifiedBy struct {
	Gateway  string `json:"gateway,omitempty"`
	Origin   string `json:"log"`
	Entries  int64  `json:"entries"`  // that the checkpoint speaks for
	Enclosed bool   `json:"enclosed"` // it is in the file
	Bare     bool   `json:"bare,omitempty"`
}

// runRange writes the certificate of a range.
func (c *auditProveCommand) runRange(cmd *cobra.Command, what string) error {
	wanted, err := c.wantedRange(what)
	if err != nil {
		return err
	}
	logs, err := c.logs.open(cmd)
	if err != nil {
		return err
	}
	defer logs.Close()

	if wanted.Range.Cluster == "" {
		if wanted.Range.Cluster, err = onlyCluster(cmd, logs); err != nil {
			return c.logs.failed(err)
		}
	}
	if cmd.Flags().Changed("bootstrap") {
		wanted.Ask = c.asks(&wanted.Range)
	}

	wanted.Manifest = c.logs.enclosing()
	sources, err := c.rangeLogs(logs)
	if err != nil {
		return proveError(what, err)
	}
	f, err := tree.ProveRange(cmd.Context(), wanted, sources)
	if err != nil {
		return proveError(what, err)
	}
	b, err := f.Encode()
	if err != nil {
		return err
	}

	at := &wanted.Range
	path := c.out
	if path == "" {
		path = fmt.Sprintf("%s-%d-%d-%d.range.json", at.Topic, at.Partition, at.First, at.Last)
	}
	if err := disk.Create(path, b, 0o644); err != nil {
		return fmt.Errorf("writing certificate: %w", err)
	}

	done := certified{File: path, Bytes: len(b), Range: *at, Manifest: c.logs.listing()}
	for i, log := range logs {
		done.Logs = append(done.Logs, certifies(f, log.Gateway, sources[i].Prover))
	}
	return reportRange(cmd, f, done)
}

// rangeLogs are the logs with what makes a certificate of them.
func (c *auditProveCommand) rangeLogs(logs query.Logs) (all []tree.RangeLog, err error) {
	for _, log := range logs {
		p, err := c.prover(log)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", log.Dir, err)
		}
		all = append(all, tree.RangeLog{Prover: p, Approvals: tree.ApprovalsOf(log.Dir)})
	}
	return all, nil
}

// certifies says whether a log is in the certificate.
func certifies(f *evidence.Certificate, gateway string, p *tree.Prover) certifiedBy {
	at := slices.IndexFunc(f.Logs, func(s evidence.Section) bool { return s.Checkpoint == p.Signed() })
	c := p.Checkpoint()
	return certifiedBy{
		Gateway:  gateway,
		Origin:   c.Origin,
		Entries:  c.Size,
		Enclosed: at >= 0,
		Bare:     at >= 0 && len(f.Logs[at].Leaves) == 0,
	}
}

func reportRange(cmd *cobra.Command, f *evidence.Certificate, done certified) error {
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), done)
	}

	at := &done.Range
	w := &fieldWriter{w: cmd.OutOrStdout(), p: cli.PaletteFor(cmd.OutOrStdout())}
	w.field("proves", "%s/%d offsets %d to %d: each has one decision%s", at.Topic, at.Partition, at.First, at.Last, butFor(f.Gaps))
	w.field("file", "%s, %s", done.File, humanize.Bytes(uint64(done.Bytes)))
	for _, log := range done.Logs {
		text := fmt.Sprintf("%s, checkpoint of %s entries", log.Origin, humanize.Comma(log.Entries))
		if log.Gateway != "" {
			text = log.Gateway + ": " + text
		}
		if !log.Enclosed {
			text += "; it says nothing of the range, and is not in the file"
		} else if log.Bare {
			text += "; it says nothing of the range: in the file is its checkpoint alone"
		}
		w.field("log", "%s", text)
	}
	if done.Manifest != nil {
		w.field("manifest", "%s", done.Manifest.summary())
	}
	return w.err
}

var (
	partitionShape = regexp.MustCompile(`^([a-zA-Z0-9._-]+)/([0-9]+)$`)
	offsetsShape   = regexp.MustCompile(`^([0-9]+)(?:-([0-9]+))?$`)
)

func (c *auditProveCommand) wantedRange(what string) (w tree.WantedRange, err error) {
	w.Range, err = parseRange("proving", what, c.offsets)
	w.Range.Cluster = c.cluster
	w.Names = !c.redacted
	return w, err
}

// parseRange reads a partition and offsets of it.
func parseRange(doing, what, span string) (r evidence.Range, err error) {
	place := partitionShape.FindStringSubmatch(what)
	offsets := offsetsShape.FindStringSubmatch(span)
	if place == nil || offsets == nil {
		return r, exit.Usagef("%s %s: --offsets %s: it takes TOPIC/PARTITION and --offsets A-B, or one offset", doing, what, span)
	}

	partition, err := strconv.ParseInt(place[2], 10, 32)
	if err != nil {
		return r, exit.Usagef("%s %s: %s is no partition", doing, what, place[2])
	}
	first, err := strconv.ParseInt(offsets[1], 10, 64)
	if err != nil {
		return r, exit.Usagef("%s %s: %s is no offset", doing, what, offsets[1])
	}
	last, err := strconv.ParseInt(cmp.Or(offsets[2], offsets[1]), 10, 64)
	if err != nil || last < first {
		return r, exit.Usagef("%s %s: %s is no range of offsets", doing, what, span)
	}
	return evidence.Range{Topic: place[1], Partition: uint32(partition), First: first, Last: last}, nil
}

// onlyCluster is the one that the logs know of.
func onlyCluster(cmd *cobra.Command, logs query.Logs) (string, error) {
	var names []string
	for _, log := range logs {
		err := log.Reader.Cursor(audit.Position{}).Read(cmd.Context(), func(f *audit.Frame) error {
			return f.Each(func(e *audit.Entry) error {
				if e.Batch != nil && !slices.Contains(names, e.Batch.Cluster) {
					names = append(names, e.Batch.Cluster)
				}
				return nil
			})
		})
		if err != nil {
			return "", err
		}
	}

	switch {
	case len(names) == 0:
		return "", exit.NotFoundf("there is no decision in the log")
	case len(names) > 1:
		return "", exit.WithHint(exit.Usagef("the decisions are of several clusters"), "name one with --cluster: %s", strings.Join(names, ", "))
	}
	return names[0], nil
}

// verifyRange checks a certificate and reports.
func (f *evidenceFlags) verifyRange(cmd *cobra.Command, path string, b []byte, keys *evidence.Trust) error {
	file, err := evidence.DecodeCertificate(b)
	if err != nil {
		return refusedFile(path, err)
	}
	p, err := evidence.VerifyRange(file, keys)
	if err != nil {
		return refusedFile(path, err)
	}

	all := rangeFindings(p)
	listed, err := f.enclosedIn(cmd, file, p)
	if err != nil {
		return refusedFile(path, err)
	}
	all = append(all, listed.proven...)
	if f.trustRoot != "" {
		signed, err := f.rangeApprovals(cmd, p)
		if err != nil {
			return exit.Refusedf("verifying %s: %w", path, err)
		}
		all = append(all, signed...)
	}

	admitted := slices.ContainsFunc(p.Logs, func(log evidence.LogProof) bool { return len(log.Admissions) > 0 })
	unseen := slices.ContainsFunc(p.Logs, func(log evidence.LogProof) bool { return len(log.Witnesses) == 0 })
	rest := unsaid(toldText(p.Gaps)+listed.missing+unservedText(p)+notProvenOfRange, f.trustRoot == "" && admitted, unseen)
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), struct {
			Range     evidence.Range `json:"range"`
			Proven    []finding      `json:"proven"`
			NotProven string         `json:"not_proven"`
		}{p.Range, all, strings.ReplaceAll(rest, "\n", " ")})
	}
	return writeFindings(cmd.OutOrStdout(), all, rest)
}

// notProvenOfRange is what no certificate can prove.
const notProvenOfRange = "that the broker still holds these bytes (audit compare); what is outside of the range (audit reconcile)."

// rangeApprovals checks the approvals at the first and at the last decision that each
// admission let be made.
func (f *evidenceFlags) rangeApprovals(cmd *cobra.Command, p *evidence.RangeProof) (all []finding, err error) {
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	for n, log := range p.Logs {
		for i := range log.Admissions {
			one := &evidence.Proof{Admissions: log.Admissions[i : i+1], Approvals: p.Approvals, Decision: &evidence.Decision{Time: log.Used[i].First}}
			if _, err := approvals(cmd.Context(), root, one); err != nil {
				return nil, err
			}
			one.Decision.Time = log.Used[i].Last
			found, err := approvals(cmd.Context(), root, one)
			if err != nil {
				return nil, err
			}
			for _, f := range found {
				all = append(all, finding{f.Subject, f.Text + ofLog(p, n)})
			}
		}
	}
	return all, nil
}

// rangeFindings tells what a certificate proves, a line for each thing.
func rangeFindings(p *evidence.RangeProof) (all []finding) {
	add := func(subject, format string, args ...any) {
		all = append(all, finding{subject, fmt.Sprintf(format, args...)})
	}

	r := &p.Range
	for i := range p.Logs {
		log := &p.Logs[i]
		add("log", "%s had %s entries; signed by log key %08x", log.Checkpoint.Origin, humanize.Comma(log.Checkpoint.Size), log.KeyHash)
		all = append(all, vouched(&log.Vouched)...)
	}
	add("range", "%s/%d offsets %s to %s: each of the %s has one decision%s, in %s", r.Topic, r.Partition, humanize.Comma(r.First), humanize.Comma(r.Last),
		humanize.Comma(r.Last-r.First+1), butFor(p.Gaps), inLogs(p))
	for _, g := range p.Gaps {
		if !g.Kind.Told() {
			add("era", "offsets %s to %s were there before %s", humanize.Comma(g.First), humanize.Comma(g.Last), firstBatch(p))
		}
	}
	add("decided", "from %s to %s", moment(p.Decided.First), moment(p.Decided.Last))
	for i := range p.Verdicts {
		add("verdict", "%s", tallyText(&p.Verdicts[i]))
	}
	if len(p.Policies) > 0 {
		add("policy", "%s", strings.Join(p.Policies, ", "))
	}

	for i := range p.Logs {
		for n := range p.Logs[i].Admissions {
			add("admission", "%s%s", admissionText(&p.Logs[i].Admissions[n]), ofLog(p, i))
		}
		for n := range p.Logs[i].Served {
			add("authority", "%s%s", servedText(&p.Logs[i].Served[n]), ofLog(p, i))
		}
	}
	return all
}

// servedText says what some decisions were made under.
func servedText(s *evidence.Served) string {
	return fmt.Sprintf("%s: %s, from %s to %s", inForceText(&s.InForce), cli.Count(s.Decisions, "batch"), moment(s.Decided.First), moment(s.Decided.Last))
}

// beforeText says what the eras of the logs leave open.
func beforeText(gaps []evidence.Gap) string {
	if !slices.ContainsFunc(gaps, func(g evidence.Gap) bool { return !g.Kind.Told() }) {
		return ""
	}
	return "that no gateway whose log is not in it decided what was there before the first batch;\n"
}

// unservedText says of how many decisions it is not known what they were made under.
func unservedText(p *evidence.RangeProof) string {
	n := 0
	for i := range p.Logs {
		n += p.Logs[i].Unserved
	}
	if n == 0 {
		return ""
	}
	return "the configuration, policy and trust root behind " + cli.Count(n, "batch") + " of the range, which the log does not say;\n"
}

// ofLog says whose entries are meant, where there are several logs.
func ofLog(p *evidence.RangeProof, i int) string {
	if len(p.Logs) == 1 {
		return ""
	}
	return ", in " + p.Logs[i].Checkpoint.Origin
}

// inLogs says how many batches each log decided.
func inLogs(p *evidence.RangeProof) string {
	text := cli.Count(p.Batches, "batch")
	if len(p.Logs) == 1 {
		return text
	}

	var each []string
	for i := range p.Logs {
		if !p.Logs[i].Bare {
			each = append(each, fmt.Sprintf("%s%s", humanize.Comma(int64(p.Logs[i].Batches)), ofLog(p, i)))
		}
	}
	return text + ": " + strings.Join(each, "; ")
}

// firstBatch names the entries that say where the record of the partition begins.
func firstBatch(p *evidence.RangeProof) string {
	var each []string
	for i := range p.Logs {
		if p.Logs[i].Era >= 0 {
			each = append(each, fmt.Sprintf("entry %s%s", humanize.Comma(p.Logs[i].Era), ofLog(p, i)))
		}
	}
	text := "the gateway's first batch"
	if len(p.Logs) > 1 {
		text = "the first batch of each gateway"
	}
	return text + " (" + strings.Join(each, "; ") + ")"
}

// butFor says how many offsets of a range have no decision.
func butFor(gaps []evidence.Gap) string {
	n := int64(0)
	for _, g := range gaps {
		n += g.Last - g.First + 1
	}
	if n == 0 {
		return ""
	}
	return ", but for " + humanize.Comma(n)
}

// maxTold is how many gaps the report names.
const maxTold = 10

// toldText says what brokers told whoever made the certificate.
func toldText(gaps []evidence.Gap) string {
	what := map[evidence.GapKind]string{
		evidence.GapMarker:    "the marker of a transaction",
		evidence.GapNothing:   "held nothing any more (compacted away, or never visible)",
		evidence.GapRetention: "no longer kept",
	}

	var all []string
	for _, g := range gaps {
		if g.Kind.Told() {
			all = append(all, fmt.Sprintf("%s to %s %s", humanize.Comma(g.First), humanize.Comma(g.Last), what[g.Kind]))
		}
	}
	if len(all) == 0 {
		return ""
	}
	if more := len(all) - maxTold; more > 0 {
		all = append(all[:maxTold], cli.Count(more, "stretch")+" more")
	}
	return "what brokers told of offsets without a decision: " + strings.Join(all, ", ") + ";\n"
}

func tallyText(t *evidence.Tally) string {
	if !t.Ran {
		return fmt.Sprintf("%s: no module ran: %s", humanize.Comma(t.Records), audit.Outcome(t.Ruling.Verdict))
	}
	text := humanize.Comma(t.Records) + ": " + audit.Verdict(t.Ruling.Verdict).String()
	if t.Module != "" {
		text += " by " + t.Module
	}
	if t.Ruling.Reason != "" {
		text += " (" + t.Ruling.Reason + ")"
	}
	if t.Ruling.Route != "" {
		text += ", to " + t.Ruling.Route
	}
	return text
}
