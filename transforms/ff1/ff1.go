// Package ff1 is format-preserving encryption by FF1 of NIST SP 800-38G: a number of
// so many digits becomes another of as many digits, and back.
//
// The smallest domain is one million values, as revision 1 of the standard asks:
// fewer can be tried one by one. FF1 hides nothing else that a format tells, and the
// same plaintext under the same key and tweak is always the same ciphertext.
//
// Trust: keys come from the configuration, numerals and tweaks from anywhere.
package ff1

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math/bits"
)

const (
	// MaxRadix is what a numeral of one byte can have.
	MaxRadix = 256
	// MaxLength and MaxTweak bound one call, whose work grows with the square of the length.
	MaxLength = 256
	MaxTweak  = 256
	// MinDomain is the least number of values that a plaintext can have.
	MinDomain = 1_000_000

	rounds  = 10
	block   = 16
	half    = (MaxLength + 1) / 2
	halfLen = half // the bytes of the largest half: a byte a numeral
	maxQ    = MaxTweak + block + 1 + halfLen
	maxS    = halfLen + 4 + block
)

// What is refused.
var (
	ErrDomain  = errors.New("the plaintext has fewer than a million values")
	ErrNumeral = errors.New("a numeral is not below the radix")
	ErrSize    = errors.New("radix, length or tweak is out of range")
)

// Cipher encrypts and decrypts under one key. It holds the working space of one
// call, so that it is not safe for concurrent use.
type Cipher struct {
	aes cipher.Block

	p, r, count [block]byte
	q           [maxQ]byte
	s           [maxS]byte
	sum         [half]byte
	limbs       [maxS / 4]uint32
}

// New makes a Cipher of AES under a key of any of its sizes.
func New(aes cipher.Block) *Cipher { return &Cipher{aes: aes} }

// Encrypt replaces the numerals x of a radix by their ciphertext.
func (c *Cipher) Encrypt(x []byte, radix int, tweak []byte) error {
	f, err := c.begin(x, radix, tweak)
	if err != nil {
		return err
	}

	a := x[:f.u]
	b := x[f.u:]
	for i := range rounds {
		// Each round adds to A what it makes of B, and the halves change places.
		// Here they stay where they lie, and their names change places.
		m := c.round(&f, byte(i), b, len(a))
		add(a, m, radix)
		a, b = b, a
	}

	return nil
}

// Decrypt replaces the numerals x of a radix by their plaintext.
func (c *Cipher) Decrypt(x []byte, radix int, tweak []byte) error {
	f, err := c.begin(x, radix, tweak)
	if err != nil {
		return err
	}

	a := x[:f.u]
	b := x[f.u:]
	for i := rounds - 1; i >= 0; i-- {
		a, b = b, a
		m := c.round(&f, byte(i), b, len(a))
		subtract(a, m, radix)
	}

	return nil
}

// frame is what all rounds of one call share: the standard's u, b, d, radix and the
// length of Q before the round's own bytes.
type frame struct {
	u, b, d, radix int
	q              int
}

// begin checks a call, and prepares P and the part of Q that no round changes.
func (c *Cipher) begin(x []byte, radix int, tweak []byte) (frame, error) {
	n := len(x)
	if radix < 2 || radix > MaxRadix || n < 2 || n > MaxLength || len(tweak) > MaxTweak {
		return frame{}, ErrSize
	}
	if !large(radix, n) {
		return frame{}, ErrDomain
	}
	for _, numeral := range x {
		if int(numeral) >= radix {
			return frame{}, ErrNumeral
		}
	}

	f := frame{u: n / 2, radix: radix}
	f.b = c.bytesOf(n-f.u, radix)
	f.d = 4*((f.b+3)/4) + 4

	c.p = [block]byte{1, 2, 1, 0, byte(radix >> 8), byte(radix), rounds, byte(f.u)}
	binary.BigEndian.PutUint32(c.p[8:], uint32(n))
	binary.BigEndian.PutUint32(c.p[12:], uint32(len(tweak)))

	padding := (block - (len(tweak)+f.b+1)%block) % block
	clear(c.q[:])
	copy(c.q[:], tweak)
	f.q = len(tweak) + padding

	return f, nil
}

// large reports whether n numerals have at least MinDomain values.
func large(radix, n int) bool {
	values := 1
	for range n {
		if values *= radix; values >= MinDomain {
			return true
		}
	}
	return false
}

// bytesOf is how many bytes hold any number of v numerals: those of the largest one.
func (c *Cipher) bytesOf(v, radix int) int {
	used := 0
	for range v {
		used = c.shift(used, uint32(radix), uint32(radix-1))
	}
	return 4*(used-1) + (bits.Len32(c.limbs[used-1])+7)/8
}

// shift multiplies the number in the first used limbs, the lowest first, by radix
// and adds a numeral. It returns how many limbs there are then.
func (c *Cipher) shift(used int, radix, numeral uint32) int {
	carry := uint64(numeral)
	for n := range used {
		carry += uint64(c.limbs[n]) * uint64(radix)
		c.limbs[n] = uint32(carry)
		carry >>= 32
	}
	if carry == 0 && used > 0 {
		return used
	}
	c.limbs[used] = uint32(carry)

	return used + 1
}

// round is the function of round i over the half b: so many numerals, the most
// significant first.
func (c *Cipher) round(f *frame, i byte, b []byte, numerals int) []byte {
	c.q[f.q] = i
	end := f.q + 1 + f.b
	c.number(c.q[f.q+1:end], b, f.radix)

	c.aes.Encrypt(c.r[:], c.p[:])
	for at := 0; at < end; at += block {
		for n := range block {
			c.r[n] ^= c.q[at+n]
		}
		c.aes.Encrypt(c.r[:], c.r[:])
	}

	copy(c.s[:], c.r[:])
	for j := 1; j*block < f.d; j++ {
		c.count = c.r
		counted := binary.BigEndian.Uint64(c.count[8:]) ^ uint64(j)
		binary.BigEndian.PutUint64(c.count[8:], counted)
		c.aes.Encrypt(c.s[j*block:(j+1)*block], c.count[:])
	}

	return c.numerals(c.s[:f.d], f.radix, numerals)
}

// number writes numerals as a number, big endian.
func (c *Cipher) number(out, numerals []byte, radix int) {
	used := 0
	for _, numeral := range numerals {
		used = c.shift(used, uint32(radix), uint32(numeral))
	}

	clear(out)
	for n := range out {
		if limb := n / 4; limb < used {
			out[len(out)-1-n] = byte(c.limbs[limb] >> (8 * (n % 4)))
		}
	}
}

// numerals are the last m numerals of the number y, whose length is a multiple of
// four bytes.
func (c *Cipher) numerals(y []byte, radix, m int) []byte {
	limbs := c.limbs[:len(y)/4]
	for n := range limbs {
		limbs[n] = binary.BigEndian.Uint32(y[4*n:])
	}

	out := c.sum[:m]
	for at := m - 1; at >= 0; at-- {
		rest := uint64(0)
		for n, limb := range limbs {
			rest = rest<<32 | uint64(limb)
			limbs[n] = uint32(rest / uint64(radix))
			rest %= uint64(radix)
		}
		out[at] = byte(rest)
	}

	return out
}

// add adds m to a, both of as many numerals, and forgets the last carry.
func add(a, m []byte, radix int) {
	carry := 0
	for n := len(a) - 1; n >= 0; n-- {
		sum := int(a[n]) + int(m[n]) + carry
		carry = 0
		if sum >= radix {
			sum -= radix
			carry = 1
		}
		a[n] = byte(sum)
	}
}

// subtract takes m from a, both of as many numerals, and forgets the last borrow.
func subtract(a, m []byte, radix int) {
	borrow := 0
	for n := len(a) - 1; n >= 0; n-- {
		rest := int(a[n]) - int(m[n]) - borrow
		borrow = 0
		if rest < 0 {
			rest += radix
			borrow = 1
		}
		a[n] = byte(rest)
	}
}
