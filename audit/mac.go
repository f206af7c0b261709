package audit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/guardlock/guardlock/audit/segment"
)

// macer makes the AES-256-GMACs of batches. A nonce used twice under one key
// would give the key away, and a sequence number may be used twice: its entry
// may be lost in a crash. So each Open draws an epoch, each epoch has a key of
// its own, and the nonce is a counter that only ever lives in one process.
type macer struct {
	aead    cipher.AEAD
	counter atomic.Uint64
	scratch sync.Pool // *macScratch: what Seal is given escapes
}

type macScratch struct {
	nonce [12]byte
	tag   [16]byte
}

func newMACer(key [32]byte, e segment.Epoch) (*macer, error) {
	block, err := aes.NewCipher(deriveKey(key, "guardlock audit batch mac v1", e[:]))
	if err != nil {
		return nil, err
	}

	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &macer{aead: aead, scratch: sync.Pool{New: func() any { return new(macScratch) }}}, nil
}

func deriveKey(key [32]byte, label string, context []byte) []byte {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte(label))
	h.Write([]byte{0})
	h.Write(context)
	return h.Sum(nil)
}

func keyID(key [32]byte) (id [8]byte) {
	copy(id[:], deriveKey(key, "guardlock audit key id", nil))
	return id
}

// chainKey is the key of the tags that frames, marks and anchors have.
func chainKey(key [32]byte) (*segment.Key, error) {
	secret, err := hkdf.Key(sha256.New, key[:], nil, "guardlock audit chain v2", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the chain's key: %w", err)
	}
	return segment.NewKey(keyID(key), secret), nil
}

// next makes a batch's MAC under a fresh nonce.
func (m *macer) next(evidence []byte) (nonce uint64, mac [16]byte) {
	nonce = m.counter.Add(1)
	return nonce, m.at(nonce, evidence)
}

func (m *macer) at(nonce uint64, evidence []byte) [16]byte {
	s := m.scratch.Get().(*macScratch)
	defer m.scratch.Put(s)
	binary.BigEndian.PutUint64(s.nonce[4:], nonce)
	m.aead.Seal(s.tag[:0], s.nonce[:], nil, evidence)
	return s.tag
}

// checkMAC reports whether evidence is what the MAC was made of.
func checkMAC(key [32]byte, id MACID, evidence []byte) bool {
	if id.nonce == 0 {
		return false
	}
	m, err := newMACer(key, id.epoch)
	if err != nil {
		return false
	}

	mac := m.at(id.nonce, evidence)
	return subtle.ConstantTimeCompare(mac[:], id.mac[:]) == 1
}

// MACID is a MAC with what is needed to make it again.
type MACID struct {
	epoch segment.Epoch
	nonce uint64
	mac   [16]byte
}

// Check reports whether evidence is what the MAC was made of, under the audit
// key; false where there is no MAC.
func (id MACID) Check(key [32]byte, evidence []byte) bool { return checkMAC(key, id, evidence) }

// String is the MAC in hexadecimal.
func (id MACID) String() string { return hex.EncodeToString(id.mac[:]) }

// Made reports whether there is a MAC.
func (id MACID) Made() bool { return id.nonce != 0 }

// MAC is that of a batch; see MACID.Made.
func (it *Item) MAC() MACID { return MACID{it.Epoch, it.Batch.nonce, it.Batch.mac} }
