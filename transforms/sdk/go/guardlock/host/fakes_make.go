//go:build !wasip1 && !tinygo.wasm

package host

import (
	"crypto/hkdf"
	"crypto/hmac"
	stdsha256 "crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
)

const testKeys = 4

// secret is that of a key of `guardlock module test`.
func secret(key uint32) ([]byte, error) {
	if key >= testKeys {
		return nil, ErrUnknownKey
	}
	return fmt.Appendf(nil, "guardlock test key %d, no secret", key), nil
}

func digest(data []byte) ([]byte, error) {
	sum := stdsha256.Sum256(data)
	return sum[:], nil
}

func mac(key uint32, data []byte) ([]byte, error) {
	s, err := secret(key)
	if err != nil {
		return nil, err
	}

	m := hmac.New(stdsha256.New, s)
	m.Write(data)
	return m.Sum(nil), nil
}

// token is the token that docs/host-functions.md specifies.
func token(key uint32, value []byte, purpose string) ([]byte, error) {
	s, err := secret(key)
	if err != nil {
		return nil, err
	}
	k, err := hkdf.Key(stdsha256.New, s, nil, "guardlock token v1\x00"+purpose, stdsha256.Size)
	if err != nil {
		return nil, err
	}

	m := hmac.New(stdsha256.New, k)
	m.Write(value)
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(m.Sum(nil)[:16])
	return []byte("tk1_" + strings.ToLower(text)), nil
}

// fakeSeal puts a code that only the same key and purpose make before the data.
func fakeSeal(key uint32, data []byte, purpose string) ([]byte, error) {
	code, err := codeOf(key, data, purpose)
	if err != nil {
		return nil, err
	}

	envelope := make([]byte, EnvelopeOverhead, EnvelopeOverhead+len(data))
	copy(envelope, code)
	return append(envelope, data...), nil
}

func fakeOpen(key uint32, envelope []byte, purpose string) ([]byte, error) {
	if len(envelope) < EnvelopeOverhead {
		return nil, ErrNotOpened
	}

	data := envelope[EnvelopeOverhead:]
	code, err := codeOf(key, data, purpose)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(code, envelope[:len(code)]) {
		return nil, ErrNotOpened
	}
	return data, nil
}

func codeOf(key uint32, data []byte, purpose string) ([]byte, error) {
	named := binary.BigEndian.AppendUint32(nil, uint32(len(purpose)))
	return mac(key, append(append(named, purpose...), data...))
}

const (
	digits   = "0123456789"
	small    = "abcdefghijklmnopqrstuvwxyz"
	capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

var characters = map[Alphabet]string{
	Digits:           digits,
	Hex:              digits + small[:6],
	Lower:            small,
	LowerAndDigits:   digits + small,
	Letters:          capitals + small,
	LettersAndDigits: digits + capitals + small,
}

// fakeFF1 moves each character on in its alphabet, by a way that key, purpose, tweak and
// place make, and back again.
func fakeFF1(f FF1, text []byte, direction int) ([]byte, error) {
	alphabet := characters[f.Alphabet]
	if alphabet == "" || len(text) > 256 {
		return nil, ErrArgument
	}
	if math.Pow(float64(len(alphabet)), float64(len(text))) < 1e6 {
		return nil, ErrSmallDomain
	}
	code, err := codeOf(f.Key, f.Tweak, f.Purpose)
	if err != nil {
		return nil, err
	}

	out := make([]byte, len(text))
	for n, c := range text {
		at := strings.IndexByte(alphabet, c)
		if at < 0 {
			return nil, ErrArgument
		}
		by := direction * (int(code[n%len(code)]) + n)
		at = (at + by) % len(alphabet)
		out[n] = alphabet[(at+len(alphabet))%len(alphabet)]
	}

	return out, nil
}

// sightings are the times at which keys came.
type sightings struct {
	times map[string][]int64
	last  map[string]int64
}

func (s *sightings) count(r *guardlock.Record, key []byte, window uint32) (uint32, error) {
	if s.times == nil {
		s.times = map[string][]int64{}
	}
	name := fmt.Sprint(window, " ", string(key))
	s.times[name] = append(s.times[name], r.Timestamp())

	n := uint32(0)
	for _, at := range s.times[name] {
		if age := r.Timestamp() - at; age >= 0 && age < int64(window) {
			n++
		}
	}
	return n, nil
}

func (s *sightings) seen(r *guardlock.Record, key []byte) (milliseconds uint32, before bool, err error) {
	if s.last == nil {
		s.last = map[string]int64{}
	}
	at, before := s.last[string(key)]
	s.last[string(key)] = r.Timestamp()
	if !before {
		return 0, false, nil
	}

	return uint32(min(max(r.Timestamp()-at, 0), math.MaxInt32)), true, nil
}

// since says that nothing was ever forgotten.
func (s *sightings) since(*guardlock.Record) (milliseconds uint32, err error) {
	return math.MaxInt32, nil
}
