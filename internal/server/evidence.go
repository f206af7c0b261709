package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/stamp"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/audit/witness"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/exit"
)

// keepApprovals is where the approvals are kept that admissions in the decision log name.
func keepApprovals(cfg *config.Config) func(id, key string, bundle []byte) error {
	return tree.ApprovalsOf(cfg.File(cfg.Audit.Dir)).Keep
}

// committer grows the tree over the decision log and signs its checkpoints, beside the
// gateway's work. Nobody waits for it.
type committer struct {
	opt   tree.Options
	every time.Duration
	log   *Logger
	from  *audit.Reader
	next  func() uint64 // number behind the last durable entry
	own   ownLog
	tree  *tree.Tree // nil: what it held is no longer sure, and is read again
	state commitState
}

// commitState is how far the log is committed to, for those who watch. It is safe for
// concurrent use.
type commitState struct {
	leaves   atomic.Int64  // of the tree that is signed: entries, placements and seals
	next     atomic.Uint64 // number behind the last entry that is among them
	at       atomic.Int64  // when all was signed and shown, in nanoseconds since the epoch
	failures atomic.Uint64

	witnessed []atomic.Int64 // leaves that each witness cosigned, in their order
}

// openCommitter goes on with the tree. A log that does not contain its last checkpoint
// is an error: nobody can say what is missing from it.
func openCommitter(ctx context.Context, cfg *config.Config, log *Logger, journal *audit.Log) (*committer, error) {
	e := &cfg.Audit.Evidence
	key := cfg.File(e.KeyFile)
	dir := filepath.Join(cfg.File(cfg.Audit.Dir), tree.DirName)
	if err := keyOfTree(key, dir); err != nil {
		return nil, err
	}
	signer, verifier, err := loadLogKey(key, cfg.Node)
	if err != nil {
		return nil, fmt.Errorf("audit.evidence.key_file: %w", err)
	}

	c := &committer{
		opt:   tree.Options{Dir: dir, Signer: signer, Verifier: verifier},
		every: e.Every,
		log:   log,
		from:  journal.Reader(),
		next:  func() uint64 { return journal.Count().NextSeq },
	}
	for _, path := range e.Copies {
		c.opt.Copies = append(c.opt.Copies, cfg.File(path))
	}

	for _, w := range e.Witnesses {
		key, err := evidence.ParseWitness(w.Key)
		if err != nil {
			return nil, err
		}
		c.opt.Witnesses = append(c.opt.Witnesses, witness.NewClient(w.URL, key))
	}

	c.state.witnessed = make([]atomic.Int64, len(c.opt.Witnesses))
	if c.opt.Stamps, err = stamping(cfg); err != nil {
		return nil, err
	}

	if c.tree, err = tree.Open(ctx, c.from, c.opt); err != nil {
		return nil, treeError(err)
	}
	if c.own, err = ownLogIn(c.from, key); err != nil {
		return nil, err
	}
	if len(c.opt.Witnesses) > 0 { // they may know of more than this directory
		if err := c.commit(ctx); errors.Is(err, tree.ErrRolledBack) {
			return nil, treeError(err)
		}
	}
	return c, nil
}

// ownLogIn is what a manifest must have of a log with this log key.
func ownLogIn(r *audit.Reader, key string) (own ownLog, err error) {
	if own.id, _, err = r.Identity(); err != nil {
		return own, fmt.Errorf("reading the id of the decision log: %w", err)
	}
	public, err := disk.Read(publicOf(key), disk.MaxBytes)
	if err != nil {
		return own, fmt.Errorf("reading the public half of the log key: %w", err)
	}
	own.key = strings.TrimSpace(string(public))
	return own, nil
}

// ownLogOf is that of a gateway which does not run.
func ownLogOf(cfg *config.Config) (own ownLog, err error) {
	r, err := audit.OpenReader(cfg.File(cfg.Audit.Dir))
	if err != nil {
		return own, err
	}
	own, err = ownLogIn(r, cfg.File(cfg.Audit.Evidence.KeyFile))
	return own, errors.Join(err, r.Close())
}

// stamping is how time stamps are got; nil where none are asked for.
func stamping(cfg *config.Config) (*tree.Stamping, error) {
	s := &cfg.Audit.Evidence.Timestamp
	if s.URL == "" {
		return nil, nil
	}
	text, err := disk.Read(cfg.File(s.CAFile), disk.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("audit.evidence.timestamp.ca_file: %w", err)
	}
	authorities, err := stamp.ParseAuthorities(text)
	if err != nil {
		return nil, fmt.Errorf("audit.evidence.timestamp.ca_file: %s: %w", s.CAFile, err)
	}
	return &tree.Stamping{Authority: stamp.NewClient(s.URL, authorities), Every: s.Every}, nil
}

// treeError says what the operator can do about a tree that cannot be gone on with.
func treeError(err error) error {
	switch {
	case errors.Is(err, tree.ErrRolledBack):
		return exit.WithHint(err, "put the log back that was written last; "+adoptHint)
	case errors.Is(err, tree.ErrDamaged):
		return exit.WithHint(err, "put the directory back from a copy that is as new as its checkpoint")
	}
	return err
}

// run makes checkpoints until ctx ends. It returns an error where a witness, or a copy,
// tells that the log is not the one that was vouched for: nobody should write to it.
func (c *committer) run(ctx context.Context) error {
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	var failing alarm

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}

		err := c.commit(ctx)
		switch {
		case errors.Is(err, tree.ErrRolledBack):
			return treeError(err)
		case err == nil && failing.over():
			c.log.Info("the decision log is committed to again")
		case err != nil && ctx.Err() == nil:
			if tell, _ := failing.ring(err, time.Now()); tell {
				c.log.Error(failed(err), zap.Error(err))
			}
		}
	}
}

// failed says what it means that there is no new checkpoint, or no whole one.
func failed(err error) string {
	switch {
	case errors.Is(err, tree.ErrUnwitnessed):
		return "a checkpoint of the decision log is signed, but not by every witness"
	case errors.Is(err, tree.ErrUnstamped):
		return "a checkpoint of the decision log is signed, but has no time stamp"
	}
	return "no checkpoint of the decision log could be made: what is newer than the last cannot be proven"
}

// commit makes a checkpoint. After a failure the tree is read again.
func (c *committer) commit(ctx context.Context) error {
	if c.tree == nil {
		t, err := tree.Open(ctx, c.from, c.opt)
		if err != nil {
			return err
		}
		c.tree = t
	}

	next := c.next() // what comes from now on may be in the checkpoint, or not
	leaves, err := c.tree.Checkpoint(ctx)
	c.state.note(leaves, next, err)
	for i, w := range c.opt.Witnesses {
		c.state.witnessed[i].Store(w.Cosigned())
	}
	if err != nil && !errors.Is(err, tree.ErrUnwitnessed) && !errors.Is(err, tree.ErrUnstamped) {
		c.tree = nil
	}
	return err
}

func (c *commitState) note(leaves int64, next uint64, err error) {
	if signed := c.leaves.Swap(leaves) != leaves; signed || err == nil {
		c.next.Store(next)
	}
	if err != nil {
		c.failures.Add(1)
		return
	}
	c.at.Store(time.Now().UnixNano())
}

// keyOfTree checks that no key is made for a log whose checkpoints another one signed: that
// would take the place of the public half, which auditors have.
func keyOfTree(key, dir string) error {
	here, err := disk.OS.Exists(key)
	if here || err != nil {
		return err
	}
	checkpoint := filepath.Join(dir, tree.CheckpointName)
	signed, err := disk.OS.Exists(checkpoint)
	if !signed || err != nil {
		return err
	}
	return exit.WithHint(fmt.Errorf("audit.evidence.key_file: %s is missing, and the key in it signed %s", key, checkpoint),
		"put the key back; "+adoptHint)
}

// loadLogKey reads the log key, or makes one at the first start. Its name is the
// origin of the log's checkpoints.
func loadLogKey(path, node string) (note.Signer, note.Verifier, error) {
	secret, err := disk.ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret, err = makeLogKey(path, node)
	}
	if err != nil {
		return nil, nil, err
	}

	signer, err := note.NewSigner(strings.TrimSpace(string(secret)))
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no log key: %w", path, err)
	}
	public, err := disk.Read(publicOf(path), disk.MaxBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the public half of the log key: %w", err)
	}

	verifier, err := note.NewVerifier(strings.TrimSpace(string(public)))
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no public key of a log: %w", publicOf(path), err)
	}
	if verifier.Name() != signer.Name() || verifier.KeyHash() != signer.KeyHash() {
		return nil, nil, fmt.Errorf("%s is not the public half of %s", publicOf(path), path)
	}
	return signer, verifier, nil
}

func publicOf(path string) string { return path + ".pub" }

// makeLogKey writes the public half first: a crash between the two leaves no secret
// whose other half is missing.
func makeLogKey(path, node string) ([]byte, error) {
	var id [8]byte
	rand.Read(id[:])
	secret, public, err := note.GenerateKey(rand.Reader, "guardlock/"+node+"/"+hex.EncodeToString(id[:]))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}

	if err := disk.Replace(publicOf(path), []byte(public+"\n"), 0o644); err != nil {
		return nil, err
	}
	if err := disk.Create(path, []byte(secret+"\n"), 0o600); err != nil {
		return nil, err
	}
	return []byte(secret), disk.SyncDir(filepath.Dir(path))
}
