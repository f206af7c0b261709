package audit

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// TLS is what a caller's connection was protected by. The zero value stands for
// a connection without TLS, and for an entry from before these facts were kept.
type TLS struct {
	Version     string      `json:"version"`              // as crypto/tls names it: TLS 1.3
	Cipher      string      `json:"cipher_suite"`         // IANA's name of the suite
	Fingerprint Fingerprint `json:"fingerprint,omitzero"` // of the client's certificate; zero if none was verified
}

// Fingerprint is the SHA-256 of a client's leaf certificate, in DER.
type Fingerprint [32]byte

// String gives lower-case hex, or nothing for the zero fingerprint.
func (f Fingerprint) String() string {
	if f == (Fingerprint{}) {
		return ""
	}
	return hex.EncodeToString(f[:])
}

// MarshalText implements encoding.TextMarshaler.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ParseFingerprint reads hex in either case, with or without the colons that
// other tools print.
func ParseFingerprint(s string) (f Fingerprint, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(raw) != len(f) || Fingerprint(raw) == f {
		return f, fmt.Errorf("parsing fingerprint %q: want the %d hex digits of a SHA-256", s, 2*len(f))
	}
	return Fingerprint(raw), nil
}

func (e *encoder) tls(t *TLS) {
	e.str(roleTLS, t.Version)
	e.str(roleTLS, t.Cipher)
	e.fixed(RoleFingerprint, t.Fingerprint[:])
}

// tls reads the facts of an entry that has some: all of them empty is not the
// one form of an entry.
func (c *cursor) tls() (t TLS) {
	t.Version = c.str(roleTLS)
	t.Cipher = c.str(roleTLS)
	c.fixed(RoleFingerprint, t.Fingerprint[:])
	c.bad = c.bad || t == TLS{}
	return t
}
