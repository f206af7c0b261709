package segment

import (
	"strings"
	"testing"
)

// Whoever goes back to an older version is told what that one cannot read.
func TestSegmentOfANewerVersionIsToldFromDamage(t *testing.T) {
	b := make([]byte, HeaderSize)
	for magic, want := range map[string]string{
		"GLAUDIT4":   "version 4, which a newer guardlock wrote",
		"GLAUDIT9":   "version 9, which a newer guardlock wrote",
		"GLAUDIT0":   "not an audit segment",
		"GLAUDITx":   "not an audit segment",
		"PK\x03\x04": "not an audit segment",
	} {
		clear(b)
		copy(b, magic)
		if _, err := ParseHeader(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", magic, err, want)
		}
	}
}
