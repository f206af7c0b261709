package ff1

import (
	"bytes"
	"crypto/aes"
	"encoding/hex"
	"errors"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"

func numerals(text string) []byte {
	out := make([]byte, len(text))
	for n := range text {
		out[n] = byte(strings.IndexByte(alphabet, text[n]))
	}
	return out
}

func text(numerals []byte) string {
	var b strings.Builder
	for _, n := range numerals {
		b.WriteByte(alphabet[n])
	}
	return b.String()
}

func newCipher(t testing.TB, key string) *Cipher {
	t.Helper()
	raw, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		t.Fatal(err)
	}

	return New(block)
}

const (
	key128 = "2B7E151628AED2A6ABF7158809CF4F3C"
	key192 = key128 + "EF4359D8D580AA4F"
	key256 = key192 + "7F036D6F04FC6A94"
)

// The samples 1 to 9 for FF1 of NIST's cryptographic standards and guidelines.
func TestSamplesOfTheStandard(t *testing.T) {
	const (
		noTweak = ""
		digits  = "39383736353433323130"
		words   = "3737373770717273373737"
	)
	for n, s := range []struct {
		key, tweak    string
		radix         int
		plain, sealed string
	}{
		{key128, noTweak, 10, "0123456789", "2433477484"},
		{key128, digits, 10, "0123456789", "6124200773"},
		{key128, words, 36, "0123456789abcdefghi", "a9tv40mll9kdu509eum"},
		{key192, noTweak, 10, "0123456789", "2830668132"},
		{key192, digits, 10, "0123456789", "2496655549"},
		{key192, words, 36, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"},
		{key256, noTweak, 10, "0123456789", "6657667009"},
		{key256, digits, 10, "0123456789", "1001623463"},
		{key256, words, 36, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"},
	} {
		c := newCipher(t, s.key)
		tweak, err := hex.DecodeString(s.tweak)
		if err != nil {
			t.Fatal(err)
		}

		x := numerals(s.plain)
		if err := c.Encrypt(x, s.radix, tweak); err != nil || text(x) != s.sealed {
			t.Errorf("sample %d: %s, %v, want %s", n+1, text(x), err, s.sealed)
		}
		if err := c.Decrypt(x, s.radix, tweak); err != nil || text(x) != s.plain {
			t.Errorf("sample %d: decrypted %s, %v", n+1, text(x), err)
		}
	}
}

func TestDomainsBelowAMillionAreRefused(t *testing.T) {
	c := newCipher(t, key128)
	for _, r := range []struct{ radix, length int }{{10, 5}, {2, 19}, {36, 3}, {62, 3}, {256, 2}, {99, 3}} {
		if err := c.Encrypt(make([]byte, r.length), r.radix, nil); !errors.Is(err, ErrDomain) {
			t.Errorf("%d numerals of radix %d: %v", r.length, r.radix, err)
		}
		if err := c.Decrypt(make([]byte, r.length), r.radix, nil); !errors.Is(err, ErrDomain) {
			t.Errorf("decrypting %d numerals of radix %d: %v", r.length, r.radix, err)
		}
	}

	for _, r := range []struct{ radix, length int }{{10, 6}, {2, 20}, {36, 4}, {62, 4}, {256, 3}, {100, 3}} {
		if err := c.Encrypt(make([]byte, r.length), r.radix, nil); err != nil {
			t.Errorf("%d numerals of radix %d: %v", r.length, r.radix, err)
		}
	}
}

func TestWhatIsOutOfRangeIsRefusedAndLeftAsItIs(t *testing.T) {
	c := newCipher(t, key128)
	for rule, r := range map[string]struct {
		x     []byte
		radix int
		tweak int
		want  error
	}{
		"Empty":      {nil, 10, 0, ErrSize},
		"One":        {make([]byte, 1), 256, 0, ErrSize},
		"TooLong":    {make([]byte, MaxLength+1), 10, 0, ErrSize},
		"RadixOne":   {make([]byte, 50), 1, 0, ErrSize},
		"RadixLarge": {make([]byte, 50), MaxRadix + 1, 0, ErrSize},
		"Tweak":      {make([]byte, 50), 10, MaxTweak + 1, ErrSize},
		"Numeral":    {[]byte{1, 2, 3, 4, 5, 6, 10}, 10, 0, ErrNumeral},
	} {
		before := bytes.Clone(r.x)
		if err := c.Encrypt(r.x, r.radix, make([]byte, r.tweak)); !errors.Is(err, r.want) || !bytes.Equal(r.x, before) {
			t.Errorf("%s: %v, and %v", rule, err, r.x)
		}
	}
}

// reference is the standard's text, step by step, in numbers of any size.
func reference(c *Cipher, x []byte, radix int, tweak []byte) []byte {
	encrypt := func(p []byte) []byte {
		out := make([]byte, block)
		c.aes.Encrypt(out, p)
		return out
	}
	num := func(x []byte) *big.Int {
		v := new(big.Int)
		for _, n := range x {
			v.Mul(v, big.NewInt(int64(radix)))
			v.Add(v, big.NewInt(int64(n)))
		}
		return v
	}
	word := func(v, size int) []byte { return big.NewInt(int64(v)).FillBytes(make([]byte, size)) }

	n := len(x)
	t := len(tweak)
	u := n / 2
	v := n - u
	a := bytes.Clone(x[:u])
	right := bytes.Clone(x[u:])
	largest := new(big.Int).Exp(big.NewInt(int64(radix)), big.NewInt(int64(v)), nil)
	b := (largest.Sub(largest, big.NewInt(1)).BitLen() + 7) / 8
	d := 4*((b+3)/4) + 4
	p := bytes.Join([][]byte{{1, 2, 1}, word(radix, 3), {10, byte(u)}, word(n, 4), word(t, 4)}, nil)

	for i := range 10 {
		pad := ((-t-b-1)%16 + 16) % 16
		q := bytes.Join([][]byte{tweak, make([]byte, pad), {byte(i)}, num(right).FillBytes(make([]byte, b))}, nil)
		r := make([]byte, block)
		for _, part := range [][]byte{p, q} {
			for at := 0; at < len(part); at += block {
				for k := range block {
					r[k] ^= part[at+k]
				}
				r = encrypt(r)
			}
		}

		s := bytes.Clone(r)
		for j := 1; len(s) < d; j++ {
			counted := new(big.Int).Xor(new(big.Int).SetBytes(r), big.NewInt(int64(j)))
			s = append(s, encrypt(counted.FillBytes(make([]byte, block)))...)
		}

		m := u
		if i%2 == 1 {
			m = v
		}
		sum := num(a)
		sum.Add(sum, new(big.Int).SetBytes(s[:d]))
		next := make([]byte, m)
		for k := m - 1; k >= 0; k-- {
			digit := new(big.Int)
			sum.DivMod(sum, big.NewInt(int64(radix)), digit)
			next[k] = byte(digit.Int64())
		}
		a, right = right, next
	}

	return append(a, right...)
}

func TestEncryptionIsThatOfTheStandardAndComesBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := newCipher(t, key256)
	for _, radix := range []int{2, 3, 10, 16, 26, 36, 52, 62, 100, 255, 256} {
		for _, length := range []int{20, 21, 31, 64, 65, 255, 256} {
			for _, size := range []int{0, 1, 15, 16, MaxTweak} {
				x := make([]byte, length)
				for n := range x {
					x[n] = byte(random.IntN(radix))
				}
				tweak := make([]byte, size)
				for n := range tweak {
					tweak[n] = byte(random.Uint32())
				}
				compare(t, c, x, radix, tweak)
			}
		}
	}
}

func compare(t *testing.T, c *Cipher, x []byte, radix int, tweak []byte) {
	t.Helper()
	plain := bytes.Clone(x)
	want := reference(c, x, radix, tweak)
	if err := c.Encrypt(x, radix, tweak); err != nil || !bytes.Equal(x, want) {
		t.Fatalf("radix %d, %d numerals, %d of tweak: %v, %v, want %v", radix, len(x), len(tweak), x, err, want)
	}
	if err := c.Decrypt(x, radix, tweak); err != nil || !bytes.Equal(x, plain) {
		t.Fatalf("radix %d, %d numerals, %d of tweak: it comes back as %v, %v", radix, len(x), len(tweak), x, err)
	}
}

func FuzzFF1(f *testing.F) {
	f.Add([]byte("0123456789"), 10, []byte(""))
	f.Add(bytes.Repeat([]byte{255}, 256), 256, bytes.Repeat([]byte{7}, 256))
	f.Fuzz(func(t *testing.T, given []byte, radix int, tweak []byte) {
		x := bytes.Clone(given) // what a fuzz test is given is not to be changed: the arguments can share memory
		if radix >= 2 && radix <= MaxRadix {
			for n := range x {
				x[n] = byte(int(x[n]) % radix)
			}
		}

		c := newCipher(t, key128)
		if err := c.Encrypt(bytes.Clone(x), radix, tweak); err != nil {
			return
		}
		compare(t, c, x, radix, tweak)
	})
}

func TestNothingIsAllocated(t *testing.T) {
	c := newCipher(t, key256)
	x := numerals("4111111111111111")
	allocs := testing.AllocsPerRun(100, func() {
		if err := c.Encrypt(x, 10, nil); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%.1f allocations", allocs)
	}
}

func BenchmarkEncrypt(b *testing.B) {
	for _, length := range []int{16, 256} {
		b.Run(map[int]string{16: "card", 256: "longest"}[length], func(b *testing.B) {
			c := newCipher(b, key256)
			x := make([]byte, length)
			for b.Loop() {
				if err := c.Encrypt(x, 10, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
