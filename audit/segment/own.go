package segment

import (
	"errors"
	"fmt"
)

// stillOurs makes sure that what was made durable is where the log's readers
// look, and that nobody else writes there. The locks of the directory and of the
// last segment see to that as long as nobody removes or replaces files, and where
// the file system knows locks; so whoever waits for a commit is told only after
// this look.
func (c *Committer) stillOurs() error {
	held, err := c.Files.Holds(Name(c.Header.Number), c.File)
	if err != nil {
		return fmt.Errorf("looking after segment %d: %w", c.Header.Number, err)
	}
	if !held {
		return fmt.Errorf("%w: segment %d is no longer the file that this gateway writes", ErrTakenOver, c.Header.Number)
	}

	if c.Mark == nil {
		return nil // the log is being opened
	}
	ours, err := c.markIsOurs()
	if err != nil {
		return fmt.Errorf("looking after the committed mark: %w", err)
	}
	if !ours {
		return fmt.Errorf("%w: somebody else wrote the committed mark", ErrTakenOver)
	}

	return nil
}

// OpenLast opens the last of the segments in all for writing, and holds its lock.
// A living writer always holds the lock of the last one, so that a writer whose
// directory's lock was removed is found; ErrLocked tells of it.
func OpenLast(d Files, all []uint32) (File, error) {
	number := all[len(all)-1]
	f, err := d.Open(Name(number), true)
	if err != nil {
		return nil, fmt.Errorf("opening segment %d: %w", number, err)
	}
	if err := f.Lock(); err != nil {
		return nil, fmt.Errorf("locking segment %d: %w", number, errors.Join(err, f.Close()))
	}

	again, _, err := Numbers(d)
	if err == nil && again[len(again)-1] != number {
		err = ErrLocked // it began the next one meanwhile
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}

	return f, nil
}
