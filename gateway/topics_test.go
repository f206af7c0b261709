package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestMissingTopicIsToldOf: once in a while, and only what can be the name of a topic.
func TestMissingTopicIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		names := topicNames{missing: func(topic string, unlogged uint64) { told = append(told, fmt.Sprint(topic, " ", unlogged)) }}
		for range 1000 {
			names.Missing([]byte("orders.v2_x-1"))
		}
		names.Missing([]byte("alice@example.com"))
		names.Missing([]byte(strings.Repeat("x", 250)))
		names.Missing(nil)

		time.Sleep(tellEvery)
		names.Missing([]byte("alice@example.com"))
		names.Missing([]byte("payments"))
		if !slices.Equal(told, []string{"orders.v2_x-1 0", "payments 999"}) {
			t.Errorf("told of %q", told)
		}
	})
}

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
