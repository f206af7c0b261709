package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/guardlock/guardlock/audit/segment"
	"github.com/guardlock/guardlock/internal/pattern"
)

// HoldsName is the file beside the segments that keeps the legal holds.
const HoldsName = "holds"

const (
	holdsFormat = "guardlock holds v1"
	maxHolds    = 4 << 20 // bytes of the file
)

var (
	// ErrHolds says that the holds cannot be read, so that nothing may be removed.
	ErrHolds = errors.New("the legal holds cannot be read")
	// ErrHoldsChanged says that a hold was added or lifted while a pruning looked.
	ErrHoldsChanged = errors.New("a legal hold was added or lifted meanwhile")
	// ErrNoHold says that no hold with that id is in force.
	ErrNoHold = errors.New("no such legal hold is in force")
)

// Hold keeps the segments with entries of a topic and a time from being removed.
type Hold struct {
	ID         string    `json:"id"`
	Topic      string    `json:"topic"` // a pattern; * alone holds entries without a topic too
	From       time.Time `json:"from,omitzero"`
	To         time.Time `json:"to,omitzero"`
	Reason     string    `json:"reason"`
	Added      time.Time `json:"added"`
	Lifted     time.Time `json:"lifted,omitzero"`
	LiftReason string    `json:"lift_reason,omitempty"`
}

// Held says which segments stay for holds, though they are old enough to go.
type Held struct {
	First uint32 `json:"first_segment"` // the one that is held
	Last  uint32 `json:"last_segment"`  // that stays with it
	Bytes int64  `json:"bytes"`
	Holds []Hold `json:"holds"`
}

// Holds are all that were ever added, those that were lifted included.
type Holds []Hold

type holdsFile struct {
	Format string `json:"format"`
	Holds  Holds  `json:"holds"`
}

// InForce reports whether nobody has lifted the hold.
func (h *Hold) InForce() bool { return h.Lifted.IsZero() }

// keeps reports whether a segment may hold an entry that the hold is about.
func (h *Hold) keeps(s *Summary) bool {
	if !h.InForce() || s.MinTime > s.MaxTime {
		return false // bindings alone stay with the batches before them
	}
	if !h.From.IsZero() && s.MaxTime < h.From.UnixMicro() || !h.To.IsZero() && s.MinTime > h.To.UnixMicro() {
		return false
	}

	return h.Topic == "*" || s.Any(RoleTopic|RoleRoute, func(topic string) bool { return pattern.Match(h.Topic, topic) })
}

// keeping returns the holds that keep a segment.
func (hs Holds) keeping(s *Summary) (by []Hold) {
	for i := range hs {
		if hs[i].keeps(s) {
			by = append(by, hs[i])
		}
	}
	return by
}

func (h *Hold) valid() bool {
	number, err := strconv.ParseUint(h.ID, 10, 32)
	ordered := h.From.IsZero() || h.To.IsZero() || !h.To.Before(h.From)
	named := h.Topic != "" && h.Reason != "" && !h.Added.IsZero()
	return err == nil && number > 0 && ordered && named && h.InForce() == (h.LiftReason == "")
}

func (hs Holds) encode() ([]byte, error) {
	b, err := json.MarshalIndent(holdsFile{holdsFormat, hs}, "", " ")
	return append(b, '\n'), err
}

// parseHolds reads the file, which is written in one way only: what anybody changed
// by hand might mean something else to them.
func parseHolds(b []byte) (Holds, error) {
	var file holdsFile
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHolds, err)
	}
	if file.Format != holdsFormat {
		return nil, fmt.Errorf("%w: its format is %q, not %q", ErrHolds, file.Format, holdsFormat)
	}

	for i := range file.Holds {
		h := &file.Holds[i]
		if !h.valid() || h.ID != strconv.Itoa(i+1) {
			return nil, fmt.Errorf("%w: hold %d is not one that was written here", ErrHolds, i+1)
		}
	}

	again, err := file.Holds.encode()
	if err != nil || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: the file was changed by hand", errors.Join(ErrHolds, err))
	}

	return file.Holds, nil
}

// FilesIn are the files of the log in a directory, as the holds are read and changed in.
func FilesIn(dir string) segment.Files { return segment.Disk{Dir: dir} }

// ReadHolds reads the holds of a log; one that never had any has no file of them.
func ReadHolds(d segment.Files) (Holds, error) {
	f, err := d.Open(HoldsName, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHolds, err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHolds, err)
	}
	if size > maxHolds {
		return nil, fmt.Errorf("%w: the file has %d bytes, and %d at most are read", ErrHolds, size, maxHolds)
	}

	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", ErrHolds, err)
	}
	return parseHolds(b)
}

// AddHold adds a hold to a log, durably, and returns it with its id. While somebody
// prunes it fails with ErrLocked.
func AddHold(d segment.Files, h Hold) (Hold, error) {
	h.From = h.From.UTC().Truncate(time.Microsecond) // as entries have their times
	h.To = h.To.UTC()
	h.Added = h.Added.UTC().Truncate(time.Second)

	if !utf8.ValidString(h.Topic + h.Reason) {
		return h, errors.New("the hold cannot be written: it is no UTF-8")
	}

	err := changeHolds(d, func(hs Holds) (Holds, error) {
		h.ID = strconv.Itoa(len(hs) + 1)
		return append(hs, h), nil
	})
	return h, err
}

// LiftHold ends a hold; it stays in the file, with the reason.
func LiftHold(d segment.Files, id, reason string, now time.Time) (lifted Hold, err error) {
	err = changeHolds(d, func(hs Holds) (Holds, error) {
		i := slices.IndexFunc(hs, func(h Hold) bool { return h.ID == id && h.InForce() })
		if i < 0 {
			return nil, fmt.Errorf("%q: %w", id, ErrNoHold)
		}

		hs[i].Lifted = now.UTC().Truncate(time.Second)
		hs[i].LiftReason = reason
		lifted = hs[i]
		return hs, nil
	})

	return lifted, err
}

// changeHolds replaces the file as a whole. What cannot be read is not replaced.
func changeHolds(d segment.Files, change func(Holds) (Holds, error)) (err error) {
	all, _, err := segment.Numbers(d)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("the directory holds no segment of a log: %w", fs.ErrNotExist)
	}
	if err != nil {
		return err
	}

	draft, err := segment.OpenDraft(d, HoldsName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, draft.Close()) }()

	hs, err := ReadHolds(d)
	if err != nil {
		return err
	}
	if hs, err = change(hs); err != nil {
		return err
	}

	b, err := hs.encode()
	if err != nil {
		return err
	}
	if _, err := parseHolds(b); err != nil || len(b) > maxHolds {
		return fmt.Errorf("the hold cannot be written: %w", errors.Join(ErrHolds, err))
	}

	return draft.Put(b)
}
