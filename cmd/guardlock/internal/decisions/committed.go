package decisions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// committed is what is known of a log's last checkpoint.
type committed struct {
	Origin    string                 `json:"log"`
	Entries   int64                  `json:"entries"`
	Checked   int64                  `json:"checked"` // entries that are there, and are what it speaks for
	Signed    bool                   `json:"signed"`  // by a key that was given, or lies beside the log
	Witnesses []evidence.Cosignature `json:"witnesses,omitempty"`
	Since     int64                  `json:"since,omitempty"` // entries of the checkpoint that was kept
}

// committed holds a log against the checkpoints of it. It is nil where nothing commits to
// the log.
func (f *evidenceFlags) committed(ctx context.Context, of gatewayLog, since string) (*committed, error) {
	r, err := openLog(of.Dir)
	if err != nil {
		return nil, err
	}

	defer r.Close()
	p, err := tree.OpenProver(filepath.Join(of.Dir, tree.DirName), r.Reader)
	if errors.Is(err, tree.ErrNoTree) && since == "" {
		return nil, nil
	}
	if err != nil {
		return nil, committedError(err)
	}
	return f.check(ctx, r, p, of, since)
}

func (f *evidenceFlags) check(ctx context.Context, r *query.Reader, p *tree.Prover, of gatewayLog, since string) (*committed, error) {
	c := &committed{Origin: p.Checkpoint().Origin, Entries: p.Checkpoint().Size}
	trust, err := f.trusted(of)
	if err != nil {
		return nil, err
	}
	if trust != nil {
		if _, _, c.Witnesses, err = trust.Open([]byte(p.Signed())); err != nil {
			return c, committedError(err)
		}
		c.Signed = true
	}

	if c.Checked, err = p.Check(ctx); err != nil {
		return c, committedError(err)
	}
	if since == "" {
		return c, nil
	}
	return c, f.since(ctx, p, trust, c, since)
}

// since demands that the log goes on from a checkpoint that somebody kept.
func (f *evidenceFlags) since(ctx context.Context, p *tree.Prover, trust *evidence.Trust, c *committed, path string) error {
	signed, err := disk.ReadInput(ctx, path, disk.MaxBytes)
	if err != nil {
		return fmt.Errorf("reading --since: %w", err)
	}
	if trust == nil {
		return exit.Usagef("--since needs the log's public key: --log-key or --trust")
	}

	kept, _, _, err := trust.Open(signed)
	if err != nil {
		return committedError(fmt.Errorf("%s: %w", path, err))
	}
	c.Since = kept.Size
	if err := p.Contains(ctx, kept); err != nil {
		return committedError(fmt.Errorf("%s: %w", path, err))
	}
	return nil
}

// trusted are the keys that the manifest or the flags name, or the one that lies beside
// the log; nil where there is none. A log with a key in the manifest is signed by that
// one, and by none of the other gateways'.
func (f *evidenceFlags) trusted(of gatewayLog) (*evidence.Trust, error) {
	if of.LogKey != "" {
		own, err := trustIn(of.LogKey)
		if err != nil || f.trust == "" {
			return own, err
		}
		all, err := f.keys()
		if err != nil {
			return nil, err
		}
		all.Logs = own.Logs
		return all, nil
	}

	if len(f.logKeys) > 0 || f.trust != "" {
		return f.keys()
	}
	beside := filepath.Join(filepath.Dir(filepath.Clean(of.Dir)), "log.key.pub")
	if _, err := disk.Read(beside, disk.MaxBytes); err != nil {
		return nil, nil //nolint:nilerr // then the signature is said to be unchecked
	}
	return (&evidenceFlags{logKeys: []string{beside}}).keys()
}

// unread is the hint where part of a log could not be read.
const unread = "nothing was found out: see that its files can be read, and try again"

func committedError(err error) error {
	err = exit.Judged(fmt.Errorf("holding the log against its checkpoint: %w", err))
	switch {
	case exit.CodeOf(err) == exit.Failure:
		return exit.WithHint(err, unread)
	case errors.Is(err, evidence.ErrUnwitnessed):
		return exit.WithHint(err, "the gateway asks its witnesses with each checkpoint: try again; `guardlock status` says which does not answer")
	}
	return exit.WithHint(err, "keep the files as they are, and compare them with a copy or a backup")
}

func writeCommitted(w io.Writer, c *committed) error {
	if c == nil {
		return nil
	}
	text := fmt.Sprintf("committed to %s leaves by %s", humanize.Comma(c.Entries), c.Origin)
	if !c.Signed {
		text += "; its signature was not checked: give the log's public key with --log-key"
	}
	if c.Checked < c.Entries {
		text += fmt.Sprintf("; %s of them are there", humanize.Comma(c.Checked))
	}

	var names []string
	for _, s := range c.Witnesses {
		names = append(names, s.Witness)
	}
	if len(names) > 0 {
		text += ", cosigned by " + strings.Join(names, ", ")
	}
	if c.Since > 0 {
		text += fmt.Sprintf("; goes on from the %s that were kept", humanize.Comma(c.Since))
	}
	_, err := fmt.Fprintln(w, cli.Printable(text))
	return err
}
