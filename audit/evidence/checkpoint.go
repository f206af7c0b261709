package evidence

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrCheckpoint means that a text is no checkpoint.
var ErrCheckpoint = errors.New("malformed checkpoint")

// ErrNoKey means that a checkpoint may be right, and that the keys to tell it by are others'.
var ErrNoKey = errors.New("no key that was given signed it")

// Checkpoint is what a log vouches for: at this size it had this root (C2SP
// tlog-checkpoint). Origin names the log, and is the name of its key.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   Hash
}

// Text is the body of the note, without signatures.
func (c *Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// Sign makes the note.
func (c *Checkpoint) Sign(s note.Signer) ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: c.Text()}, s)
	if err != nil {
		return nil, fmt.Errorf("signing checkpoint: %w", err)
	}
	return b, nil
}

// ParseCheckpoint reads a note's body. It checks no signature. Lines behind the
// third, which C2SP allows, are refused: this log writes none.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] == "" || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("%w: it has not three lines", ErrCheckpoint)
	}

	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("%w: size %q", ErrCheckpoint, lines[1])
	}

	root, err := DecodeBase64(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("%w: root hash %q", ErrCheckpoint, lines[2])
	}
	return Checkpoint{lines[0], size, Hash(root)}, nil
}

// DecodeBase64 decodes a text that has one spelling: without spare bits, and without
// the line breaks that the library passes over (RFC 4648, 3.3 and 3.5).
func DecodeBase64(s string) ([]byte, error) {
	if at := strings.IndexAny(s, "\r\n"); at >= 0 {
		return nil, base64.CorruptInputError(at)
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

// OpenCheckpoint reads a note that one of the logs signed, by a key with the name of
// its origin. It returns the name and hash of that key.
func OpenCheckpoint(signed []byte, logs note.Verifiers) (Checkpoint, note.Signature, error) {
	n, err := note.Open(signed, logs)
	var unknown *note.UnverifiedNoteError
	if errors.As(err, &unknown) {
		origin, _, _ := strings.Cut(unknown.Note.Text, "\n")
		return Checkpoint{}, note.Signature{}, fmt.Errorf("checking checkpoint of %q: %w", origin, ErrNoKey)
	}
	if err != nil {
		return Checkpoint{}, note.Signature{}, fmt.Errorf("checking checkpoint: %w", err)
	}

	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, note.Signature{}, err
	}
	for _, s := range slices.Concat(n.Sigs, n.UnverifiedSigs) { // note reads spare bits as it likes
		if _, err := DecodeBase64(s.Base64); err != nil {
			return Checkpoint{}, note.Signature{}, fmt.Errorf("%w: signature of %s: %w", ErrCheckpoint, s.Name, err)
		}
	}

	for _, s := range n.Sigs {
		if s.Name == c.Origin {
			return c, s, nil
		}
	}

	return Checkpoint{}, note.Signature{}, fmt.Errorf("checking checkpoint: no key of %s signed it", c.Origin)
}
