package disk

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// MinSecret is how many bytes a secret must have at least: as many as a key of
// HMAC-SHA-256 is worth.
const MinSecret = 32

// ReadSecret reads a key file, which must be closed to others: hex or base64
// text of MinSecret bytes or more, or else raw bytes. Errors never quote the
// content.
func ReadSecret(path string) ([]byte, error) {
	raw, err := ReadPrivate(path)
	if err != nil {
		return nil, err
	}

	text := strings.TrimSpace(string(raw))
	if b, err := hex.DecodeString(text); err == nil && len(b) >= MinSecret {
		return b, nil
	}
	if b, err := base64.StdEncoding.DecodeString(text); err == nil && len(b) >= MinSecret {
		return b, nil
	}
	if len(raw) < MinSecret {
		return nil, fmt.Errorf("%s holds fewer than %d bytes", path, MinSecret)
	}

	return raw, nil
}

// ReadKey reads a key of exactly 32 bytes, as the decision log has one.
func ReadKey(path string) (key [32]byte, err error) {
	secret, err := ReadSecret(path)
	if err != nil {
		return key, err
	}
	if len(secret) != len(key) {
		return key, fmt.Errorf("%s must hold exactly %d bytes", path, len(key))
	}

	copy(key[:], secret)
	return key, nil
}
