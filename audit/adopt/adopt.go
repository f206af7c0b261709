// Package adopt begins a new decision log that links to an old one, for a gateway that
// does not serve any more because its log is damaged or was put back to what it once was.
//
// # Order
//
// Nothing of the old log is deleted. Each step is durable before the next:
//
//  1. the new log, under a name that says that it is being made (Pending), with the
//     entry that names the old one;
//  2. the old log's directory gets a name of its own;
//  3. its log key and the copies of its checkpoints get one beside it, so that the
//     gateway makes another key: witnesses refuse a shorter log of the same origin;
//  4. the new log gets the name that the old one had.
//
// A gateway does not start while there is a pending one, so that a crash between two
// steps leaves no log without its link. Begin, run again, does the rest.
//
// # Trust
//
// The link proves what the operator said, and the last checkpoint that the old
// directory had, and no more: he could have named another. Who has a copy of
// the old log can tell whether that is the one.
package adopt

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/segment"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/internal/disk"
)

// ErrNothing means that there is no log that a new one could go on from.
var ErrNothing = errors.New("there is no decision log to go on from")

// maxCheckpoint bounds the file of a checkpoint.
const maxCheckpoint = 1 << 20

// Options say which log is set aside, by whom and why.
type Options struct {
	Dir    string   // of the log
	LogKey string   // file of the key that signs its checkpoints
	Copies []string // of its checkpoints
	Log    audit.Options
	By     string // who says so; nothing proves it
	Reason string
}

// Adopted is what became of the old log.
type Adopted struct {
	Aside string       `json:"aside"` // directory of the old log
	Moved []string     `json:"moved"` // what else was set aside, by its new names
	Link  []audit.Fact `json:"link"`  // what the new log says of the old one
	Again bool         `json:"completed,omitempty"`
}

// pendingOf is the directory of a log that is being made in the place of dir's.
func pendingOf(dir string) string { return filepath.Clean(dir) + ".adopting" }

// Pending reports whether an adoption of the log in dir was cut short. A gateway that
// made a log there would make one without a link.
func Pending(dir string) (bool, error) {
	_, err := os.Lstat(pendingOf(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Begin sets the log in o.Dir aside and begins another in its place. A gateway that
// writes it is audit.ErrLocked.
func Begin(ctx context.Context, o Options) (Adopted, error) {
	o.Dir = filepath.Clean(o.Dir)
	a, err := o.begin(ctx)
	if err != nil {
		return a, fmt.Errorf("beginning a new decision log in the place of %s: %w", o.Dir, err)
	}
	return a, nil
}

func (o *Options) begin(ctx context.Context) (a Adopted, err error) {
	there, err := isThere(o.Dir)
	if err != nil {
		return a, err
	}

	pending, err := Pending(o.Dir)
	if err != nil {
		return a, err
	}
	if !there && !pending {
		return a, fmt.Errorf("%w: %w", ErrNothing, fs.ErrNotExist)
	}

	a.Again = !there
	number := o.lastAside()
	if there {
		lock, err := segment.Disk{Dir: o.Dir}.Lock()
		if err != nil {
			return a, err
		}

		defer func() { err = errors.Join(err, lock.Close()) }()
		number++
		if a.Link, err = o.prepare(ctx, number); err != nil {
			return a, err
		}
		if err := o.rename(o.Dir, o.aside(number)); err != nil {
			return a, err
		}
	}

	a.Aside = o.aside(number)
	return a, o.finish(&a, number)
}

// finish does what is left once the old log has a name of its own.
func (o *Options) finish(a *Adopted, number int) error {
	for _, path := range append([]string{o.LogKey, o.LogKey + ".pub"}, o.Copies...) {
		to := numbered(path, number)
		err := o.rename(path, to)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}

		a.Moved = append(a.Moved, to)
	}
	return o.rename(pendingOf(o.Dir), o.Dir)
}

// prepare makes the new log, and returns what it says of the old one. What an earlier
// attempt left of it is made again.
func (o *Options) prepare(ctx context.Context, number int) ([]audit.Fact, error) {
	pending := pendingOf(o.Dir)
	if err := os.RemoveAll(pending); err != nil {
		return nil, err
	}

	link := o.link(number)
	l, err := audit.Open(pending, o.Log)
	if err != nil {
		return nil, err
	}

	err = l.Record(ctx, audit.ControlEntry{
		Kind:      audit.KindAdoption,
		Subject:   o.Log.Node,
		Principal: o.By,
		Outcome:   "adopted",
		Reason:    o.Reason,
		Facts:     link,
	})

	return link, errors.Join(err, l.Close())
}

// link is what is known of the old log. A damaged one may tell nothing of itself.
func (o *Options) link(number int) []audit.Fact {
	facts := []audit.Fact{{Key: audit.FactFromAside, Value: filepath.Base(o.aside(number))}}
	add := func(key, value string) {
		if value != "" {
			facts = append(facts, audit.Fact{Key: key, Value: value})
		}
	}

	add(audit.FactFromLog, logID(o.Dir))
	verifier, public := o.verifier()
	add(audit.FactFromKey, public)

	last := o.lastCheckpoint(verifier)
	if last == nil {
		return facts
	}

	add(audit.FactFromOrigin, last.Origin)
	add(audit.FactFromEntries, strconv.FormatInt(last.Size, 10))
	add(audit.FactFromRoot, base64.StdEncoding.EncodeToString(last.Root[:]))
	return facts
}

// verifier is the public half of the old log's key, nil where it cannot be read.
func (o *Options) verifier() (note.Verifier, string) {
	b, err := disk.Read(o.LogKey+".pub", disk.MaxBytes)
	if err != nil {
		return nil, ""
	}

	public := strings.TrimSpace(string(b))
	v, err := note.NewVerifier(public)
	if err != nil {
		return nil, ""
	}

	return v, public
}

// lastCheckpoint is the one that speaks for most entries: a log that was put back is
// shorter than a copy says. It is nil where none can be read.
func (o *Options) lastCheckpoint(v note.Verifier) (last *evidence.Checkpoint) {
	if v == nil {
		return nil
	}
	for _, path := range append([]string{filepath.Join(o.Dir, tree.DirName, tree.CheckpointName)}, o.Copies...) {
		signed, err := disk.Read(path, maxCheckpoint)
		if err != nil {
			continue
		}

		c, _, err := evidence.OpenCheckpoint(signed, note.VerifierList(v))
		if err == nil && (last == nil || c.Size > last.Size) {
			last = &c
		}
	}

	return last
}

// logID is that of the first segment whose header can be read.
func logID(dir string) string {
	names, err := filepath.Glob(filepath.Join(dir, "audit-*.wal"))
	if err != nil {
		return ""
	}

	for _, name := range names {
		head := make([]byte, segment.HeaderSize)
		f, err := os.Open(name)
		if err != nil {
			continue
		}

		n, err := f.ReadAt(head, 0)
		err = errors.Join(err, f.Close())
		if h, wrong := segment.ParseHeader(head[:n]); wrong == nil && err == nil {
			return hex.EncodeToString(h.LogID[:])
		}
	}

	return ""
}

// aside is the directory of the old log, which is numbered from 1.
func (o *Options) aside(number int) string { return numbered(o.Dir, number) }

func numbered(path string, number int) string {
	stem, public := strings.CutSuffix(path, ".pub")
	name := stem + "." + strconv.Itoa(number)
	if public {
		name += ".pub" // beside the secret half, as everywhere
	}
	return name
}

// lastAside is the number of the last log that was set aside, 0 if there is none.
func (o *Options) lastAside() (number int) {
	for {
		if there, err := isThere(o.aside(number + 1)); err != nil || !there {
			return number
		}
		number++
	}
}

func isThere(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// rename gives a file or a directory a name that nobody has, durably.
func (o *Options) rename(from, to string) error {
	if _, err := os.Lstat(from); err != nil {
		return err
	}
	if there, err := isThere(to); err != nil || there {
		return fmt.Errorf("naming %s: %s is there already: %w", from, to, errors.Join(err, fs.ErrExist))
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}

	return disk.SyncDir(filepath.Dir(to))
}
