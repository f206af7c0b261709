package gateway

import (
	"strings"
	"testing"
)

func TestNamesTooLongForATopicAreNotKept(t *testing.T) {
	var names topicNames
	long := strings.Repeat("x", maxInternedBytes+1)
	for _, name := range []string{"orders", long} {
		if got := names.intern([]byte(name)); got != name {
			t.Errorf("a name of %d bytes became one of %d", len(name), len(got))
		}
	}

	if len(names.strings) != 1 {
		t.Errorf("%d names are kept", len(names.strings))
	}
}
