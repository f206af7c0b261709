package gateway

import (
	"testing"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

// TestKnownEraCostsNothing: every batch asks.
func TestKnownEraCostsNothing(t *testing.T) {
	e := newEras(nil)
	at := pipeline.Partition{Topic: "t", Number: 1}
	id := [16]byte{1}
	e.note(at, id, 3)

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
	e.note(pipeline.Partition{Topic: "t", Number: 0}, first, 1)
	e.note(at, first, 3) // the topic has more partitions now

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

	e.note(at, second, 3)
	if !e.known(at, second) || e.known(pipeline.Partition{Topic: "t", Number: 0}, second) {
		t.Error("the topic that was made anew has the partitions of the one before")
	}
	e.doubt("t")
	if e.known(at, second) {
		t.Error("nothing is in doubt")
	}
}
