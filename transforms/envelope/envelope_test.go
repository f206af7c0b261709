package envelope

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"testing"
)

// vector is one of testdata/vectors.json, which was made by a program in another
// language. It never changes: what was sealed must open.
type vector struct {
	Name    string
	Version int
	Secret  hexBytes
	Topic   string
	Purpose hexBytes
	Plain   hexBytes
	Salt    hexBytes
	Nonce   hexBytes
	KeyID   hexBytes `json:"key_id"`
	AESKey  hexBytes `json:"aes_key"`
	Sealed  hexBytes
}

type hexBytes []byte

// UnmarshalText reads hex digits.
func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}

	var vs []vector
	if err := json.Unmarshal(raw, &vs); err != nil || len(vs) < 7 {
		t.Fatal(len(vs), err)
	}
	return vs
}

func mustKey(t testing.TB, secret []byte) *Key {
	t.Helper()
	k, err := New(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestVectorsOpenAndAreSealedAgain(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			k := mustKey(t, v.Secret)
			for range 2 { // the second time with a key that is known
				got, err := k.Open(nil, v.Sealed, v.Topic, v.Purpose)
				if err != nil || !bytes.Equal(got, v.Plain) {
					t.Fatalf("got %x, %v", got, err)
				}
			}

			if v.Version == 0 {
				return
			}

			aead, err := k.derive(v.Salt, infoKey)
			if err != nil {
				t.Fatal(err)
			}

			s := &sealer{salt: [saltSize]byte(v.Salt), aead: aead}
			sealed := k.begin(s, nil)
			copy(sealed[headerSize:], v.Nonce)

			if sealed = s.finish(sealed, 0, v.Plain, v.Topic, v.Purpose); !bytes.Equal(sealed, v.Sealed) {
				t.Errorf("got %x", sealed)
			}
			if !bytes.Equal(k.id[:], v.KeyID) {
				t.Errorf("key id %x", k.id)
			}
		})
	}
}

func TestAValueOpensForItsTopicAndPurposeAlone(t *testing.T) {
	k := mustKey(t, []byte("a secret of enough bytes"))
	sealed, err := k.Seal([]byte("before"), []byte("value"), "customers", []byte("email"))
	if err != nil || len(sealed) != len("before")+len("value")+Overhead {
		t.Fatal(len(sealed), err)
	}

	sealed = sealed[len("before"):]
	other := mustKey(t, []byte("another secret of enough bytes"))
	changed := func(at int) []byte {
		b := bytes.Clone(sealed)
		b[at] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		key     *Key
		sealed  []byte
		topic   string
		purpose string
		opens   bool
	}{
		"as it was":             {k, sealed, "customers", "email", true},
		"another run":           {mustKey(t, k.secret), sealed, "customers", "email", true},
		"another topic":         {k, sealed, "orders", "email", false},
		"another purpose":       {k, sealed, "customers", "iban", false},
		"topic into purpose":    {k, sealed, "customer", "semail", false},
		"another secret":        {other, sealed, "customers", "email", false},
		"another version":       {k, changed(0), "customers", "email", false},
		"another key id":        {k, changed(1), "customers", "email", false},
		"another salt":          {k, changed(9), "customers", "email", false},
		"another nonce":         {k, changed(25), "customers", "email", false},
		"a changed byte":        {k, changed(37), "customers", "email", false},
		"a changed tag":         {k, changed(len(sealed) - 1), "customers", "email", false},
		"cut short":             {k, sealed[:len(sealed)-1], "customers", "email", false},
		"header alone":          {k, sealed[:25], "customers", "email", false},
		"nothing":               {k, nil, "customers", "email", false},
		"longer than it was":    {k, append(bytes.Clone(sealed), 0), "customers", "email", false},
		"no topic":              {k, sealed, "", "email", false},
		"no purpose":            {k, sealed, "customers", "", false},
		"the topic as purpose":  {k, sealed, "email", "customers", false},
		"purpose with its size": {k, sealed, "customers", "\x00\x00\x00\x05email", false},
	} {
		got, err := c.key.Open(nil, c.sealed, c.topic, []byte(c.purpose))
		if c.opens != (err == nil) || c.opens && string(got) != "value" || err != nil && !errors.Is(err, ErrOpen) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// The bound is of each AES key: a run has its own, and so has what follows 2^32
// messages.
func TestNoAESKeySealsMoreThanIsSafe(t *testing.T) {
	secret := []byte("a secret of enough bytes")
	k := mustKey(t, secret)
	if mustKey(t, secret).sealer.Load().salt == k.sealer.Load().salt {
		t.Fatal("two runs seal with the same key")
	}

	first := k.sealer.Load()
	first.used.Store(maxMessages - 1)
	if s, err := k.take(); err != nil || s != first {
		t.Fatalf("the last message: %v", err)
	}

	before, err := k.Seal(nil, []byte("x"), "t", nil)
	if err != nil || k.sealer.Load() == first {
		t.Fatalf("the next one: the same key, %v", err)
	}
	if got, err := k.Open(nil, before, "t", nil); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestManyRenewAtOnce(t *testing.T) {
	k := mustKey(t, []byte("a secret of enough bytes"))
	first := k.sealer.Load()
	first.used.Store(maxMessages)

	var sealing sync.WaitGroup
	for range 8 {
		sealing.Go(func() {
			for range 100 {
				if s, err := k.take(); err != nil || s == first {
					t.Errorf("a spent key is used: %v", err)
					return
				}
			}
		})
	}

	sealing.Wait()

	if used := k.sealer.Load().used.Load(); used != 800 {
		t.Errorf("%d messages under the second salt", used)
	}
}

func TestSaltsThatOpenNothingAreNotKept(t *testing.T) {
	k := mustKey(t, []byte("a secret of enough bytes"))
	sealed, err := k.Seal(nil, []byte("x"), "t", nil)
	if err != nil {
		t.Fatal(err)
	}

	for n := range 2 * maxOpeners {
		sealed[9], sealed[10] = byte(n), byte(n>>8)
		k.Open(nil, sealed, "t", nil)
	}

	if len(k.openers) != 0 {
		t.Errorf("%d are kept", len(k.openers))
	}

	for range maxOpeners + 10 {
		sealed, err := mustKey(t, k.secret).Seal(nil, []byte("x"), "t", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open(nil, sealed, "t", nil); err != nil {
			t.Fatal(err)
		}
	}

	if len(k.openers) != maxOpeners {
		t.Errorf("%d are kept", len(k.openers))
	}
}

func FuzzOpen(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Sealed), v.Topic, []byte(v.Purpose))
	}

	k := mustKey(f, []byte("a secret that sealed nothing"))
	f.Fuzz(func(t *testing.T, sealed []byte, topic string, purpose []byte) {
		if _, err := k.Open(nil, sealed, topic, purpose); !errors.Is(err, ErrOpen) {
			t.Errorf("got %v", err)
		}

		again, err := k.Seal(nil, sealed, topic, purpose)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(nil, again, topic, purpose); err != nil || !bytes.Equal(got, sealed) {
			t.Errorf("got %x, %v", got, err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := mustKey(b, []byte("a secret of enough bytes"))
	plain := make([]byte, 64)
	purpose := []byte("email")
	var out []byte

	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = k.Seal(out[:0], plain, "customers", purpose); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := mustKey(b, []byte("a secret of enough bytes"))
	purpose := []byte("email")
	sealed, err := k.Seal(nil, make([]byte, 64), "customers", purpose)
	if err != nil {
		b.Fatal(err)
	}

	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		if out, err = k.Open(out[:0], sealed, "customers", purpose); err != nil {
			b.Fatal(err)
		}
	}
}
