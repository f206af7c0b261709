package transforms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"sync/atomic"
)

const (
	gcmNonce = 12
	gcmTag   = 16
	// maxSeals is how many messages one AES-GCM key may seal under random
	// nonces (NIST SP 800-38D §8.3).
	maxSeals = 1 << 32
	// sealInfo separates the sealing key from the same secret's use in HMAC.
	sealInfo = "guardlock aes-256-gcm v1"
)

// sealCounter counts what a key sealed, in all modules that hold it.
type sealCounter struct{ used atomic.Uint64 }

// take reports whether one more message may be sealed.
func (c *sealCounter) take() bool { return c.used.Add(1) <= maxSeals }

// guestKey is a key as host functions use it.
type guestKey struct {
	secret []byte
	aead   cipher.AEAD
	seals  *sealCounter
}

// keys prepares a grant's keys. The sealing key is
// HKDF-SHA256(secret, no salt, sealInfo), 32 bytes.
func (r *Runtime) keys(grant []Key) ([]guestKey, error) {
	keys := make([]guestKey, 0, len(grant))
	for _, k := range grant {
		if len(k.Secret) < minSecretBytes {
			return nil, fmt.Errorf("checking grant: the secret of key %q is shorter than %d bytes", k.Name, minSecretBytes)
		}
		derived, err := hkdf.Key(sha256.New, k.Secret, nil, sealInfo, 32)
		if err != nil {
			return nil, fmt.Errorf("deriving sealing key of %q: %w", k.Name, err)
		}

		block, err := aes.NewCipher(derived)
		if err != nil {
			return nil, fmt.Errorf("preparing sealing key of %q: %w", k.Name, err)
		}

		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("preparing sealing key of %q: %w", k.Name, err)
		}

		keys = append(keys, guestKey{secret: append([]byte(nil), k.Secret...), aead: aead, seals: r.sealCounter(derived)})
	}

	return keys, nil
}

func (r *Runtime) sealCounter(derived []byte) *sealCounter {
	digest := sha256.Sum256(derived)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seals[digest] == nil {
		r.seals[digest] = new(sealCounter)
	}
	return r.seals[digest]
}

// hashers are an instance's own: hash state is not safe for concurrent use.
type hashers struct {
	plain hash.Hash
	keyed []hash.Hash // by key handle, made when first used
	sum   [sha256.Size]byte
}

// hostSHA256 is sha256(ptr, len, out): 32 bytes at out; the result is 32.
func hostSHA256(i *instance, a []uint64) int32 {
	data, ok := i.input(a[0], a[1])
	if !ok {
		return hostBadArguments
	}
	if i.hashers.plain == nil {
		i.hashers.plain = sha256.New()
	}

	return i.writeSum(i.hashers.plain, data, a[2])
}

// hostHMAC is hmac_sha256(key, ptr, len, out): 32 bytes at out; the result is 32.
func hostHMAC(i *instance, a []uint64) int32 {
	key := int64(uint32(a[0]))
	if key >= int64(len(i.module.keys)) {
		return hostUnknownKey
	}

	data, ok := i.input(a[1], a[2])
	if !ok {
		return hostBadArguments
	}
	if i.hashers.keyed == nil {
		i.hashers.keyed = make([]hash.Hash, len(i.module.keys))
	}
	if i.hashers.keyed[key] == nil {
		i.hashers.keyed[key] = hmac.New(sha256.New, i.module.keys[key].secret)
	}

	return i.writeSum(i.hashers.keyed[key], data, a[3])
}

func (i *instance) writeSum(h hash.Hash, data []byte, out uint64) int32 {
	h.Reset()
	h.Write(data)
	if !i.mem.Write(uint32(out), h.Sum(i.hashers.sum[:0])) {
		return hostBadArguments
	}
	return sha256.Size
}

// hostSeal is aes_gcm_seal(key, ptr, len, aad_ptr, aad_len, out, out_cap):
// nonce, ciphertext and tag at out; the result is their length.
func hostSeal(i *instance, a []uint64) int32 {
	if uint64(uint32(a[0])) >= uint64(len(i.module.keys)) {
		return hostUnknownKey
	}
	key := &i.module.keys[uint32(a[0])]
	plain, ok := i.input(a[1], a[2])
	if !ok {
		return hostBadArguments
	}

	aad, ok := i.input(a[3], a[4])
	if !ok {
		return hostBadArguments
	}

	size := gcmNonce + len(plain) + gcmTag
	if uint64(uint32(a[6])) < uint64(size) {
		return hostTooSmall
	}
	if !key.seals.take() {
		return hostKeyUsedUp
	}

	// Sealed aside, since in guest memory the output may overlap the input.
	i.scratch = append(i.scratch[:0], make([]byte, gcmNonce)...)
	if _, err := rand.Read(i.scratch); err != nil {
		return hostFailed
	}

	i.scratch = key.aead.Seal(i.scratch, i.scratch[:gcmNonce], plain, aad)
	if !i.mem.Write(uint32(a[5]), i.scratch) {
		return hostBadArguments
	}

	return int32(size)
}
