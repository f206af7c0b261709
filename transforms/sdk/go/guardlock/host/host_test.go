//go:build !wasip1 && !tinygo.wasm

package host_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock/host"
)

func TestFakesAnswerAsTheSandboxWithTestKeys(t *testing.T) {
	sum, err := host.SHA256([]byte("abc"))
	if got := hex.EncodeToString(sum[:]); err != nil || got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := host.HMACSHA256(4, nil); !errors.Is(err, host.ErrUnknownKey) {
		t.Errorf("of key 4: %v", err)
	}

	sealed, err := host.Seal([]byte("before"), 1, []byte("a@b.c"), "email")
	if err != nil || len(sealed) != len("before")+len("a@b.c")+host.EnvelopeOverhead || !bytes.HasPrefix(sealed, []byte("before")) {
		t.Fatalf("sealed to %q, %v", sealed, err)
	}
	envelope := sealed[len("before"):]
	if opened, err := host.Open(nil, 1, envelope, "email"); err != nil || string(opened) != "a@b.c" {
		t.Errorf("opened to %q, %v", opened, err)
	}
	for _, purpose := range []string{"", "emai", "name"} {
		if _, err := host.Open(nil, 1, envelope, purpose); !errors.Is(err, host.ErrNotOpened) {
			t.Errorf("for purpose %q: %v", purpose, err)
		}
	}
}

func TestFakesOfFF1KeepLengthAndAlphabet(t *testing.T) {
	for alphabet, text := range map[host.Alphabet]string{host.Digits: "4111111111", host.Hex: "00ff00ff", host.LettersAndDigits: "Alice99"} {
		f := host.FF1{Key: 1, Alphabet: alphabet, Purpose: "p", Tweak: []byte("t")}
		made, err := f.Encrypt(nil, []byte(text))
		if err != nil || len(made) != len(text) || string(made) == text {
			t.Errorf("%s is encrypted to %s, %v", text, made, err)
		}
		if back, err := f.Decrypt(nil, made); err != nil || string(back) != text {
			t.Errorf("%s is decrypted to %s, %v", text, back, err)
		}
		f.Purpose = "q"
		if back, err := f.Decrypt(nil, made); err != nil || string(back) == text {
			t.Errorf("for another purpose it is %s, %v", back, err)
		}
	}

	if _, err := (host.FF1{Alphabet: host.Digits}).Encrypt(nil, []byte("12345")); !errors.Is(err, host.ErrSmallDomain) {
		t.Errorf("of five digits: %v", err)
	}
	if _, err := (host.FF1{Alphabet: host.Digits}).Encrypt(nil, []byte("1234567x")); !errors.Is(err, host.ErrArgument) {
		t.Errorf("of a letter: %v", err)
	}
}

func TestFakesCountInAWindow(t *testing.T) {
	t.Cleanup(func() { host.Fakes = host.NewFakes() })
	for n, at := range []int64{0, 30_000, 59_999, 60_000} {
		r := guardlock.NewRecord(guardlock.Given{Timestamp: at})
		got, err := host.Count(r, []byte("card"), 60_000)
		if want := uint32(min(n+1, 3)); err != nil || got != want {
			t.Errorf("at %d it came %d times, %v, want %d", at, got, err, want)
		}

		ago, before, err := host.Seen(r, []byte("card"))
		if err != nil || before != (n > 0) || ago > 30_000 {
			t.Errorf("at %d it was seen %d ago, %t, %v", at, ago, before, err)
		}
	}
}

func TestATableIsAskedForItsColumns(t *testing.T) {
	t.Cleanup(func() { host.Fakes = host.NewFakes() })
	places := host.NewTable("places", "country", "city", "zip")
	if _, err := places.Find([]byte("x"), 10); !errors.Is(err, host.ErrFailed) {
		t.Errorf("without a fake: %v", err)
	}

	host.Fakes.Find = func(table string, key []byte, columns []string) ([][]byte, error) {
		if table != "places" || len(columns) != 3 {
			return nil, host.ErrUnknownKey
		}
		if string(key) != "NL-1" {
			return nil, host.ErrNotFound
		}
		return [][]byte{[]byte("NL"), nil, {}}, nil
	}
	values, err := places.Find([]byte("NL-1"), 10)
	if err != nil || string(values[0]) != "NL" || values[1] != nil || values[2] == nil {
		t.Errorf("got %q, %v", values, err)
	}
	if _, err := places.Find([]byte("NL-2"), 10); !errors.Is(err, host.ErrNotFound) {
		t.Errorf("without a row: %v", err)
	}
	if _, err := places.Find([]byte("NL-1"), 1); !errors.Is(err, host.ErrTooSmall) {
		t.Errorf("with room for less: %v", err)
	}
}

func TestFakesCanBeReplaced(t *testing.T) {
	t.Cleanup(func() { host.Fakes = host.NewFakes() })
	if _, err := host.Zstd(nil, []byte("x"), 10); !errors.Is(err, host.ErrFailed) {
		t.Errorf("without a fake: %v", err)
	}

	host.Fakes.Zstd = func(data []byte) ([]byte, error) { return append(data, data...), nil }
	if got, err := host.Zstd([]byte(">"), []byte("xy"), 10); err != nil || string(got) != ">xyxy" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := host.Zstd(nil, []byte("xy"), 3); !errors.Is(err, host.ErrTooSmall) {
		t.Errorf("with room for less: %v", err)
	}

	var logged []guardlock.Reason
	host.Fakes.Log = func(_ host.Level, why guardlock.Reason) { logged = append(logged, why) }
	host.Log(host.Info, 7)
	if len(logged) != 1 || logged[0] != 7 {
		t.Errorf("logged %v", logged)
	}
}

// A buffer of the caller's serves every record.
func TestABufferIsUsedAgain(t *testing.T) {
	host.Fakes.Zstd = func([]byte) ([]byte, error) { return nil, host.ErrFailed }
	t.Cleanup(func() { host.Fakes = host.NewFakes() })
	buffer := make([]byte, 0, 100)
	data := []byte("data")
	if n := testing.AllocsPerRun(10, func() { _, _ = host.Zstd(buffer, data, 100) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPlacesAreReadAsManyAsThereAre(t *testing.T) {
	t.Cleanup(func() { host.Fakes = host.NewFakes() })
	if _, err := host.FindJSON(nil, []byte("{}"), "$.a"); !errors.Is(err, host.ErrFailed) {
		t.Errorf("without a function that finds: %v", err)
	}

	found := make([]host.Place, 1000)
	found[999] = host.Place{At: 7, Size: 3}
	host.Fakes.FindJSON = func([]byte, string) ([]host.Place, error) { return found, nil }
	host.Fakes.ReplaceJSON = func([]byte, string, []byte) ([]host.Place, error) { return found[999:], nil }
	if got, err := host.FindJSON(nil, nil, "$"); err != nil || len(got) != 1000 || got[999] != found[999] {
		t.Errorf("%d places are found, %v", len(got), err)
	}
	if got, err := host.ReplaceJSON(found[:1:1], nil, "$", nil); err != nil || len(got) != 2 || got[1] != found[999] {
		t.Errorf("behind one place there are %v, %v", got, err)
	}
}
