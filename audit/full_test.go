package audit_test

import (
	"errors"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit"
)

// TestBatchesAreRefusedBeforeTheDiskIsFull: what is refused would not have been written,
// and the log goes on when there is room again.
func TestBatchesAreRefusedBeforeTheDiskIsFull(t *testing.T) {
	const reserve = 16 << 20
	l := openMem(t, newMemFiles(), audit.Options{})
	stored := mustAppend(t, l, batchOf("a", 0, 3), nil)

	l.SetFree(reserve) // less than that and what the segment holds
	if _, next := l.Append(batchOf("a", 0, 3), nil).Seq(), l.Count().NextSeq; !l.Count().Full || next != stored+1 {
		t.Errorf("full %v, next entry %d behind %d", l.Count().Full, next, stored)
	}
	if err := l.Append(batchOf("a", 0, 3), nil).Wait(t.Context()); !errors.Is(err, audit.ErrDiskFull) || errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("a batch: %v", err)
	}

	// Answers to what is stored already, and what the gateway decides, have room.
	l.Place(stored, audit.Placement{BaseOffset: 7, AppendTime: time.Unix(1, 0)})
	if err := l.Record(t.Context(), audit.ControlEntry{Kind: audit.KindStop, Subject: "gateway", Outcome: "stopped"}); err != nil {
		t.Errorf("a control entry: %v", err)
	}
	if open := l.Unplaced(); len(open) != 0 {
		t.Errorf("the answer was not taken: %v", open)
	}

	for name, free := range map[string]int64{"there is room": 1 << 30, "nobody knows": -1, "there is just enough": reserve + 4<<10} {
		l.SetFree(free)
		if l.Count().Full {
			t.Errorf("%s, and it is full", name)
		}
		mustAppend(t, l, batchOf("a", 0, 3), nil)
	}

	mustClose(t, l)
}

// TestNextSegmentHasRoom: the fuller a segment is, the more must be free when it ends.
func TestNextSegmentHasRoom(t *testing.T) {
	l := openMem(t, newMemFiles(), audit.Options{SegmentBytes: 1 << 20})
	l.SetFree(16<<20 + 64<<10)
	taken := 0
	for !l.Count().Full {
		mustAppend(t, l, batchOf("a", 0, 3), nil)
		taken++
		if taken > 100_000 {
			t.Fatal("it is never full")
		}
	}

	if taken < 100 {
		t.Errorf("full after %d batches", taken)
	}
	mustClose(t, l)
}
