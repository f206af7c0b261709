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
	ErrArgument    = errors.New("host: more than 1 MiB of input, or an argument that cannot be")
	ErrTooSmall    = errors.New("host: the output is longer than was allowed")
	ErrUnknownKey  = errors.New("host: the grant has no key of that index, or no table of that name")
	ErrFailed      = errors.New("host: it failed")
	ErrNotOpened   = errors.New("host: not sealed with this key, for this topic and purpose, or altered")
	ErrSmallDomain = errors.New("host: the text has fewer than a million values, too few for FF1")
	ErrNotFound    = errors.New("host: the table has no such row")
	ErrStale       = errors.New("host: the table is older than it may be")
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

// Alphabet is what FF1 works on: how many characters, which are digits, small letters and
// capitals as docs/host-functions.md has them.
type Alphabet uint32

// The alphabets.
const (
	Digits           Alphabet = 10
	Hex              Alphabet = 16
	Lower            Alphabet = 26
	LowerAndDigits   Alphabet = 36
	Letters          Alphabet = 52
	LettersAndDigits Alphabet = 62
)

// FF1 is how texts are encrypted so that they keep their length and alphabet. A purpose
// keeps the fields apart that share a key, a tweak the records.
type FF1 struct {
	Key      uint32
	Alphabet Alphabet
	Purpose  string
	Tweak    []byte
}

// Encrypt encrypts a text.
func (f FF1) Encrypt(dst, text []byte) ([]byte, error) {
	dst, out := grown(dst, len(text))
	return answered(dst, ff1Encrypt(f, text, out))
}

// Decrypt decrypts what Encrypt made.
func (f FF1) Decrypt(dst, text []byte) ([]byte, error) {
	dst, out := grown(dst, len(text))
	return answered(dst, ff1Decrypt(f, text, out))
}

// TokenBytes is the length of a token.
const TokenBytes = 30

// Tokenise makes the token that stands for a value: the same for the same key, purpose
// and value.
func Tokenise(dst []byte, key uint32, value []byte, purpose string) ([]byte, error) {
	dst, out := grown(dst, TokenBytes)
	return answered(dst, tokenise(key, value, purpose, out))
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

// Gunzip decompresses gzip members to at most so many bytes.
func Gunzip(dst, data []byte, most int) ([]byte, error) {
	dst, out := grown(dst, most)
	return answered(dst, gunzip(data, out))
}

// Unzstd decompresses zstd frames to at most so many bytes.
func Unzstd(dst, data []byte, most int) ([]byte, error) {
	dst, out := grown(dst, most)
	return answered(dst, unzstd(data, out))
}

// UnLZ4 decompresses lz4 frames to at most so many bytes.
func UnLZ4(dst, data []byte, most int) ([]byte, error) {
	dst, out := grown(dst, most)
	return answered(dst, unLZ4(data, out))
}

// Unsnappy decompresses a raw snappy block to at most so many bytes.
func Unsnappy(dst, data []byte, most int) ([]byte, error) {
	dst, out := grown(dst, most)
	return answered(dst, unsnappy(data, out))
}

// Count counts a key at the time of a record, and returns how often it came in the
// window that ends there, this time among them.
func Count(r *guardlock.Record, key []byte, windowMilliseconds uint32) (uint32, error) {
	n := count(r, key, windowMilliseconds)
	return uint32(n), refused(n)
}

// Seen returns how many milliseconds after the last record with this key a record is.
// There is none before the first; it is the last one then.
func Seen(r *guardlock.Record, key []byte) (milliseconds uint32, before bool, err error) {
	n := seen(r, key)
	if n == codeNotFound {
		return 0, false, nil
	}
	return uint32(n), n >= 0, refused(n)
}

// Since returns for how many milliseconds before a record the counts are complete: 0
// after a restart.
func Since(r *guardlock.Record) (milliseconds uint32, err error) {
	n := since(r)
	return uint32(n), refused(n)
}

// AddMetric counts up a metric of the module's catalogue, by 1024 at most.
func AddMetric(m guardlock.Metric, amount uint32) { addMetric(uint32(m), amount) }

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
	case code == codeSmallDomain:
		return ErrSmallDomain
	case code == codeNotFound:
		return ErrNotFound
	case code == codeStale:
		return ErrStale
	}

	return ErrFailed
}

// The codes of docs/abi.md.
const (
	codeArgument    = -1
	codeTooSmall    = -2
	codeUnknownKey  = -3
	codeFailed      = -5
	codeNotOpened   = -6
	codeSmallDomain = -7
	codeNotFound    = -8
	codeStale       = -9
)
