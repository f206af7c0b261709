package decisions

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/manifest"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
)

// enclosing is the manifest as a certificate encloses it: one whose signatures were checked.
func (l *logsFlags) enclosing() *evidence.Manifest {
	if l.signed == nil || len(l.signed.Bundles) == 0 {
		return nil
	}
	return evidence.NewManifest(l.signed.Source(), l.signed.Bundles)
}

// enclosed is what the manifest in a certificate shows: that no log was left out of it.
type enclosed struct {
	proven  []finding
	missing string // what is not proven of that
}

// enclosedIn holds the logs of a certificate against the manifest in it. Without a trust root
// nobody knows who signed that, and it shows nothing.
func (f *evidenceFlags) enclosedIn(cmd *cobra.Command, file *evidence.Certificate, p *evidence.RangeProof) (e enclosed, err error) {
	if file.Manifest == nil {
		e.missing = beforeText(p.Gaps)
		return e, nil
	}
	if f.trustRoot == "" {
		e.missing = "that approvers signed the manifest in it, by which no log was left out (give --trust-root);\n" + beforeText(p.Gaps)
		return e, nil
	}

	root, err := f.root()
	if err != nil {
		return e, err
	}
	m, err := manifest.Parse(file.Manifest.File)
	if err != nil {
		return e, fmt.Errorf("%w: the manifest in it: %w", evidence.ErrUnproven, err)
	}
	at, err := e.manifestTime(m, p)
	if err != nil {
		return e, err
	}
	signed, err := m.Verify(cmd.Context(), root, file.Manifest.Signatures, at)
	if err != nil {
		return e, fmt.Errorf("%w: the manifest in it: %w", evidence.ErrUnproven, err)
	}
	if len(signed.Bundles) != len(file.Manifest.Signatures) {
		return e, fmt.Errorf("%w: a signature of the manifest in it does not count", evidence.ErrUnproven)
	}
	return e, e.hold(signed, file, p)
}

// manifestTime is when the manifest must have been signed: when the first decision was made
// under an authority that names it, or else now. An authority that names a newer one says
// that the logs were written under that. Where none names this one, there may be a newer.
func (e *enclosed) manifestTime(m *manifest.Manifest, p *evidence.RangeProof) (time.Time, error) {
	at := time.Now()
	named := false
	digest := fmt.Sprintf("%x", m.Digest())
	for i := range p.Logs {
		for n := range p.Logs[i].Served {
			s := &p.Logs[i].Served[n]
			other := s.File(manifest.Role)
			if other == digest {
				at = time.UnixMicro(min(at.UnixMicro(), s.Decided.First))
				named = true
				continue
			}
			if revision, err := strconv.ParseInt(s.Revision(manifest.Role), 10, 64); other != "" && (err != nil || revision >= m.Revision) {
				return at, fmt.Errorf("%w: it was decided under revision %s of the manifest, and the one in it is revision %d", evidence.ErrUnproven, s.Revision(manifest.Role), m.Revision)
			}
		}
	}
	if !named {
		e.missing += fmt.Sprintf("that revision %d of the manifest was in force when it was decided, and no other that lists more logs;\n", m.Revision)
	}
	return at, nil
}

// hold demands that the logs are just those of the manifest, each signed by its key.
func (e *enclosed) hold(m *manifest.Signed, file *evidence.Certificate, p *evidence.RangeProof) error {
	listed := make(map[string]bool)
	var bare, lost []string
	for _, d := range m.Logs() {
		key, err := note.NewVerifier(d.Key)
		if err != nil {
			return fmt.Errorf("%w: the key of log %s: %w", evidence.ErrUnproven, d.ID, err)
		}

		at := slices.IndexFunc(p.Logs, func(log evidence.LogProof) bool { return log.Checkpoint.Origin == key.Name() })
		switch {
		case at < 0 && d.Lost != "":
			lost = append(lost, key.Name())
			continue
		case at < 0:
			return fmt.Errorf("%w: the manifest in it lists the log %s of %s, which was left out", evidence.ErrUnproven, key.Name(), d.Gateway)
		case p.Logs[at].Bare:
			bare = append(bare, key.Name())
		}
		if _, _, err := evidence.OpenCheckpoint([]byte(file.Logs[at].Checkpoint), note.VerifierList(key)); err != nil {
			return fmt.Errorf("%w: the log %s is not that of the manifest in it: %w", evidence.ErrUnproven, key.Name(), err)
		}
		listed[key.Name()] = true
	}
	for i := range p.Logs {
		if origin := p.Logs[i].Checkpoint.Origin; !listed[origin] {
			return fmt.Errorf("%w: the log %s is not in the manifest in it", evidence.ErrUnproven, origin)
		}
	}

	text := fmt.Sprintf("revision %d of cluster %s, signed by %s: each of its logs is in it, %s", m.Revision, m.Cluster, strings.Join(signersOf(m), ", "), cli.Count(len(p.Logs), "log"))
	if len(lost) > 0 {
		text += fmt.Sprintf("; but for %s, which it says are lost", strings.Join(lost, ", "))
		e.missing += "what the logs that are lost had of the range;\n"
	}
	if len(bare) > 0 {
		e.missing += fmt.Sprintf("that the log of %s, of which a checkpoint and no entry is in it, has nothing of the range: who has that log can tell;\n", strings.Join(bare, ", "))
	}
	e.proven = []finding{{"manifest", text}}
	return nil
}

func signersOf(m *manifest.Signed) (names []string) {
	for _, s := range m.Signers {
		names = append(names, string(s.Identity))
	}
	return names
}
