package gateway

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

// TestKnownEraCostsNothing: every batch asks.
func TestKnownEraCostsNothing(t *testing.T) {
	e := newEras(nil)
	at := pipeline.Partition{Topic: "t", Number: 1}
	id := [16]byte{1}
	e.note(at, leadership{1, 4, id}, 3)

	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if err := e.Begin(ctx, at, id); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestEraIsKnownOfOneTopicOnly: of another id, and of one that is in doubt, nothing is.
func TestEraIsKnownOfOneTopicOnly(t *testing.T) {
	e := newEras(nil)
	first, second := [16]byte{1}, [16]byte{2}
	at := pipeline.Partition{Topic: "t", Number: 2}
	e.note(pipeline.Partition{Topic: "t", Number: 0}, leadership{1, 4, first}, 1)
	e.note(at, leadership{1, 5, first}, 3) // the topic has more partitions now

	for _, tc := range []struct {
		what  string
		at    pipeline.Partition
		topic [16]byte
		want  bool
	}{
		{"by its id", at, first, true},
		{"by its name", at, [16]byte{}, true},
		{"from before it grew", pipeline.Partition{Topic: "t", Number: 0}, first, true},
		{"another partition", pipeline.Partition{Topic: "t", Number: 1}, first, false},
		{"no partition", pipeline.Partition{Topic: "t", Number: -1}, first, false},
		{"beyond the last", pipeline.Partition{Topic: "t", Number: 3}, first, false},
		{"another id", at, second, false},
		{"another name", pipeline.Partition{Topic: "u", Number: 2}, first, false},
	} {
		if got := e.known(tc.at, tc.topic); got != tc.want {
			t.Errorf("%s: %v", tc.what, got)
		}
	}

	e.learned(first, "t")
	if !e.known(at, first) {
		t.Error("its own id puts it in doubt")
	}
	e.learned(second, "t")
	if e.known(at, [16]byte{}) {
		t.Error("a topic of another id is taken for it")
	}

	e.note(at, leadership{1, 5, second}, 3)
	if !e.known(at, second) || e.known(pipeline.Partition{Topic: "t", Number: 0}, second) {
		t.Error("the topic that was made anew has the partitions of the one before")
	}
	e.doubt("t")
	if e.known(at, second) {
		t.Error("nothing is in doubt")
	}
}

// TestEpochIsThatOfTheBrokerThatAnswers: what the cluster said of another broker, or said
// before this one denied it, is not written down.
func TestEpochIsThatOfTheBrokerThatAnswers(t *testing.T) {
	e := newEras(nil)
	at := pipeline.Partition{Topic: "t", Number: 1}
	other := pipeline.Partition{Topic: "t", Number: 2}
	if got := e.answered(at, 0, 0); got.Number() != -1 {
		t.Errorf("of an unknown topic: %d", got.Number())
	}

	e.note(at, leadership{node: 0, epoch: 4}, 3)
	for _, tc := range []struct {
		what  string
		do    func()
		at    pipeline.Partition
		node  int32
		code  int16
		epoch int32
	}{
		{"the leader", func() {}, at, 0, 0, 4},
		{"another broker", func() {}, at, 1, 0, -1},
		{"any broker", func() {}, at, -1, 0, -1},
		{"another partition", func() {}, other, 0, 0, -1},
		{"no partition", func() {}, pipeline.Partition{Topic: "t", Number: 9}, 0, 0, -1},
		{"the next leader", func() { e.led([]byte("t"), 1, 1, 5) }, at, 1, 0, 5},
		{"the one before", func() {}, at, 0, 0, -1},
		{"the first epoch", func() { e.led([]byte("t"), 2, 7, 0) }, other, 7, 0, 0},
		{"no leader", func() { e.led([]byte("t"), 2, -1, 1) }, other, -1, 0, -1},
		{"one that does not lead any more", func() {}, at, 1, kerr.NotLeaderForPartition.Code, -1},
		{"the same, later", func() {}, at, 1, 0, -1},
	} {
		tc.do()
		if got := e.answered(tc.at, tc.node, tc.code); got.Number() != tc.epoch {
			t.Errorf("%s: epoch %d, want %d", tc.what, got.Number(), tc.epoch)
		}
	}
	e.led([]byte("unknown"), 1, 1, 1)
	e.led([]byte("t"), -1, 1, 1)
	e.led([]byte("t"), 3, 1, 1)
}
