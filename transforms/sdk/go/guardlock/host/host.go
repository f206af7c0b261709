// Package host is what a transform may ask the host to do. Each function is an import of
// its own, which a module has only when it calls it, and must then be granted. A key is
// the index of one in the grant: its secret never enters the module.
//
// Where bytes come back they are appended to dst, as with the standard library's Append
// functions, so that a transform with a buffer of its own allocates nothing for a record.
//
// On a machine that is no host, which is where `go test` runs, Fakes answer.
package host

import (
	"errors"

	"github.com/guardlock/guardlock/transforms/sdk/go/guardlock"
)

// Why the host did not do what it was asked.
var (
	ErrArgument   = errors.New("host: more than 1 MiB of input, or an argument that cannot be")
	ErrTooSmall   = errors.New("host: the output is longer than was allowed")
	ErrUnknownKey = errors.New("host: the grant has no key of that index")
	ErrFailed     = errors.New("host: it failed")
	ErrNotOpened  = errors.New("host: not sealed with this key, for this topic and purpose, or altered")
)

// EnvelopeOverhead is how much longer a sealed value is.
const EnvelopeOverhead = 53

// SHA256 is the digest of data.
func SHA256(data []byte) (digest [32]byte, err error) {
	err = refused(sha256(data, digest[:]))
	return digest, err
}

// HMACSHA256 is the HMAC-SHA256 of data under a granted key.
func HMACSHA256(key uint32, data []byte) (digest [32]byte, err error) {
	err = refused(hmacSHA256(key, data, digest[:]))
	return digest, err
}

// Seal puts data into an envelope, for the record's topic and for a purpose, such as
// the name of a field.
func Seal(dst []byte, key uint32, data []byte, purpose string) ([]byte, error) {
	dst, out := grown(dst, len(data)+EnvelopeOverhead)
	return answered(dst, aesGCMSeal(key, data, purpose, out))
}

// Open returns what is in an envelope of the record's topic and of a purpose.
func Open(dst []byte, key uint32, envelope []byte, purpose string) ([]byte, error) {
	dst, out := grown(dst, len(envelope))
	return answered(dst, aesGCMOpen(key, envelope, purpose, out))
}

// Gzip compresses data to a gzip member of at most so many bytes.
func Gzip(dst, data []byte, most int) ([]byte, error) {
	dst, out := grown(dst, most)
	return answered(dst, gzip(data, out))
}

// Zstd compresses data to a zstd frame of at most so many bytes.
func Zstd(dst, data []byte, most int) ([]byte, error) {
	dst, out := grown(dst, most)
	return answered(dst, zstd(data, out))
}

// LZ4 compresses data to an lz4 frame of at most so many bytes.
func LZ4(dst, data []byte, most int) ([]byte, error) {
	dst, out := grown(dst, most)
	return answered(dst, lz4(data, out))
}

// Snappy compresses data to a raw snappy block of at most so many bytes.
func Snappy(dst, data []byte, most int) ([]byte, error) {
	dst, out := grown(dst, most)
	return answered(dst, snappy(data, out))
}

// Level is how much a log event matters.
type Level uint32

// The levels of a log event.
const (
	Debug   Level = iota // for who writes the module
	Info                 // for who runs it
	Warning              // someone should look
	Error                // someone must look
)

// Log logs an entry of the module's catalogue, never a text: no byte of a record
// reaches a log.
func Log(level Level, why guardlock.Reason) { logEvent(uint32(level), uint32(why)) }

// grown returns dst with room for size more bytes, and that room.
func grown(dst []byte, size int) (with, out []byte) {
	used := len(dst)
	if cap(dst)-used < size {
		dst = append(make([]byte, 0, used+size), dst...)
	}

	return dst, dst[used : used+size]
}

// answered is dst with what the host wrote behind it.
func answered(dst []byte, code int32) ([]byte, error) {
	if err := refused(code); err != nil {
		return dst, err
	}
	return dst[:len(dst)+int(code)], nil
}

// refused is the error of an answer below zero.
func refused(code int32) error {
	switch {
	case code >= 0:
		return nil
	case code == codeArgument:
		return ErrArgument
	case code == codeTooSmall:
		return ErrTooSmall
	case code == codeUnknownKey:
		return ErrUnknownKey
	case code == codeNotOpened:
		return ErrNotOpened
	}

	return ErrFailed
}

// The codes of docs/abi.md.
const (
	codeArgument   = -1
	codeTooSmall   = -2
	codeUnknownKey = -3
	codeFailed     = -5
	codeNotOpened  = -6
)
