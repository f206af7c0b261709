package evidence

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// ErrWitnessKey means that a text is no key of a witness.
var ErrWitnessKey = errors.New("malformed key of a witness")

// algorithmCosignature is that of C2SP tlog-cosignature, cosignature/v1.
const algorithmCosignature = 4

// Witness is the public key of a witness, which says when it saw a checkpoint, and that
// it was never shown another history of that log. It implements note.Verifier.
type Witness struct {
	name string
	key  ed25519.PublicKey
}

// ParseWitness reads a key as C2SP signed-note spells it: NAME+HASH+KEY.
func ParseWitness(vkey string) (*Witness, error) {
	name, key, err := parseKey(vkey, ed25519.PublicKeySize)
	if err != nil {
		return nil, err
	}
	w := &Witness{name, key}
	if w.String() != vkey {
		return nil, fmt.Errorf("%w: %.80q has another hash", ErrWitnessKey, vkey)
	}
	return w, nil
}

func parseKey(text string, size int) (name string, key []byte, err error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 || parts[0] == "" || strings.ContainsAny(parts[0], " \t\r\n") {
		return "", nil, fmt.Errorf("%w: %.80q", ErrWitnessKey, text)
	}

	key, err = DecodeBase64(parts[2])
	if err != nil || len(key) != 1+size || key[0] != algorithmCosignature {
		return "", nil, fmt.Errorf("%w: %.80q is of another kind", ErrWitnessKey, text)
	}
	return parts[0], key[1:], nil
}

// String is the key as ParseWitness reads it.
func (w *Witness) String() string {
	return fmt.Sprintf("%s+%08x+%s", w.name, w.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{algorithmCosignature}, w.key...)))
}

// Name implements note.Verifier.
func (w *Witness) Name() string { return w.name }

// KeyHash implements note.Verifier.
func (w *Witness) KeyHash() uint32 {
	h := sha256.Sum256(append([]byte(w.name+"\n"+string(rune(algorithmCosignature))), w.key...))
	return binary.BigEndian.Uint32(h[:])
}

// Verify implements note.Verifier.
func (w *Witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(w.key, cosigned(binary.BigEndian.Uint64(sig), msg), sig[8:])
}

// cosigned is what a witness signs: a time in seconds and the note's body.
func cosigned(seconds uint64, text []byte) []byte {
	return append([]byte("cosignature/v1\ntime "+strconv.FormatUint(seconds, 10)+"\n"), text...)
}

// WitnessSigner is a witness with its secret.
type WitnessSigner struct {
	Witness
	secret ed25519.PrivateKey
}

const secretPrefix = "PRIVATE+KEY+"

// NewWitnessSigner makes a key from 32 random bytes.
func NewWitnessSigner(name string, seed [ed25519.SeedSize]byte) *WitnessSigner {
	secret := ed25519.NewKeyFromSeed(seed[:])
	return &WitnessSigner{Witness{name, secret.Public().(ed25519.PublicKey)}, secret}
}

// ParseWitnessSigner reads what Secret gives.
func ParseWitnessSigner(text string) (*WitnessSigner, error) {
	rest, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return nil, fmt.Errorf("%w: it is no secret key", ErrWitnessKey)
	}
	name, seed, err := parseKey(rest, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("%w: the secret key cannot be read", ErrWitnessKey)
	}
	return NewWitnessSigner(name, [ed25519.SeedSize]byte(seed)), nil
}

// Secret is the secret key as ParseWitnessSigner reads it.
func (s *WitnessSigner) Secret() string {
	return fmt.Sprintf("%s%s+%08x+%s", secretPrefix, s.name, s.KeyHash(), base64.StdEncoding.EncodeToString(append([]byte{algorithmCosignature}, s.secret.Seed()...)))
}

// Cosign makes the line that goes behind a checkpoint's own signature.
func (s *WitnessSigner) Cosign(text string, now time.Time) []byte {
	sig := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	sig = append(sig, ed25519.Sign(s.secret, cosigned(uint64(now.Unix()), []byte(text)))...)
	raw := append(binary.BigEndian.AppendUint32(nil, s.KeyHash()), sig...)
	return fmt.Appendf(nil, "— %s %s\n", s.name, base64.StdEncoding.EncodeToString(raw))
}

// Cosignature is a witness's word on a checkpoint.
type Cosignature struct {
	Witness string    `json:"witness"`
	Key     string    `json:"key"` // the first bytes of its hash
	Time    time.Time `json:"time"`
}

// Trust is whose word counts when evidence is verified.
type Trust struct {
	Logs      []note.Verifier
	Witnesses []*Witness
	Threshold int // how many witnesses there must be
	Stamps    Stamps
}

// Timestamp is an authority's word on when a checkpoint was there, at the latest.
type Timestamp struct {
	Authority string    `json:"authority"` // subject of its certificate
	Time      time.Time `json:"time"`
}

// Stamps finds the time stamps on a signed note. One that does not hold is an error.
type Stamps interface {
	Timestamps(signed []byte) ([]Timestamp, error)
}

// Vouched is what others than the log say of a checkpoint.
type Vouched struct {
	Witnesses  []Cosignature
	Timestamps []Timestamp
}

// vouched checks what trusted witnesses and authorities say, beside the log's own
// signature.
func (t *Trust) vouched(signed string) (c Checkpoint, keyHash uint32, v Vouched, err error) {
	c, sig, witnesses, err := t.Open([]byte(signed))
	if err != nil {
		return c, 0, v, unproven("log: %w", err)
	}

	v.Witnesses = witnesses
	if t.Stamps != nil {
		if v.Timestamps, err = t.Stamps.Timestamps([]byte(signed)); err != nil {
			return c, 0, v, unproven("log: %w", err)
		}
	}
	return c, sig.Hash, v, nil
}

// ErrUnwitnessed means that the log signed a checkpoint, and too few witnesses did. They
// may be down, or be asked at this moment.
var ErrUnwitnessed = errors.New("too few witnesses signed it")

// Open checks a checkpoint: a trusted log signed it, and as many of the witnesses as
// the threshold says, or it is ErrUnwitnessed.
func (t *Trust) Open(signed []byte) (Checkpoint, note.Signature, []Cosignature, error) {
	c, sig, err := OpenCheckpoint(signed, note.VerifierList(t.Logs...))
	if err != nil {
		return c, sig, nil, err
	}

	all, err := t.cosignatures(signed)
	if err != nil {
		return c, sig, nil, err
	}
	if len(all) < t.Threshold {
		return c, sig, nil, fmt.Errorf("checking checkpoint: %w: %d of those that are trusted, and %d are needed", ErrUnwitnessed, len(all), t.Threshold)
	}
	return c, sig, all, nil
}

// cosignatures are those of trusted witnesses. A witness counts once, whatever keys it
// has under one name.
func (t *Trust) cosignatures(signed []byte) (all []Cosignature, err error) {
	var known []note.Verifier
	for _, w := range t.Witnesses {
		known = append(known, w)
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	var none *note.UnverifiedNoteError
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("checking cosignatures: %w", err)
	}

	seen := map[string]bool{}
	for _, s := range n.Sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 12 || seen[s.Name] {
			continue
		}
		seen[s.Name] = true
		all = append(all, Cosignature{s.Name, hex.EncodeToString(raw[:4]), time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC()})
	}
	return all, nil
}
