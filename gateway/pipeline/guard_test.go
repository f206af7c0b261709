package pipeline

import (
	"math"
	"strconv"
	"testing"

	"github.com/guardlock/guardlock/gateway/recordbatch"
)

func batch(producer int64, epoch int16, sequence int32) *recordbatch.Header {
	return &recordbatch.Header{ProducerID: producer, ProducerEpoch: epoch, BaseSequence: sequence}
}

func TestWhatFollowsARefusedBatchIsRefused(t *testing.T) {
	var g Guard
	k := Partition{"t", 0}
	if g.blocks(batch(7, 0, 10), k) {
		t.Fatal("blocked before anything was refused")
	}

	g.refuse(batch(7, 0, 10), k)
	for _, tc := range []struct {
		name     string
		key      Partition
		producer int64
		epoch    int16
		sequence int32
		want     bool
	}{
		{"the next batch", k, 7, 0, 20, true},
		{"one much later", k, 7, 0, 2000, true},
		{"an older one, sent again", k, 7, 0, 0, false},
		{"another partition", Partition{"t", 1}, 7, 0, 20, false},
		{"no producer id", k, -1, -1, -1, false},
		{"the refused sequence again", k, 7, 0, 10, false},
		{"after that, the next", k, 7, 0, 20, false},
	} {
		if got := g.blocks(batch(tc.producer, tc.epoch, tc.sequence), tc.key); got != tc.want {
			t.Errorf("%s: blocked %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestFirstHoleIsTheOneToComeBackTo(t *testing.T) {
	var g Guard
	k := Partition{"t", 0}
	g.refuse(batch(7, 0, 20), k) // when it was read
	g.refuse(batch(7, 0, 10), k) // when its decision could not be kept
	g.refuse(batch(7, 0, 30), k)

	if !g.follows(batch(7, 0, 15), k) || g.follows(batch(7, 0, 10), k) || g.follows(batch(7, 1, 15), k) || g.follows(batch(8, 0, 15), k) {
		t.Error("what follows the first refused batch is not told from the rest")
	}
	if !g.blocks(batch(7, 0, 20), k) {
		t.Error("the client may leave out the first refused batch")
	}
}

func TestNewEpochOrProducerStartsAfresh(t *testing.T) {
	k := Partition{"t", 0}
	for _, tc := range []struct {
		producer int64
		epoch    int16
	}{{7, 1}, {8, 0}} {
		var g Guard
		g.refuse(batch(7, 0, 10), k)
		if g.blocks(batch(tc.producer, tc.epoch, 20), k) {
			t.Errorf("producer %d epoch %d is blocked by an older one's hole", tc.producer, tc.epoch)
		}
	}
}

func TestSequenceNumbersWrap(t *testing.T) {
	var g Guard
	k := Partition{"t", 0}
	g.refuse(batch(7, 0, math.MaxInt32-5), k)

	if !g.blocks(batch(7, 0, 4), k) {
		t.Error("the batch behind the wrap is not blocked")
	}
	if g.blocks(batch(7, 0, math.MaxInt32-100), k) {
		t.Error("an older batch is blocked")
	}
}

func TestHolesAreBounded(t *testing.T) {
	var g Guard
	for i := range maxHoles {
		if !g.refuse(batch(1, 0, 0), Partition{strconv.Itoa(i), 0}) {
			t.Fatalf("hole %d was not taken", i)
		}
	}

	if g.refuse(batch(1, 0, 0), Partition{"one more", 0}) {
		t.Error("there is no bound")
	}
}
