package transforms

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"

	"github.com/guardlock/guardlock/transforms/envelope"
)

// guestKey is a key as host functions use it. The guest knows it by its place
// in the grant.
type guestKey struct {
	secret   []byte
	envelope *envelope.Key
}

// newKeys prepares a grant's keys in their order, and refuses those that are
// too short.
func newKeys(grant []Key) ([]guestKey, error) {
	keys := make([]guestKey, 0, len(grant))
	for _, k := range grant {
		if len(k.Secret) < minSecretBytes {
			return nil, fmt.Errorf("checking grant: the secret of key %q is shorter than %d bytes", k.Name, minSecretBytes)
		}

		e, err := envelope.New(k.Secret)
		if err != nil {
			return nil, fmt.Errorf("preparing key %q: %w", k.Name, err)
		}
		keys = append(keys, guestKey{secret: append([]byte(nil), k.Secret...), envelope: e})
	}

	return keys, nil
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

// hostSeal is aes_gcm_seal(key, ptr, len, purpose, purpose_len, out, out_cap): an
// envelope at out, which opens for the topic of the record alone; the result is
// its length.
func hostSeal(i *instance, a []uint64) int32 {
	return i.inEnvelope(a, func(k *envelope.Key, data, purpose []byte) ([]byte, error) {
		if uint64(uint32(a[6])) < uint64(len(data)+envelope.Overhead) {
			return nil, errTooSmall
		}
		return k.Seal(i.scratch[:0], data, i.chunk.at.Topic, purpose)
	})
}

// hostOpen is aes_gcm_open(key, ptr, len, purpose, purpose_len, out, out_cap): what
// is in the envelope at ptr, of the record's topic, at out; the result is its
// length.
func hostOpen(i *instance, a []uint64) int32 {
	return i.inEnvelope(a, func(k *envelope.Key, data, purpose []byte) ([]byte, error) {
		return k.Open(i.scratch[:0], data, i.chunk.at.Topic, purpose)
	})
}

var errTooSmall = errors.New("the output does not fit")

// inEnvelope is what sealing and opening have in common. It works aside, since in
// guest memory the output may overlap the input.
func (i *instance) inEnvelope(a []uint64, do func(k *envelope.Key, data, purpose []byte) ([]byte, error)) int32 {
	if uint64(uint32(a[0])) >= uint64(len(i.module.keys)) {
		return hostUnknownKey
	}

	data, ok := i.input(a[1], a[2])
	if !ok {
		return hostBadArguments
	}

	purpose, ok := i.input(a[3], a[4])
	if !ok {
		return hostBadArguments
	}

	i.scratch = slices.Grow(i.scratch[:0], len(data)+envelope.Overhead)
	out, err := do(i.module.keys[uint32(a[0])].envelope, data, purpose)
	switch {
	case errors.Is(err, errTooSmall), err == nil && uint64(uint32(a[6])) < uint64(len(out)):
		return hostTooSmall
	case errors.Is(err, envelope.ErrOpen):
		return hostNotOpened
	case err != nil:
		return hostFailed
	}

	i.scratch = out
	if !i.mem.Write(uint32(a[5]), out) {
		return hostBadArguments
	}

	return int32(len(out))
}
