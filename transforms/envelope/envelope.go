// Package envelope seals values under a key of the gateway's configuration, and
// opens them again. docs/envelope.md is the format, for readers in other languages;
// testdata/vectors.json are values that every reader must open.
//
// An envelope of version 1 is
//
//	offset  bytes
//	0       1    version, 1
//	1       8    key id: HKDF-SHA256(secret, no salt, "guardlock envelope v1 key id")
//	9       16   salt
//	25      12   nonce, random
//	37      n    ciphertext
//	37+n    16   tag
//
// sealed with AES-256-GCM under the key HKDF-SHA256(secret, salt, "guardlock
// envelope v1"), 32 bytes. Authenticated besides: the first 25 bytes, the length
// of the topic (4 bytes, big endian), the topic, and the purpose that the sealer
// named. A value that is moved to another topic or field does not open.
//
// AES-GCM under random nonces is safe for 2^32 messages of one key. A counter of a
// process knows nothing of what other gateways and earlier runs have sealed under
// the same secret. So each Key draws a salt of 128 bits when it is made, and another
// after 2^32 messages: the bound holds for every AES key, however many gateways
// share the secret, and however often they start.
//
// What was sealed before there was a version (nonce, ciphertext, tag; purpose alone
// as additional data; key HKDF-SHA256(secret, no salt, "guardlock aes-256-gcm v1"))
// is opened still.
//
// Trust: secrets come from the configuration; sealed values come from anywhere.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Overhead is how much longer an envelope is than what is in it.
const Overhead = headerSize + nonceSize + tagSize

const (
	version    = 1
	idSize     = 8
	saltSize   = 16
	headerSize = 1 + idSize + saltSize
	nonceSize  = 12
	tagSize    = 16

	// maxMessages is how many messages one AES key seals under random nonces
	// (NIST SP 800-38D §8.3).
	maxMessages = 1 << 32
	// maxOpeners bounds the salts whose keys are kept: one for each run of each
	// gateway that sealed what is read.
	maxOpeners = 256

	infoID  = "guardlock envelope v1 key id"
	infoKey = "guardlock envelope v1"
	infoOld = "guardlock aes-256-gcm v1"
)

// ErrOpen is a value that does not open: it was not sealed with this key, or for
// another topic or purpose, or was altered. Which of them cannot be told.
var ErrOpen = errors.New("the value does not open with this key, topic and purpose")

// Key seals and opens. It is safe for concurrent use.
type Key struct {
	secret []byte
	id     [idSize]byte
	old    cipher.AEAD

	sealer atomic.Pointer[sealer]

	mu      sync.Mutex
	openers map[[saltSize]byte]cipher.AEAD // guarded by mu: of salts under which something opened
}

// sealer is an AES key in use.
type sealer struct {
	salt [saltSize]byte
	aead cipher.AEAD
	used atomic.Uint64
}

// New makes a key of a secret, which is copied.
func New(secret []byte) (*Key, error) {
	k := &Key{
		secret:  append([]byte(nil), secret...),
		openers: map[[saltSize]byte]cipher.AEAD{},
	}

	id, err := hkdf.Key(sha256.New, k.secret, nil, infoID, idSize)
	if err != nil {
		return nil, fmt.Errorf("deriving key id: %w", err)
	}

	copy(k.id[:], id)

	if k.old, err = k.derive(nil, infoOld); err != nil {
		return nil, err
	}
	return k, k.renew(nil)
}

// derive makes the AES-256-GCM key for a salt and a use, by HKDF with SHA-256.
func (k *Key) derive(salt []byte, info string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.secret, salt, info, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}

	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing key: %w", err)
	}

	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("preparing key: %w", err)
	}

	return aead, nil
}

// renew puts a fresh salt in the place of spent, unless somebody else has.
func (k *Key) renew(spent *sealer) error {
	s := new(sealer)
	if _, err := rand.Read(s.salt[:]); err != nil {
		return fmt.Errorf("drawing salt: %w", err)
	}

	aead, err := k.derive(s.salt[:], infoKey)
	if err != nil {
		return err
	}

	s.aead = aead
	k.sealer.CompareAndSwap(spent, s)
	return nil
}

// take returns a key that may seal one more message.
func (k *Key) take() (*sealer, error) {
	for {
		s := k.sealer.Load()
		if s.used.Add(1) <= maxMessages {
			return s, nil
		}
		if err := k.renew(s); err != nil {
			return nil, err
		}
	}
}

// Seal appends to dst the envelope of plain, for one topic and purpose. dst must
// not overlap plain.
func (k *Key) Seal(dst, plain []byte, topic string, purpose []byte) ([]byte, error) {
	s, err := k.take()
	if err != nil {
		return dst, err
	}

	at := len(dst)
	dst = k.begin(s, dst)
	if _, err := rand.Read(dst[len(dst)-nonceSize:]); err != nil {
		return dst[:at], fmt.Errorf("drawing nonce: %w", err)
	}

	return s.finish(dst, at, plain, topic, purpose), nil
}

// begin appends the header and room for the nonce.
func (k *Key) begin(s *sealer, dst []byte) []byte {
	dst = append(dst, version)
	dst = append(dst, k.id[:]...)
	dst = append(dst, s.salt[:]...)
	return append(dst, make([]byte, nonceSize)...)
}

// finish seals plain behind the header, at at, and the nonce.
func (s *sealer) finish(dst []byte, at int, plain []byte, topic string, purpose []byte) []byte {
	room := additional.Get().(*[]byte)
	defer additional.Put(room)
	*room = bind((*room)[:0], dst[at:at+headerSize], topic, purpose)
	return s.aead.Seal(dst, dst[at+headerSize:], plain, *room)
}

// additional are buffers for additional data.
var additional = sync.Pool{New: func() any { return new([]byte) }}

// bind appends the additional data of an envelope.
func bind(dst, header []byte, topic string, purpose []byte) []byte {
	dst = append(dst, header...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(topic)))
	dst = append(dst, topic...)
	return append(dst, purpose...)
}

// Open appends to dst what is in an envelope that was sealed for this topic and
// purpose. Values of before there was a version have no topic, and open for any.
func (k *Key) Open(dst, sealed []byte, topic string, purpose []byte) ([]byte, error) {
	if len(sealed) >= Overhead && sealed[0] == version && [idSize]byte(sealed[1:]) == k.id {
		if out, err := k.openCurrent(dst, sealed, topic, purpose); err == nil {
			return out, nil
		}
	}

	if len(sealed) < nonceSize+tagSize {
		return dst, ErrOpen
	}

	out, err := k.old.Open(dst, sealed[:nonceSize], sealed[nonceSize:], purpose)
	if err != nil {
		return dst, ErrOpen
	}

	return out, nil
}

// openCurrent opens a value of the current format. The key of its salt is kept
// only after the value has opened, so that forged salts push nothing out.
func (k *Key) openCurrent(dst, sealed []byte, topic string, purpose []byte) ([]byte, error) {
	salt := [saltSize]byte(sealed[1+idSize:])
	aead, known := k.opener(salt)
	if !known {
		var err error
		if aead, err = k.derive(sealed[1+idSize:headerSize], infoKey); err != nil {
			return dst, err
		}
	}

	room := additional.Get().(*[]byte)
	defer additional.Put(room)
	*room = bind((*room)[:0], sealed[:headerSize], topic, purpose)
	nonce := sealed[headerSize : headerSize+nonceSize]

	out, err := aead.Open(dst, nonce, sealed[headerSize+nonceSize:], *room)
	if err != nil {
		return dst, err
	}

	if !known {
		k.keep(salt, aead)
	}
	return out, nil
}

// opener returns the key of a salt that is known.
func (k *Key) opener(salt [saltSize]byte) (cipher.AEAD, bool) {
	if s := k.sealer.Load(); s.salt == salt {
		return s.aead, true
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	aead, ok := k.openers[salt]
	return aead, ok
}

// keep remembers the key of a salt under which something opened: what anybody
// makes up is not kept.
func (k *Key) keep(salt [saltSize]byte, aead cipher.AEAD) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for forgotten := range k.openers {
		if len(k.openers) < maxOpeners {
			break
		}
		delete(k.openers, forgotten)
	}

	k.openers[salt] = aead
}
