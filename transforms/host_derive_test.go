package transforms

import (
	"crypto/aes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/ff1"
)

const (
	ff1Encrypt = "guardlock_crypto.ff1_encrypt"
	ff1Decrypt = "guardlock_crypto.ff1_decrypt"
	tokenise   = "guardlock_crypto.tokenise"
)

// ff1Args are the arguments of FF1 over the first value, whose first bytes are the
// purpose and the tweak too.
func ff1Args(key, radix, purpose, tweak int32) []byte {
	at := cat(frameField(frameInDescs), load32(descValue))
	return cat(i32c(key), firstValue(), i32c(radix), at, i32c(purpose), at, i32c(tweak), i32c(hostOut))
}

func derivedSecret(t *testing.T, info, purpose string) []byte {
	t.Helper()
	key, err := hkdf.Key(sha256.New, testSecret, nil, info+"\x00"+purpose, 32)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestFF1KeepsTheFormatUnderAKeyForThePurpose(t *testing.T) {
	const plain = "4111111111111111"
	for purpose := range int32(3) {
		got, err := runHost(t, ff1Encrypt, hostGuest(ff1Encrypt, typNine, ff1Args(1, 10, purpose, 3), 0), plain)
		if err != nil {
			t.Fatal(err)
		}

		block, err := aes.NewCipher(derivedSecret(t, "guardlock ff1 v1", plain[:purpose]))
		if err != nil {
			t.Fatal(err)
		}
		want := []byte(plain)
		for n := range want {
			want[n] -= '0'
		}
		if err := ff1.New(block).Encrypt(want, 10, []byte(plain[:3])); err != nil {
			t.Fatal(err)
		}
		for n := range want {
			want[n] += '0'
		}

		if string(got) != string(want) || string(got) == plain {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestFF1ComesBackInEveryAlphabet(t *testing.T) {
	for radix, alphabet := range alphabets {
		// Purpose and tweak lie behind the frame, where both directions see the same.
		args := cat(i32c(0), firstValue(), i32c(int32(radix)), i32c(hostOut-64), i32c(5), i32c(hostOut-64), i32c(7), i32c(hostOut))
		sealed, err := runHost(t, ff1Encrypt, hostGuest(ff1Encrypt, typNine, args, 0), alphabet)
		if err != nil || len(sealed) != len(alphabet) || string(sealed) == alphabet || strings.Trim(string(sealed), alphabet) != "" {
			t.Fatalf("radix %d: %q, %v", radix, sealed, err)
		}

		plain, err := runHost(t, ff1Decrypt, hostGuest(ff1Decrypt, typNine, args, 0), string(sealed))
		if err != nil || string(plain) != alphabet {
			t.Errorf("radix %d: it comes back as %q, %v", radix, plain, err)
		}
	}
}

func TestTokenIsThatOfKeyPurposeAndValue(t *testing.T) {
	args := func(key, purpose int32) []byte {
		return cat(i32c(key), firstValue(), frameField(frameInDescs), load32(descValue), i32c(purpose), i32c(hostOut), i32c(30))
	}
	tokens := map[string]string{}
	for _, c := range []struct {
		key, purpose int32
		value        string
	}{{1, 0, "ada@example.com"}, {1, 3, "ada@example.com"}, {0, 0, "ada@example.com"}, {1, 0, "Ada@example.com"}, {1, 0, ""}} {
		got, err := runHost(t, tokenise, hostGuest(tokenise, typSeal, args(c.key, c.purpose), 0), c.value)
		if err != nil || len(got) != 30 {
			t.Fatalf("%+v: %q, %v", c, got, err)
		}
		if other, same := tokens[string(got)]; same {
			t.Errorf("%+v has the token of %s", c, other)
		}
		tokens[string(got)] = fmt.Sprint(c)

		if c.key != 1 {
			continue
		}
		mac := hmac.New(sha256.New, derivedSecret(t, "guardlock token v1", c.value[:c.purpose]))
		mac.Write([]byte(c.value))
		want := "tk1_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:16]))
		if string(got) != want {
			t.Errorf("%+v: %s, want %s", c, got, want)
		}
	}
}

// A module with hmac_sha256 of a key learns nothing of what FF1 and tokens work under.
func TestDerivedKeysAreNoHMACsOfTheSecret(t *testing.T) {
	for _, info := range []string{infoFF1, infoToken} {
		for _, message := range []string{info, info + "\x00", info + "\x00\x01", info + "\x01"} {
			mac := hmac.New(sha256.New, testSecret)
			mac.Write([]byte(message))
			if string(mac.Sum(nil)) == string(derivedSecret(t, info, "")) {
				t.Errorf("the key is the HMAC of %q", message)
			}
		}
	}
}

func TestHostileArgumentsOfFF1AndTokens(t *testing.T) {
	long := strings.Repeat("1", 300)
	in := cat(frameField(frameInDescs), load32(descValue))
	none := cat(i32c(0), i32c(0))
	ff1With := func(key int32, value []byte, radix int32, purpose, tweak []byte, out int32) []byte {
		return cat(i32c(key), value, i32c(radix), purpose, tweak, i32c(out))
	}
	token := func(key int32, value, purpose []byte, out, room int32) []byte {
		return cat(i32c(key), value, purpose, i32c(out), i32c(room))
	}

	for rule, c := range map[string]struct {
		name  string
		args  []byte
		value string
		want  int32
	}{
		"UnknownKey":       {ff1Encrypt, ff1With(2, firstValue(), 10, none, none, hostOut), long[:9], hostUnknownKey},
		"NegativeKey":      {ff1Encrypt, ff1With(-1, firstValue(), 10, none, none, hostOut), long[:9], hostUnknownKey},
		"Radix":            {ff1Encrypt, ff1With(0, firstValue(), 11, none, none, hostOut), long[:9], hostBadArguments},
		"RadixNegative":    {ff1Decrypt, ff1With(0, firstValue(), -10, none, none, hostOut), long[:9], hostBadArguments},
		"Character":        {ff1Encrypt, ff1With(0, firstValue(), 10, none, none, hostOut), "4111-1111", hostBadArguments},
		"UpperCase":        {ff1Encrypt, ff1With(0, firstValue(), 36, none, none, hostOut), "abcdEfgh", hostBadArguments},
		"TooLong":          {ff1Encrypt, ff1With(0, firstValue(), 10, none, none, hostOut), long, hostBadArguments},
		"Longest":          {ff1Encrypt, ff1With(0, firstValue(), 10, none, none, hostOut), long[:256], 256},
		"DomainTooSmall":   {ff1Encrypt, ff1With(0, firstValue(), 10, none, none, hostOut), "12345", hostSmallDomain},
		"DomainOfDecrypt":  {ff1Decrypt, ff1With(0, firstValue(), 36, none, none, hostOut), "abc", hostSmallDomain},
		"OneCharacter":     {ff1Encrypt, ff1With(0, firstValue(), 62, none, none, hostOut), "a", hostSmallDomain},
		"Nothing":          {ff1Encrypt, ff1With(0, firstValue(), 62, none, none, hostOut), "", hostSmallDomain},
		"ValueOutOfMemory": {ff1Encrypt, ff1With(0, cat(i32c(-1), i32c(9)), 10, none, none, hostOut), long[:9], hostBadArguments},
		"LongPurpose":      {ff1Encrypt, ff1With(0, cat(in, i32c(9)), 10, cat(in, i32c(257)), none, hostOut), long, hostBadArguments},
		"PurposeOut":       {ff1Encrypt, ff1With(0, firstValue(), 10, cat(i32c(-1), i32c(9)), none, hostOut), long[:9], hostBadArguments},
		"LongTweak":        {ff1Encrypt, ff1With(0, cat(in, i32c(9)), 10, none, cat(in, i32c(257)), hostOut), long, hostBadArguments},
		"TweakOut":         {ff1Encrypt, ff1With(0, firstValue(), 10, none, cat(i32c(-9), i32c(99)), hostOut), long[:9], hostBadArguments},
		"OutputOut":        {ff1Encrypt, ff1With(0, firstValue(), 10, none, none, -4), long[:9], hostBadArguments},
		"TokenKey":         {tokenise, token(9, firstValue(), none, hostOut, 99), "v", hostUnknownKey},
		"TokenValueOut":    {tokenise, token(0, cat(i32c(-1), i32c(1)), none, hostOut, 99), "v", hostBadArguments},
		"TokenPurposeOut":  {tokenise, token(0, firstValue(), cat(i32c(-1), i32c(1)), hostOut, 99), "v", hostBadArguments},
		"TokenPurposeLong": {tokenise, token(0, firstValue(), cat(in, i32c(257)), hostOut, 99), long, hostBadArguments},
		"TokenTooSmall":    {tokenise, token(0, firstValue(), none, hostOut, 29), "v", hostTooSmall},
		"TokenOutputOut":   {tokenise, token(0, firstValue(), none, -8, 99), "v", hostBadArguments},
	} {
		t.Run(rule, func(t *testing.T) {
			typ := uint32(typNine)
			if c.name == tokenise {
				typ = typSeal
			}
			if err := runHere(t, c.name, expectResult(c.name, typ, c.args, c.want), c.value); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeptKeysForPurposesAreBounded(t *testing.T) {
	keys, err := newKeys([]Key{{"k", testSecret}})
	if err != nil {
		t.Fatal(err)
	}

	i := &instance{module: &Module{resources: resources{keys: keys}}}
	for n := range 10 * maxDerived {
		use, err := i.derive(0, infoToken, fmt.Appendf(nil, "purpose %d", n))
		if err != nil || use.token == nil || len(i.derived) > maxDerived {
			t.Fatalf("%+v, %v, with %d kept", use, err, len(i.derived))
		}
	}
}
