package gateway

import (
	"math"
	"strconv"
	"testing"
)

func TestWhatFollowsARefusedBatchIsRefused(t *testing.T) {
	var g sequenceGuard
	k := guardKey{"t", 0}
	if g.blocks(k, 7, 0, 10) {
		t.Fatal("blocked before anything was refused")
	}
	g.refuse(k, 7, 0, 10)
	for _, tc := range []struct {
		name     string
		key      guardKey
		producer int64
		epoch    int16
		sequence int32
		want     bool
	}{
		{"the next batch", k, 7, 0, 20, true},
		{"one much later", k, 7, 0, 2000, true},
		{"an older one, sent again", k, 7, 0, 0, false},
		{"another partition", guardKey{"t", 1}, 7, 0, 20, false},
		{"no producer id", k, -1, -1, -1, false},
		{"the refused sequence again", k, 7, 0, 10, false},
		{"after that, the next", k, 7, 0, 20, false},
	} {
		if got := g.blocks(tc.key, tc.producer, tc.epoch, tc.sequence); got != tc.want {
			t.Errorf("%s: blocked %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestFirstHoleIsTheOneToComeBackTo(t *testing.T) {
	var g sequenceGuard
	k := guardKey{"t", 0}
	g.refuse(k, 7, 0, 20) // when it was read
	g.refuse(k, 7, 0, 10) // when its decision could not be kept
	g.refuse(k, 7, 0, 30)
	if !g.follows(k, 7, 0, 15) || g.follows(k, 7, 0, 10) || g.follows(k, 7, 1, 15) || g.follows(k, 8, 0, 15) {
		t.Error("what follows the first refused batch is not told from the rest")
	}
	if !g.blocks(k, 7, 0, 20) {
		t.Error("the client may leave out the first refused batch")
	}
}

func TestNewEpochOrProducerStartsAfresh(t *testing.T) {
	k := guardKey{"t", 0}
	for _, tc := range []struct {
		producer int64
		epoch    int16
	}{{7, 1}, {8, 0}} {
		var g sequenceGuard
		g.refuse(k, 7, 0, 10)
		if g.blocks(k, tc.producer, tc.epoch, 20) {
			t.Errorf("producer %d epoch %d is blocked by an older one's hole", tc.producer, tc.epoch)
		}
	}
}

func TestSequenceNumbersWrap(t *testing.T) {
	var g sequenceGuard
	k := guardKey{"t", 0}
	g.refuse(k, 7, 0, math.MaxInt32-5)
	if !g.blocks(k, 7, 0, 4) {
		t.Error("the batch behind the wrap is not blocked")
	}
	if g.blocks(k, 7, 0, math.MaxInt32-100) {
		t.Error("an older batch is blocked")
	}
}

func TestHolesAreBounded(t *testing.T) {
	var g sequenceGuard
	for i := range maxHoles {
		if !g.refuse(guardKey{strconv.Itoa(i), 0}, 1, 0, 0) {
			t.Fatalf("hole %d was not taken", i)
		}
	}
	if g.refuse(guardKey{"one more", 0}, 1, 0, 0) {
		t.Error("there is no bound")
	}
}
