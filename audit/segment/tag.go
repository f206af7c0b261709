package segment

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
)

// Tag proves that whoever wrote something had the key of the log. The public
// chain alone does not: anybody can recompute it.
type Tag [16]byte

// Key makes and checks tags. One goroutine uses it at a time.
type Key struct {
	ID  [8]byte // as headers name it
	mac hash.Hash
	sum []byte
}

// NewKey makes the key whose tags are HMAC-SHA256 under secret, cut to 16 bytes.
func NewKey(id [8]byte, secret []byte) *Key {
	return &Key{ID: id, mac: hmac.New(sha256.New, secret), sum: make([]byte, 0, sha256.Size)}
}

// tag gives the tag of a message. What is tagged tells itself apart by its
// length and its first bytes: a chain value, a mark, an anchor.
func (k *Key) tag(message []byte) (t Tag) {
	k.mac.Reset()
	k.mac.Write(message)
	k.sum = k.mac.Sum(k.sum[:0])
	copy(t[:], k.sum)
	return t
}

// made reports whether a tag was made under this key.
func (k *Key) made(t Tag, message []byte) bool {
	want := k.tag(message)
	return hmac.Equal(want[:], t[:])
}

// Keys are those that a reader was given.
type Keys []*Key

// Find returns the key with an id, or nil.
func (ks Keys) Find(id [8]byte) *Key {
	for _, k := range ks {
		if k.ID == id {
			return k
		}
	}
	return nil
}
