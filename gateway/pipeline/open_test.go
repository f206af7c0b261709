package pipeline

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
)

// ten is a batch of ten records of producer 7.
func ten(epoch int16, sequence int32) *recordbatch.Header {
	return &recordbatch.Header{ProducerID: 7, ProducerEpoch: epoch, BaseSequence: sequence, NumRecords: 10}
}

func TestWhatIsOpenPrecedesWhatComesBehindIt(t *testing.T) {
	here := Partition{"t", 0}
	const (
		stored   = int16(0)
		noLeader = int16(6)  // may be stored
		notYet   = int16(19) // is not, and comes again
		refused  = int16(87) // is not, and never will be
		unsent   = int16(-99)
	)

	last := int32(math.MaxInt32 - 9) // the batch behind it begins at 0

	type step struct {
		h    *recordbatch.Header
		code int16
	}

	for name, c := range map[string]struct {
		steps []step
		asked *recordbatch.Header
		want  bool
	}{
		"nothing was sent":                   {nil, ten(0, 10), false},
		"one without an answer":              {[]step{{ten(0, 0), unsent}}, ten(0, 10), true},
		"itself":                             {[]step{{ten(0, 0), unsent}}, ten(0, 0), false},
		"one behind":                         {[]step{{ten(0, 10), unsent}}, ten(0, 0), false},
		"one that is stored":                 {[]step{{ten(0, 0), stored}}, ten(0, 10), false},
		"a copy":                             {[]step{{ten(0, 0), noLeader}, {ten(0, 0), 46}}, ten(0, 10), false},
		"one that may be stored":             {[]step{{ten(0, 0), noLeader}}, ten(0, 10), true},
		"one that comes again":               {[]step{{ten(0, 0), notYet}}, ten(0, 10), true},
		"one that was refused for good":      {[]step{{ten(0, 0), refused}}, ten(0, 10), false},
		"one that comes again, and does":     {[]step{{ten(0, 0), noLeader}, {ten(0, 10), 45}, {ten(0, 0), stored}}, ten(0, 10), false},
		"the second of two":                  {[]step{{ten(0, 0), noLeader}, {ten(0, 10), noLeader}, {ten(0, 0), stored}}, ten(0, 20), true},
		"the first, which the second proves": {[]step{{ten(0, 0), noLeader}, {ten(0, 10), stored}}, ten(0, 20), false},
		"another epoch":                      {[]step{{ten(0, 0), noLeader}}, ten(1, 10), false},
		"what an epoch began with":           {[]step{{ten(0, 50), noLeader}, {ten(1, 0), unsent}}, ten(1, 10), true},
		"an epoch that is over":              {[]step{{ten(1, 0), unsent}, {ten(0, 0), stored}}, ten(1, 10), true},
		"sequence numbers begin again":       {[]step{{ten(0, last), noLeader}}, ten(0, 0), true},
		"and are stored":                     {[]step{{ten(0, last), noLeader}, {ten(0, 0), stored}}, ten(0, 10), false},
		"another producer":                   {[]step{{ten(0, 0), noLeader}}, &recordbatch.Header{ProducerID: 8, BaseSequence: 10}, false},
		"no producer id":                     {[]step{{&recordbatch.Header{ProducerID: -1, BaseSequence: -1}, noLeader}}, &recordbatch.Header{ProducerID: -1, BaseSequence: -1}, false},
	} {
		var o openBatches
		for _, s := range c.steps {
			o.forwarded(s.h, here)
		}

		for _, s := range c.steps {
			if s.code != unsent {
				o.answered(s.h, here, s.code)
			}
		}

		if got := o.precede(c.asked, here); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if o.precede(c.asked, Partition{"t", 1}) {
			t.Errorf("%s: in another partition", name)
		}
	}
}

// What a producer never comes back to is forgotten.
func TestOpenBatchesAreBoundedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o openBatches
		lost := func(partition int32) Partition { return Partition{"t", partition} }
		for i := range int32(maxOpenRuns + 10) {
			o.forwarded(ten(0, 0), lost(i))
		}

		if n := len(o.shard(7).runs); n != maxOpenRuns {
			t.Errorf("%d are kept", n)
		}
		if !o.precede(ten(0, 10), lost(0)) || o.precede(ten(0, 10), lost(maxOpenRuns)) {
			t.Error("one that is kept is not known, or one that is not")
		}

		// A full shard is looked through each second, and not for each batch.
		looked := o.shard(7).swept
		time.Sleep(sweepEvery / 2)
		o.forwarded(ten(0, 0), lost(maxOpenRuns))
		if !o.shard(7).swept.Equal(looked) {
			t.Error("it was looked through again at once")
		}

		time.Sleep(openAge + time.Second)
		if o.precede(ten(0, 10), lost(0)) {
			t.Error("its producer gave it up, and it stands in the way")
		}

		o.forwarded(ten(0, 0), lost(maxOpenRuns))
		if n := len(o.shard(7).runs); n != 1 {
			t.Errorf("%d are kept", n)
		}
	})
}

// A refusal for good waits until what is before it is settled; one that lets the
// producer come again does not.
func TestRefusalBehindAnOpenBatchIsWithheld(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	settle := func(d Decided) Decided {
		t.Helper()
		if _, _, err := w.pipeline.Settle(t.Context(), &d, &w.guard, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		return d
	}

	first := settle(w.decide(t, sequenced("x", 7, 0), passing()))
	second := settle(w.decide(t, sequenced("y", 7, 1), Unbound))
	answer, withheld := w.pipeline.Withhold(&second)
	if !withheld || answer.ErrorCode != kerr.OutOfOrderSequenceNumber.Code {
		t.Errorf("behind one without an answer: %v, %+v", withheld, answer)
	}

	w.pipeline.Answered(&first, &wire.ProduceAnswer{ErrorCode: kerr.NotLeaderForPartition.Code}, 0)
	if _, withheld := w.pipeline.Withhold(&second); !withheld {
		t.Error("a refusal for good is told behind a batch that may be stored")
	}
	if _, withheld := w.pipeline.Withhold(&first); withheld {
		t.Error("what is forwarded is withheld")
	}

	again := settle(w.decide(t, sequenced("x", 7, 0), passing()))
	w.pipeline.Answered(&again, &wire.ProduceAnswer{}, 0)
	if _, withheld := w.pipeline.Withhold(&second); withheld {
		t.Error("all before it is stored, and it is withheld")
	}
}

// Two calls stand on the way of each batch.
func TestOpenBatchesAllocateNothing(t *testing.T) {
	var o openBatches
	h := ten(0, 0)
	k := Partition{"t", 0}
	if n := testing.AllocsPerRun(1000, func() {
		o.forwarded(h, k)
		o.answered(h, k, 0)
	}); n > 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func BenchmarkOpenBatches(b *testing.B) {
	var o openBatches
	h := ten(0, 0)
	k := Partition{"a-topic-of-some-length", 0}
	b.ReportAllocs()
	for b.Loop() {
		o.forwarded(h, k)
		o.answered(h, k, 0)
	}
}
