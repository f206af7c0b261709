//go:build !wasip1 && !tinygo.wasm

package host

import (
	"crypto/hmac"
	stdsha256 "crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
)

// Functions are what stands for the host in a test. One that is nil answers ErrFailed.
type Functions struct {
	SHA256     func(data []byte) ([]byte, error)
	HMACSHA256 func(key uint32, data []byte) ([]byte, error)

	// Sealed values are as long as those of a host, and no secrets.
	Seal func(key uint32, data []byte, purpose string) ([]byte, error)
	Open func(key uint32, envelope []byte, purpose string) ([]byte, error)

	Gzip, Zstd, LZ4, Snappy func(data []byte) ([]byte, error)

	Log func(level Level, why guardlock.Reason)
}

// Fakes are the functions in use, which a test may replace:
//
//	host.Fakes.Gzip = func(data []byte) ([]byte, error) { return data[:1], nil }
//	t.Cleanup(func() { host.Fakes = host.NewFakes() })
var Fakes = NewFakes()

// NewFakes are functions that work with the keys of `guardlock module test`, as far as
// they can without the sandbox.
func NewFakes() Functions {
	return Functions{
		SHA256: func(data []byte) ([]byte, error) {
			sum := stdsha256.Sum256(data)
			return sum[:], nil
		},
		HMACSHA256: mac,
		Seal:       fakeSeal,
		Open:       fakeOpen,
		Log:        func(Level, guardlock.Reason) {},
	}
}

const testKeys = 4

func mac(key uint32, data []byte) ([]byte, error) {
	if key >= testKeys {
		return nil, ErrUnknownKey
	}

	m := hmac.New(stdsha256.New, fmt.Appendf(nil, "guardlock test key %d, no secret", key))
	m.Write(data)
	return m.Sum(nil), nil
}

// fakeSeal puts a code that only the same key and purpose make before the data.
func fakeSeal(key uint32, data []byte, purpose string) ([]byte, error) {
	code, err := sealCode(key, data, purpose)
	if err != nil {
		return nil, err
	}

	envelope := make([]byte, EnvelopeOverhead, EnvelopeOverhead+len(data))
	copy(envelope, code)
	return append(envelope, data...), nil
}

func fakeOpen(key uint32, envelope []byte, purpose string) ([]byte, error) {
	if len(envelope) < EnvelopeOverhead {
		return nil, ErrNotOpened
	}

	data := envelope[EnvelopeOverhead:]
	code, err := sealCode(key, data, purpose)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(code, envelope[:len(code)]) {
		return nil, ErrNotOpened
	}
	return data, nil
}

func sealCode(key uint32, data []byte, purpose string) ([]byte, error) {
	named := binary.BigEndian.AppendUint32(nil, uint32(len(purpose)))
	return mac(key, append(append(named, purpose...), data...))
}

func sha256(data, out []byte) int32 {
	if Fakes.SHA256 == nil {
		return codeFailed
	}
	return written(out)(Fakes.SHA256(data))
}

func hmacSHA256(key uint32, data, out []byte) int32 {
	if Fakes.HMACSHA256 == nil {
		return codeFailed
	}
	return written(out)(Fakes.HMACSHA256(key, data))
}

func aesGCMSeal(key uint32, data []byte, purpose string, out []byte) int32 {
	if Fakes.Seal == nil {
		return codeFailed
	}
	return written(out)(Fakes.Seal(key, data, purpose))
}

func aesGCMOpen(key uint32, envelope []byte, purpose string, out []byte) int32 {
	if Fakes.Open == nil {
		return codeFailed
	}
	return written(out)(Fakes.Open(key, envelope, purpose))
}

func gzip(data, out []byte) int32   { return compressed(Fakes.Gzip, data, out) }
func zstd(data, out []byte) int32   { return compressed(Fakes.Zstd, data, out) }
func lz4(data, out []byte) int32    { return compressed(Fakes.LZ4, data, out) }
func snappy(data, out []byte) int32 { return compressed(Fakes.Snappy, data, out) }

func compressed(by func([]byte) ([]byte, error), data, out []byte) int32 {
	if by == nil {
		return codeFailed
	}
	return written(out)(by(data))
}

func logEvent(level, reason uint32) {
	if Fakes.Log != nil {
		Fakes.Log(Level(level), guardlock.Reason(reason))
	}
}

// written is the code with which a host would answer.
func written(out []byte) func(made []byte, err error) int32 {
	return func(made []byte, err error) int32 {
		switch {
		case err == nil && len(made) <= len(out):
			return int32(copy(out, made))
		case err == nil || errors.Is(err, ErrTooSmall):
			return codeTooSmall
		case errors.Is(err, ErrArgument):
			return codeArgument
		case errors.Is(err, ErrUnknownKey):
			return codeUnknownKey
		case errors.Is(err, ErrNotOpened):
			return codeNotOpened
		}

		return codeFailed
	}
}
