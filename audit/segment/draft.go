package segment

import (
	"errors"
	"fmt"
	"io/fs"
)

// Draft is what will take the place of a file of the log as a whole. Its lock is
// that of changing the file: who holds a draft is alone in that.
type Draft struct {
	files Files
	name  string
	file  File
	named bool // it is no longer under its own name
}

// OpenDraft makes a draft of a file, or takes over what a crash left of one.
// ErrLocked says that somebody else has it right now.
func OpenDraft(d Files, name string) (*Draft, error) {
	dr := &Draft{files: d, name: name}
	f, err := d.Open(dr.own(), true)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = d.Create(dr.own())
	}
	if errors.Is(err, fs.ErrExist) {
		err = ErrLocked // somebody made it in this instant
	}
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", name, err)
	}

	if err := f.Lock(); err != nil {
		return nil, fmt.Errorf("making %s: %w", name, errors.Join(err, f.Close()))
	}
	if held, err := d.Holds(dr.own(), f); err != nil || !held {
		return nil, fmt.Errorf("making %s: %w", name, errors.Join(ErrLocked, err, f.Close()))
	}

	dr.file = f
	return dr, nil
}

func (dr *Draft) own() string { return dr.name + ".tmp" }

// Put makes b durable as the file's content. Crash points: until the rename is
// durable the old file holds.
func (dr *Draft) Put(b []byte) error {
	if err := dr.file.Truncate(0); err != nil {
		return fmt.Errorf("making %s: %w", dr.name, err)
	}
	if _, err := dr.file.WriteAt(b, 0); err != nil {
		return fmt.Errorf("writing %s: %w", dr.name, err)
	}
	if err := dr.file.Sync(); err != nil {
		return fmt.Errorf("flushing %s: %w", dr.name, err)
	}
	if err := dr.files.Rename(dr.own(), dr.name); err != nil {
		return fmt.Errorf("naming %s: %w", dr.name, err)
	}

	dr.named = true
	return dr.files.SyncDir()
}

// Close lets others change the file, and removes a draft that was not put.
func (dr *Draft) Close() error {
	var err error
	if !dr.named {
		err = dr.files.Remove(dr.own())
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}

	return errors.Join(err, dr.file.Close())
}
