package decisions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/stamp"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/problem"
	"github.com/guardlock/guardlock/signing"
)

// evidenceFlags say whose logs are trusted.
type evidenceFlags struct {
	logKeys   []string
	trust     string
	trustRoot string
}

func (f *evidenceFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.logKeys, "log-key", nil, "`FILE` with the public key of a log; may be given more than once")
	cmd.Flags().StringVar(&f.trust, "trust", "", "`FILE` in YAML that lists the public keys of logs, witnesses, and time-stamping authorities")
	cmd.Flags().StringVar(&f.trustRoot, trustRootFlag, "", "the trust root `FILE`: by it the approvals and the manifest are checked that a FILE of evidence encloses, or the signatures of a --manifest")
}

// auditors is the file of --trust.
type auditors struct {
	// Logs are public keys of logs, each as log.key.pub has it.
	Logs []string `yaml:"logs"`
	// Witnesses are those whose word counts, and how many of them there must be.
	Witnesses witnesses `yaml:"witnesses"`
	// Timestamps are those whose word on the time counts.
	Timestamps authorities `yaml:"timestamps"`
}

type authorities struct {
	// CAFile has their root certificates in PEM.
	CAFile string `yaml:"ca_file"`
}

// into reads the certificates. A path that is not absolute is from the directory of
// the file that names it.
func (a *authorities) into(t *evidence.Trust, beside string) error {
	if a.CAFile == "" {
		return nil
	}
	path := a.CAFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(beside), path)
	}

	text, err := disk.Read(path, disk.MaxBytes)
	if err != nil {
		return fmt.Errorf("timestamps.ca_file: %w", err)
	}
	stamps, err := stamp.ParseAuthorities(text)
	if err != nil {
		return exit.Usagef("timestamps.ca_file: %s: %w", path, err)
	}
	t.Stamps = stamps
	return nil
}

type witnesses struct {
	Threshold int      `yaml:"threshold"`
	Keys      []string `yaml:"keys"`
}

func (w *witnesses) into(t *evidence.Trust) error {
	if w.Threshold < 0 || w.Threshold > len(w.Keys) {
		return exit.Usagef("witnesses.threshold: %d, and there are %d keys", w.Threshold, len(w.Keys))
	}
	t.Threshold = w.Threshold
	for _, key := range w.Keys {
		v, err := evidence.ParseWitness(key)
		if err != nil {
			return exit.Usagef("witnesses.keys: %w", err)
		}
		t.Witnesses = append(t.Witnesses, v)
	}
	return nil
}

// keys reads the keys that the flags name.
func (f *evidenceFlags) keys() (*evidence.Trust, error) {
	var lines []string
	t := new(evidence.Trust)
	for _, path := range f.logKeys {
		b, err := disk.Read(path, disk.MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("reading the log's key: %w", err)
		}
		lines = append(lines, strings.TrimSpace(string(b)))
	}

	if f.trust != "" {
		b, err := disk.Read(f.trust, disk.MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("reading --trust: %w", err)
		}
		var a auditors
		if err := problem.DecodeYAML(b, &a); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.trust, err)
		}
		lines = append(lines, a.Logs...)
		if err := a.Witnesses.into(t); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.trust, err)
		}
		if err := a.Timestamps.into(t, f.trust); err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.trust, err)
		}
	}

	if len(lines) == 0 {
		return nil, exit.WithHint(exit.Usagef("verifying evidence: no key of a log is given"),
			"--log-key FILE with the log.key.pub of the gateway, which you got from whoever runs it and not with the evidence; or --trust auditors.yaml")
	}
	for _, line := range lines {
		v, err := note.NewVerifier(line)
		if err != nil {
			return nil, exit.Usagef("%q is no public key of a log: %w", line, err)
		}
		t.Logs = append(t.Logs, v)
	}

	return t, nil
}

// verify checks one file of evidence.
func (f *evidenceFlags) verify(cmd *cobra.Command, path string) error {
	if cmd.Flags().Changed("dir") || cmd.Flags().Changed("manifest") || cmd.Flags().Changed("expect") || cmd.Flags().Changed("audit-key") || cmd.Flags().Changed("since") || cmd.Flags().Changed("without-key") {
		return exit.Usagef("%s: a FILE is verified without a log; --dir, --manifest, --expect, --since, --audit-key and --without-key are for a log", cli.CommandName(cmd))
	}
	keys, err := f.keys()
	if err != nil {
		return err
	}

	b, err := disk.ReadInput(cmd.Context(), path, evidence.MaxRangeBytes)
	if err != nil {
		return fmt.Errorf("reading evidence: %w", err)
	}
	if evidence.IsCertificate(b) {
		return f.verifyRange(cmd, path, b, keys)
	}
	file, err := evidence.Decode(b)
	if err == nil {
		var p *evidence.Proof
		if p, err = evidence.Verify(file, keys); err == nil {
			return f.approved(cmd, path, p)
		}
	}

	return refusedFile(path, err)
}

func refusedFile(path string, err error) error {
	err = exit.Refusedf("verifying %s: %w", path, err)
	if errors.Is(err, evidence.ErrNoKey) {
		return exit.WithHint(err, "give the log.key.pub of that gateway with --log-key, got from whoever runs it and not with the file; where several logs are in a file, the key of each")
	}
	if errors.Is(err, evidence.ErrUnwitnessed) {
		return exit.WithHint(err, "a witness was down when the file was made, or being asked: have it made again")
	}
	if errors.Is(err, evidence.ErrUnproven) {
		return exit.WithHint(err, "keep the file as it is, and ask whoever gave it to you; nothing in it counts")
	}
	return err
}

// approved checks the enclosed approvals by the trust root, if there is one, and reports.
func (f *evidenceFlags) approved(cmd *cobra.Command, path string, p *evidence.Proof) error {
	var more []finding
	if f.trustRoot != "" {
		root, err := f.root()
		if err != nil {
			return err
		}
		if more, err = approvals(cmd.Context(), root, p); err != nil {
			return exit.Refusedf("verifying %s: %w", path, err)
		}
	}

	return f.report(cmd, p, more)
}

// root reads the trust root.
func (f *evidenceFlags) root() (*signing.TrustRoot, error) {
	raw, err := disk.Read(f.trustRoot, disk.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading --trust-root: %w", err)
	}
	root, err := signing.ParseTrustRoot(raw)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.trustRoot, err)
	}
	return root, nil
}

// notProven is what no file of this kind can prove.
const notProven = "that the broker still holds these bytes (audit compare); that no record went around the gateway."

// notApproved is not proven either where the approvals were not checked.
const notApproved = "that the approvals' own signatures hold (give --trust-root);\n"

// notWitnessed is not proven either where no witness counts.
const notWitnessed = "that nobody was shown another history of the log (no trusted witness signed it);\n"

// finding is one line of the report.
type finding struct {
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

func (f *evidenceFlags) report(cmd *cobra.Command, p *evidence.Proof, approvals []finding) error {
	all := append(findings(p), approvals...)
	rest := unsaid(notProven, len(approvals) == 0 && len(p.Admissions) > 0, len(p.Witnesses) == 0)
	if cli.WantsJSON(cmd) {
		return cli.PrintJSON(cmd.OutOrStdout(), struct {
			Record    evidence.Record `json:"record"`
			Proven    []finding       `json:"proven"`
			NotProven string          `json:"not_proven"`
		}{p.Record, all, strings.ReplaceAll(rest, "\n", " ")})
	}
	return writeFindings(cmd.OutOrStdout(), all, rest)
}

// unsaid adds to what is not proven.
func unsaid(rest string, unapproved, unwitnessed bool) string {
	if unapproved {
		rest = notApproved + rest
	}
	if unwitnessed {
		rest = notWitnessed + rest
	}
	return rest
}

func writeFindings(w io.Writer, all []finding, rest string) error {
	p := cli.PaletteFor(w)
	for _, f := range all {
		if _, err := fmt.Fprintf(w, "%s  %-9s  %s\n", p.Green("ok"), f.Subject, cli.Printable(f.Text)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "not proven: %s\n", rest)
	return err
}

// findings tells what was proven, a line for each thing.
func findings(p *evidence.Proof) (all []finding) {
	add := func(subject, format string, args ...any) {
		all = append(all, finding{subject, fmt.Sprintf(format, args...)})
	}

	d := p.Decision
	c := &p.Checkpoint
	add("log", "%s had %s entries; signed by log key %08x", c.Origin, humanize.Comma(c.Size), p.KeyHash)
	all = append(all, vouched(&p.Vouched)...)
	add("decision", "entry %s, %s: a batch of %s for %s/%d was %s%s", humanize.Comma(p.Index), moment(d.Time), cli.Count(int(d.Records), "record"),
		d.Where.Topic, d.Where.Partition, audit.Outcome(d.Outcome), ofPolicy(d.PolicyRevision))
	add("offset", "entry %s: the broker answered offset %d, so %s/%d@%d is record %d of the batch", humanize.Comma(p.Stored), p.Placement.Base,
		p.Record.Topic, p.Record.Partition, p.Record.Offset, p.Place+1)
	add("verdict", "%s", verdictText(p))

	for i := range p.Admissions {
		a := &p.Admissions[i]
		add("admission", "%s", admissionText(a))
	}
	if p.InForce != nil {
		add("authority", "%s", inForceText(p.InForce))
	}

	for _, n := range []struct {
		subject string
		name    evidence.Name
	}{{"principal", d.Principal}, {"client", d.ClientID}, {"source", d.Source}} {
		if n.name == (evidence.Name{}) {
			continue
		}
		value, told := p.Names[n.name]
		if !told {
			value = "not told: redacted"
		}
		add(n.subject, "%s", value)
	}

	return all
}

// vouched tells what others than the log say of its checkpoint.
func vouched(v *evidence.Vouched) (all []finding) {
	for _, w := range v.Witnesses {
		all = append(all, finding{"witness", fmt.Sprintf("%s saw it at %s: no other history was shown to it before", w.Witness, w.Time.Format(time.RFC3339))})
	}
	for _, s := range v.Timestamps {
		all = append(all, finding{"time", fmt.Sprintf("%s stamped it at %s: its entries were there by then", s.Authority, s.Time.Format(time.RFC3339))})
	}
	return all
}

func admissionText(a *evidence.Admitted) string {
	return fmt.Sprintf("entry %s let %s sha256:%x run: written by %s, approved by %s (%s needed)%s", humanize.Comma(a.Index), a.Module.Name, a.Module.Digest,
		a.Fact("author"), strings.Join(a.Values(evidence.FactApproval), ", "), a.Fact(evidence.FactThreshold), until(a.Fact(evidence.FactUntil)))
}

// inForceText says what the gateway served under.
func inForceText(f *evidence.InForce) string {
	text := fmt.Sprintf("entry %s: decided under configuration sha256:%s", humanize.Comma(f.Index), f.File(evidence.RoleConfiguration))
	if digest := f.File(evidence.RolePolicy); digest != "" {
		text += ", policy sha256:" + digest
	}
	if digest := f.File(evidence.RoleTrustRoot); digest != "" {
		text += ", trust root sha256:" + digest
	}
	return text
}

func moment(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano) }

func ofPolicy(revision string) string {
	if revision == "" {
		return ""
	}
	return ", under policy " + revision
}

func until(micros string) string {
	var n int64
	if _, err := fmt.Sscan(micros, &n); err != nil {
		return ""
	}
	return ", until " + moment(n)
}

// verdictText says what became of the record itself.
func verdictText(p *evidence.Proof) string {
	r := p.Ruling
	if r == nil {
		return "no module ran on it: " + audit.Outcome(p.Decision.Outcome).String()
	}

	text := audit.Verdict(r.Verdict).String()
	if r.Verdict != uint8(audit.Passed) && int(r.Module) < len(p.Decision.Modules) {
		text += " by " + p.Decision.Modules[r.Module].Name
	}
	if r.Reason != "" {
		text += " (" + r.Reason + ")"
	}
	if r.Route != "" && p.Placement.Route == "" {
		text += ", to " + r.Route + "; a placeholder stands here"
	}
	return text
}

// approvals checks that those whom each admission names approved the module: their
// signatures hold under the trust root, at the time of the decision, and are as many
// as it asks for.
func approvals(ctx context.Context, root *signing.TrustRoot, p *evidence.Proof) (all []finding, err error) {
	at := time.UnixMicro(p.Decision.Time)
	for i := range p.Admissions {
		a := &p.Admissions[i]
		people := map[signing.Identity]bool{}
		names := a.Values(evidence.FactApproval)
		ids := a.Values(evidence.FactApprovalID)
		if len(names) != len(ids) {
			return nil, fmt.Errorf("%w: the admission of %s names %d people and %d approvals", evidence.ErrUnproven, a.Module.Name, len(names), len(ids))
		}

		for n, id := range ids {
			who := signing.Identity(names[n])
			if err := signedBy(ctx, root.For(asked(a)), p.Approvals[id], a.Module.Digest, who, at); err != nil {
				return nil, fmt.Errorf("%w: the approval of %s by %s: %w", evidence.ErrUnproven, a.Module.Name, who, err)
			}
			people[who] = true
		}

		if len(people) < root.Threshold() {
			return nil, fmt.Errorf("%w: %s was approved by %d, and the trust root asks for %d", evidence.ErrUnproven, a.Module.Name, len(people), root.Threshold())
		}
		all = append(all, finding{"approvals", fmt.Sprintf("%s: %s signed, and held when it was decided", a.Module.Name, strings.Join(a.Values(evidence.FactApproval), ", "))})
	}
	return all, nil
}

var errNotEnclosed = errors.New("it is not enclosed")

// signedBy looks for one person's approval among those with the same statement.
func signedBy(ctx context.Context, root *signing.TrustRoot, bundles [][]byte, module [32]byte, who signing.Identity, at time.Time) error {
	failed := errNotEnclosed
	for _, bundle := range bundles {
		approval, err := root.VerifyApproval(ctx, module, bundle, at)
		if err == nil && approval.Approver == who {
			return nil
		}
		if err != nil {
			failed = err
		}
	}
	return failed
}

// asked is a gateway that the approvals of an admission were for.
func asked(a *evidence.Admitted) (g signing.Gateway) {
	for _, audience := range a.Values(evidence.FactAudience) {
		if name, ok := strings.CutPrefix(audience, "gateway:"); ok {
			g.Name = name
		}
		if name, ok := strings.CutPrefix(audience, "environment:"); ok {
			g.Environment = name
		}
	}
	return g
}
