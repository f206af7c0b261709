package transforms

import (
	"crypto/aes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/guardlock/guardlock/transforms/ff1"
)

// FF1 and tokens work under keys of their own, one for each granted key and purpose:
//
//	HKDF-SHA256(secret, no salt, info + NUL + purpose), 32 bytes
//
// HKDF uses the secret as a message and hmac_sha256 as a key, so that a module that
// may compute HMACs cannot compute these keys, and so not what it may not decrypt.
const (
	infoFF1   = "guardlock ff1 v1"
	infoToken = "guardlock token v1"

	// maxPurpose bounds a purpose, and maxDerived the keys that an instance keeps.
	maxPurpose = 256
	maxDerived = 64
)

// A token is this and 128 bits of HMAC-SHA256(derived key, value) in base32.
const (
	tokenPrefix = "tk1_"
	tokenBytes  = 16
	tokenLength = len(tokenPrefix) + 26
)

var tokenCharacters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// alphabets are the characters that numerals stand for, by their radix.
var alphabets = map[uint32]string{
	10: "0123456789",
	16: "0123456789abcdef",
	26: "abcdefghijklmnopqrstuvwxyz",
	36: "0123456789abcdefghijklmnopqrstuvwxyz",
	52: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	62: "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
}

// derived are an instance's keys for purposes, made when first used.
type derived map[derivedKey]*derivedUse

type derivedKey struct {
	key           uint32
	info, purpose string
}

// derivedUse is what works under a derived key: one of the two.
type derivedUse struct {
	ff1   *ff1.Cipher
	token hash.Hash
}

// derive returns what works under the key for a purpose. The key is one of the grant.
func (i *instance) derive(key uint32, info string, purpose []byte) (*derivedUse, error) {
	if use := i.derived[derivedKey{key, info, string(purpose)}]; use != nil {
		return use, nil
	}

	secret, err := hkdf.Key(sha256.New, i.module.keys[key].secret, nil, info+"\x00"+string(purpose), sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}

	use := &derivedUse{}
	if info == infoToken {
		use.token = hmac.New(sha256.New, secret)
	} else {
		block, err := aes.NewCipher(secret)
		if err != nil {
			return nil, fmt.Errorf("preparing a derived key: %w", err)
		}
		use.ff1 = ff1.New(block)
	}

	if i.derived == nil || len(i.derived) >= maxDerived {
		i.derived = derived{}
	}
	i.derived[derivedKey{key, info, string(purpose)}] = use

	return use, nil
}

// keyed are the arguments that FF1 and tokens begin with: key, ptr, len. refused is
// what the host answers instead, if it does.
func (i *instance) keyed(a []uint64) (key uint32, data []byte, refused int32) {
	key = uint32(a[0])
	if uint64(key) >= uint64(len(i.module.keys)) {
		return 0, nil, hostUnknownKey
	}

	data, ok := i.input(a[1], a[2])
	if !ok {
		return 0, nil, hostBadArguments
	}

	return key, data, 0
}

// hostTokenise is tokenise(key, ptr, len, purpose, purpose_len, out, out_cap): the
// token of a value at out, the same whenever key, purpose and value are; the result
// is its length.
func hostTokenise(i *instance, a []uint64) int32 {
	key, value, refused := i.keyed(a)
	if refused != 0 {
		return refused
	}

	purpose, ok := i.input(a[3], a[4])
	if !ok || len(purpose) > maxPurpose {
		return hostBadArguments
	}
	if uint32(a[6]) < uint32(tokenLength) {
		return hostTooSmall
	}

	use, err := i.derive(key, infoToken, purpose)
	if err != nil {
		return hostFailed
	}

	use.token.Reset()
	use.token.Write(value)
	sum := use.token.Sum(i.hashers.sum[:0])
	i.scratch = append(i.scratch[:0], tokenPrefix...)
	i.scratch = tokenCharacters.AppendEncode(i.scratch, sum[:tokenBytes])
	if !i.mem.Write(uint32(a[5]), i.scratch) {
		return hostBadArguments
	}

	return int32(len(i.scratch))
}

// hostFF1 is ff1_encrypt or ff1_decrypt(key, ptr, len, radix, purpose, purpose_len,
// tweak, tweak_len, out): as many characters of the radix's alphabet at out as there
// are at ptr; the result is their number.
func hostFF1(turn func(*ff1.Cipher, []byte, int, []byte) error) func(*instance, []uint64) int32 {
	return func(i *instance, a []uint64) int32 {
		key, text, refused := i.keyed(a)
		if refused != 0 {
			return refused
		}

		purpose, ok1 := i.input(a[4], a[5])
		tweak, ok2 := i.input(a[6], a[7])
		alphabet := alphabets[uint32(a[3])]
		if !ok1 || !ok2 || alphabet == "" || len(purpose) > maxPurpose || len(text) > ff1.MaxLength {
			return hostBadArguments
		}

		use, err := i.derive(key, infoFF1, purpose)
		if err != nil {
			return hostFailed
		}

		i.charged += len(text) * len(text) // as its time grows
		return i.writeFF1(use.ff1, turn, text, alphabet, tweak, uint32(a[8]))
	}
}

// writeFF1 works aside, since in guest memory the output may overlap the input.
func (i *instance) writeFF1(c *ff1.Cipher, turn func(*ff1.Cipher, []byte, int, []byte) error, text []byte, alphabet string, tweak []byte, out uint32) int32 {
	i.scratch = append(i.scratch[:0], text...)
	for n, character := range i.scratch {
		numeral := strings.IndexByte(alphabet, character)
		if numeral < 0 {
			return hostBadArguments
		}
		i.scratch[n] = byte(numeral)
	}

	err := turn(c, i.scratch, len(alphabet), tweak)
	switch {
	case errors.Is(err, ff1.ErrDomain), err != nil && len(text) < 2:
		return hostSmallDomain
	case err != nil:
		return hostBadArguments
	}

	for n, numeral := range i.scratch {
		i.scratch[n] = alphabet[numeral]
	}
	if !i.mem.Write(out, i.scratch) {
		return hostBadArguments
	}

	return int32(len(i.scratch))
}
