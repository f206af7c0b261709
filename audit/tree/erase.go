package tree

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/internal/disk"
)

// EraseSegment takes personal values out of finished segment n of the log in dir, and
// their salts out of the tree, for a request with a digest. It is audit.EraseSegment with
// the names of the segment's leaves, so that every leaf stays as it was. ErrNotCommitted
// says that the tree has yet to come past the segment: it is for after a checkpoint.
//
// Crash points: with the segment rewritten and its salts still there, whoever has them
// can confirm a guess; erasing again, or Forget, ends that.
func EraseSegment(dir string, n uint32, keys [][32]byte, request audit.Digest, p audit.Personal) (audit.Redaction, error) {
	return EraseOn(disk.OS, filepath.Join(dir, DirName), dir, n, audit.Erasing{Keys: keys, Request: request, Personal: p})
}

// EraseOn is EraseSegment of the log in dir with its tree elsewhere, on another disk than
// disk.OS. The names that it is given do not count.
func EraseOn(s disk.System, treeDir, dir string, n uint32, e audit.Erasing) (audit.Redaction, error) {
	st := store{treeDir, s}
	_, at, err := st.edge()
	if err != nil {
		return audit.Redaction{}, err
	}
	if at.Segment <= n {
		return audit.Redaction{}, fmt.Errorf("segment %d: the tree has come to segment %d, and has to be past it: %w", n, at.Segment, ErrNotCommitted)
	}

	names, err := st.names(n)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return audit.Redaction{}, err
	}

	e.Names = names.of
	done, err := audit.EraseSegment(dir, n, e)
	if err != nil || e.DryRun {
		return done, err
	}

	r, err := audit.OpenReader(dir)
	if err != nil {
		return done, err
	}
	defer r.Close()
	_, err = st.forget(r, n)
	return done, err
}

// Forget sees to it that of each segment which an erasure rewrote, the tree has the salts
// of those values alone that are still there. It is durable when it returns, and tells
// how many tables it changed.
func Forget(dir string) (changed int, err error) {
	r, err := audit.OpenReader(dir)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return ForgetOn(disk.OS, filepath.Join(dir, DirName), r)
}

// ForgetOn is Forget on another disk than disk.OS.
func ForgetOn(s disk.System, dir string, r *audit.Reader) (changed int, err error) {
	rewritten, err := r.Rewritten()
	if err != nil {
		return 0, err
	}

	st := store{dir, s}
	for _, n := range rewritten {
		forgot, err := st.forget(r, n)
		if err != nil {
			return changed, err
		}
		if forgot {
			changed++
		}
	}
	return changed, nil
}

// forget replaces the names of a rewritten segment by the salts of the values that it
// still has, unless that was done.
func (s store) forget(r *audit.Reader, n uint32) (bool, error) {
	rewritten, err := r.IsRewritten(n)
	if err != nil || !rewritten {
		return false, err
	}
	have, err := s.names(n)
	if err != nil {
		return false, err
	}

	values, err := valuesIn(r, n)
	if err != nil {
		return false, err
	}
	if have.salts != nil && have.only(values) {
		return false, nil
	}

	left := names{segment: n, first: have.first, salts: make(map[lookup]evidence.Salt, len(values))}
	rand.Read(left.secret[:])
	for value := range values {
		salt, ok := have.saltOf(value)
		if !ok {
			return false, fmt.Errorf("%w: %s has no salt of a value in its segment", ErrDamaged, s.path(namesName(n)))
		}
		left.salts[left.lookup(value)] = salt
	}

	return true, s.write(namesName(n), left.encode())
}

// valuesIn are those that names of a segment's leaves are of.
func valuesIn(r *audit.Reader, n uint32) (map[string]bool, error) {
	values := make(map[string]bool)
	note := func(value string) evidence.Name {
		if value != "" {
			values[value] = true
		}
		return evidence.Name{}
	}

	err := r.Cursor(audit.Position{Segment: n}).Read(context.Background(), func(f *audit.Frame) error {
		if f.Segment != n {
			return errFound
		}
		return f.Each(func(e *audit.Entry) error {
			e.Leaf(note)
			return nil
		})
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return values, err
}

// only reports whether the table has the salts of just these values.
func (n *names) only(values map[string]bool) bool {
	if len(values) != len(n.salts) {
		return false
	}
	for value := range values {
		if _, ok := n.salts[n.lookup(value)]; !ok {
			return false
		}
	}
	return true
}

// parseNames2 reads a table of salts, which is written in one way.
func parseNames2(b []byte) (*names, bool) {
	const row = len(lookup{}) + len(evidence.Salt{})
	n := &names{salts: make(map[lookup]evidence.Salt)}
	if len(b) < 8+len(n.secret) || (len(b)-8-len(n.secret))%row != 0 {
		return nil, false
	}

	n.first = int64(binary.BigEndian.Uint64(b))
	copy(n.secret[:], b[8:])
	var before []byte
	for rows := b[8+len(n.secret):]; len(rows) > 0; rows = rows[row:] {
		at := rows[:len(lookup{})]
		if before != nil && bytes.Compare(before, at) >= 0 {
			return nil, false
		}
		before = at
		n.salts[lookup(at)] = evidence.Salt(rows[len(lookup{}):row])
	}
	return n, true
}
