package audit

import (
	"bytes"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
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
	holdsFormat = "guardlock holds v2"
	oldHolds    = "guardlock holds v1" // without a tag
)

var (
	// ErrHolds says that the holds cannot be read, so that nothing may be removed.
	ErrHolds = errors.New("the legal holds cannot be read")
	// ErrHoldsUntagged says that the holds are from before they had a tag, so that nothing
	// shows who wrote them.
	ErrHoldsUntagged = errors.New("they have no tag under the audit key")
	// ErrHoldsTag says that the holds, or the log that they are beside, are not those that
	// somebody with one of the audit keys wrote down.
	ErrHoldsTag = errors.New("their tag was made under none of the audit keys given, or for other holds or another log")
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
	By         string    `json:"by,omitempty"` // who added it, as he calls himself
	Added      time.Time `json:"added"`
	Lifted     time.Time `json:"lifted,omitzero"`
	LiftReason string    `json:"lift_reason,omitempty"`
	LiftedBy   string    `json:"lifted_by,omitempty"`
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
	Tag    Digest `json:"tag,omitzero"` // an HMAC of the file without it
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

func (f holdsFile) encode() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", " ")
	return append(b, '\n'), err
}

// tag is the HMAC of a file's holds, for one log: a file that was taken from another
// one has another tag.
func (f holdsFile) tag(key [32]byte, log [8]byte) (Digest, error) {
	f.Tag = Digest{}
	b, err := f.encode()
	if err != nil {
		return Digest{}, fmt.Errorf("tagging legal holds: %w", err)
	}

	return tagOf(key, "guardlock audit holds v2", log, b), nil
}

// check demands that somebody with one of the keys wrote the file, for this log.
func (f holdsFile) check(keys [][32]byte, log [8]byte) error {
	if f.Format == oldHolds {
		return fmt.Errorf("%w: %w", ErrHolds, ErrHoldsUntagged)
	}

	for _, key := range keys {
		want, err := f.tag(key, log)
		if err != nil {
			return err
		}
		if hmac.Equal(want[:], f.Tag[:]) {
			return nil
		}
	}
	return fmt.Errorf("%w: %w", ErrHolds, ErrHoldsTag)
}

// parseHolds reads the file, which is written in one way only: what anybody changed
// by hand might mean something else to them.
func parseHolds(b []byte) (file holdsFile, err error) {
	if err := json.Unmarshal(b, &file); err != nil {
		return file, fmt.Errorf("%w: %w", ErrHolds, err)
	}
	if file.Format != holdsFormat && file.Format != oldHolds {
		return file, fmt.Errorf("%w: its format is %q, not %q", ErrHolds, file.Format, holdsFormat)
	}
	if (file.Tag != Digest{}) != (file.Format == holdsFormat) {
		return file, fmt.Errorf("%w: its tag is missing, or is in a file from before there were tags", ErrHolds)
	}

	for i := range file.Holds {
		h := &file.Holds[i]
		if !h.valid() || h.ID != strconv.Itoa(i+1) {
			return file, fmt.Errorf("%w: hold %d is not one that was written here", ErrHolds, i+1)
		}
	}

	again, err := file.encode()
	if err != nil || !bytes.Equal(again, b) {
		return file, fmt.Errorf("%w: the file was changed by hand", errors.Join(ErrHolds, err))
	}

	return file, nil
}

// FilesIn are the files of the log in a directory, as the holds are read and changed in.
func FilesIn(dir string) segment.Files { return segment.Disk{Dir: dir} }

// ReadHolds reads the holds of a log, which somebody with one of the audit keys must have
// written; without keys that is not checked. A log that never had any has no file of them.
func ReadHolds(d segment.Files, keys [][32]byte) (Holds, error) {
	file, err := readHolds(d)
	if err != nil {
		return nil, err
	}
	if file == nil {
		file = new(holdsFile)
	}
	if len(keys) == 0 {
		return file.Holds, nil
	}

	if len(file.Format) > 0 {
		h, err := newestHeader(d)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHolds, err)
		}
		if err := file.check(keys, h.LogID); err != nil {
			return nil, err
		}
	}
	return file.Holds, file.Holds.told(d)
}

// told demands that the holds are all that the log says are in force: whoever removed the
// file, or put an older one back, wins nothing.
func (hs Holds) told(d segment.Files) error {
	told, err := holdsToldIn(d)
	if err != nil {
		return err
	}
	if err := hs.lacks(told); err != nil {
		return fmt.Errorf("%w: %w", ErrHolds, err)
	}
	return nil
}

// readHolds reads the file; nil where there is none.
func readHolds(d segment.Files) (*holdsFile, error) {
	b, err := readBeside(d, HoldsName)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHolds, err)
	}
	if b == nil {
		return nil, nil
	}
	file, err := parseHolds(b)
	return &file, err
}

// AddHold adds a hold to a log, durably, and returns it with its id. The audit key that
// the log is written under must be among the keys. While somebody prunes it fails with
// ErrLocked.
func AddHold(d segment.Files, keys [][32]byte, h Hold) (Hold, error) {
	h.From = h.From.UTC().Truncate(time.Microsecond) // as entries have their times
	h.To = h.To.UTC()
	h.Added = h.Added.UTC().Truncate(time.Second)

	if !utf8.ValidString(h.Topic + h.Reason + h.By) {
		return h, errors.New("the hold cannot be written: it is no UTF-8")
	}

	err := changeHolds(d, keys, func(hs Holds) (Holds, error) {
		h.ID = strconv.Itoa(len(hs) + 1)
		return append(hs, h), nil
	})
	return h, err
}

// Lift says who lifts a hold, why, and when.
type Lift struct {
	Reason string
	By     string
	Time   time.Time
}

// LiftHold ends a hold; it stays in the file, with the reason.
func LiftHold(d segment.Files, keys [][32]byte, id string, with Lift) (lifted Hold, err error) {
	err = changeHolds(d, keys, func(hs Holds) (Holds, error) {
		i := slices.IndexFunc(hs, func(h Hold) bool { return h.ID == id && h.InForce() })
		if i < 0 {
			return nil, fmt.Errorf("%q: %w", id, ErrNoHold)
		}

		hs[i].Lifted = with.Time.UTC().Truncate(time.Second)
		hs[i].LiftReason = with.Reason
		hs[i].LiftedBy = with.By
		lifted = hs[i]
		return hs, nil
	})

	return lifted, err
}

// TagHolds gives holds from before there were tags the tag that they lack, on the word of
// whoever calls it that they are what was added; and others the tag under the key that the
// log is written under now.
func TagHolds(d segment.Files, keys [][32]byte) (tagged Holds, err error) {
	err = replaceHolds(d, keys, func(log [8]byte) (Holds, error) {
		file, err := readHolds(d)
		if err != nil || file == nil {
			return nil, errors.Join(err, ErrNoHold)
		}
		if err := file.check(keys, log); err != nil && !errors.Is(err, ErrHoldsUntagged) {
			return nil, err
		}

		tagged = file.Holds
		return tagged, nil
	})
	return tagged, err
}

// changeHolds replaces the file as a whole. What cannot be read is not replaced.
func changeHolds(d segment.Files, keys [][32]byte, change func(Holds) (Holds, error)) error {
	return replaceHolds(d, keys, func([8]byte) (Holds, error) {
		hs, err := ReadHolds(d, keys)
		if err != nil {
			return nil, err
		}
		return change(hs)
	})
}

// replaceHolds writes what next returns, while nobody else changes the holds or prunes.
func replaceHolds(d segment.Files, keys [][32]byte, next func(log [8]byte) (Holds, error)) error {
	return replaceBeside(d, keys, HoldsName, func(key [32]byte, log [8]byte) ([]byte, error) {
		hs, err := next(log)
		if err != nil {
			return nil, err
		}
		file := holdsFile{Format: holdsFormat, Holds: hs}
		if file.Tag, err = file.tag(key, log); err != nil {
			return nil, err
		}

		b, err := file.encode()
		if err != nil {
			return nil, err
		}
		if _, err := parseHolds(b); err != nil || len(b) > maxBeside {
			return nil, fmt.Errorf("the hold cannot be written: %w", errors.Join(ErrHolds, err))
		}
		return b, nil
	})
}
