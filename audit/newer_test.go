package audit

import (
	"errors"
	"strings"
	"testing"
)

// Whoever goes back to an older version is told what that one cannot read.
func TestEntryOfANewerVersionIsNamed(t *testing.T) {
	const unheardOf = 99
	p := payload{entries: []byte{3, unheardOf, 0, 0}}
	err := p.each(func(rawEntry) error { return nil })
	if !errors.Is(err, errEntry) || !strings.Contains(err.Error(), "kind 99 is unknown to this version of guardlock; a newer one") {
		t.Errorf("got %v", err)
	}
}
