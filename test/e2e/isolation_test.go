package e2e

import (
	"errors"
	"testing"

	"github.com/guardlock/guardlock/gateway/admission"
)

// keeper keeps the topic's number in its memory, and traps when it finds another
// topic's there.
func keeper() []byte {
	const frame, at = 0, 16
	var c code
	c.i32(at)
	c.load(0)
	c.op(opIf, noResult)
	c.i32(at)
	c.load(0)
	c.get(frame)
	c.load(40)
	c.op(0x47, opIf, noResult, opUnreachable, opEnd, opEnd)
	c.i32(at)
	c.get(frame)
	c.load(40)
	c.store(0)

	return guest{transform: append(c, pass()...)}.wasm()
}

// With isolation by topic, what a module keeps of one topic is never met by
// another topic's records; without it, it is.
func TestIsolatedTopicsMeetNothingOfEachOther(t *testing.T) {
	for _, isolated := range []bool{true, false} {
		rule := bind("in*", "keeper")
		if isolated {
			rule.Isolation = admission.PerTopic
		}
		w := newWorld(t, setup{
			topics:   map[string]int32{"in.secret": 1, "in.public": 1},
			modules:  []module{{name: "keeper", wasm: keeper(), topics: []string{"in*"}}},
			bindings: []admission.Rule{rule},
		})

		c := client(t, w.addr())
		met := false
		for range 5 {
			for _, topic := range []string{"in.secret", "in.public"} {
				met = met || errors.Join(send(t, c, topic, 0, "value")...) != nil
			}
		}

		if met == isolated {
			t.Errorf("isolated: %v, but one topic met what the module kept of the other: %v", isolated, met)
		}
	}
}
