package pipeline

import (
	"fmt"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/internal/meter"
)

// settled takes a batch through to the broker's answer.
func (w *world) settled(t *testing.T, records []byte, g *Grant, code int16) {
	t.Helper()
	d := w.decide(t, records, g)
	_, refused, err := w.pipeline.Settle(t.Context(), &d, &w.guard, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if !refused {
		w.pipeline.Answered(&d, &wire.ProduceAnswer{ErrorCode: code}, 0)
	}
	if trace := d.TakeTrace(); trace != nil {
		w.pipeline.Told(trace, true)
	}
}

func TestCountsSayWhatBecameOfEachBatch(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	rejecting := passing()
	rejecting.Binding = "r"
	rejecting.Chain = rejectAll
	rejecting.Modules = []audit.ModuleRef{{Name: "m"}}

	w.settled(t, plain("a", "b"), passing(), 0)
	w.settled(t, plain("c"), passing(), kerr.NotLeaderForPartition.Code)
	w.settled(t, plain("d"), rejecting, 0)
	w.settled(t, plain("e"), Unbound, 0)

	got := map[string]uint64{}
	w.pipeline.Counts().EachBinding(func(n BindingCount) {
		for _, e := range n.Ends {
			got[fmt.Sprintf("%s %v %s", n.Binding, e.Outcome, e.Reason)] += e.Batches
		}
		got[n.Binding+" passed records"] = n.Records["passed"]
		got[n.Binding+" refused records"] = n.Records["refused"]
	})
	w.pipeline.Counts().EachError(func(name string, n uint64) { got[name] = n })
	w.pipeline.Counts().EachTopic(func(topic string, records, _ uint64) { got["topic "+topic] = records })

	for what, want := range map[string]uint64{
		"b passed ":                        2,
		"b passed records":                 3,
		"b refused records":                0,
		"r rejected m.reason":              1,
		"r refused records":                1,
		" policy_denied unbound_topic":     1,
		" refused records":                 1,
		kerr.NotLeaderForPartition.Message: 1,
		"topic in":                         2,
		"topic other":                      0,
	} {
		if got[what] != want {
			t.Errorf("%s: %d, not %d", what, got[what], want)
		}
	}
	for stage := range w.pipeline.Counts().Stages {
		r := w.pipeline.Counts().Stages[stage].Read()
		if r.Count == 0 {
			t.Errorf("stage %s was not measured", StageNames[stage])
		}
	}
}

// A batch whose decision says forwarded and that is refused all the same counts once,
// as refused.
func TestWhatIsRefusedAfterItsEntryCountsAsRefused(t *testing.T) {
	w := newWorld(t, openLog(t, 0))
	w.router.err = fmt.Errorf("no")
	g := passing()
	g.Chain = routeAll
	g.Modules = []audit.ModuleRef{{Name: "m"}}
	g.Routes = [][]string{{"elsewhere"}}
	w.settled(t, plain("a"), g, 0)

	w.pipeline.Counts().EachBinding(func(n BindingCount) {
		if len(n.Ends) != 1 || n.Ends[0].Reason != "route_failed" || n.Records["refused"] != 1 || n.Records["routed"] != 0 {
			t.Errorf("counted %+v", n)
		}
	})
}

// Clients make names up: a topic is known by its name once the cluster stored
// something there, and no more than a bound.
func TestNamesOfTopicsAreCountedWithinABudget(t *testing.T) {
	c := newCounts()
	c.topic("made-up", false).records.Add(1)
	for i := range 2 * maxTopics {
		c.topic(fmt.Sprint("topic-", i), true).records.Add(1)
	}

	names := 0
	c.EachTopic(func(topic string, records, _ uint64) {
		names++
		if topic == "made-up" || topic == otherNames && records != maxTopics+1 {
			t.Errorf("%s has %d records", topic, records)
		}
	})
	if names != maxTopics+1 {
		t.Errorf("%d names", names)
	}
}

// Whatever number a broker answers with is counted, and each name once.
func TestErrorsOfEveryCodeAreCounted(t *testing.T) {
	c := newCounts()
	d := Decided{Partition: Partition{Topic: "in"}}
	for code := math.MinInt16; code <= math.MaxInt16; code++ {
		if code != 0 {
			c.answered(&d, int16(code))
		}
	}

	sum := uint64(0)
	names := map[string]bool{}
	c.EachError(func(name string, batches uint64) {
		if names[name] {
			t.Errorf("%s is there twice", name)
		}
		names[name] = true
		sum += batches
	})
	if sum != math.MaxUint16 || !names["NOT_LEADER_FOR_PARTITION"] || !names[otherNames] {
		t.Errorf("%d batches, %v", sum, names)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	c := newCounts()
	g := passing()
	d := Decided{Partition: Partition{Topic: "in"}}
	d.counted.records[audit.Passed] = 3
	count := func() {
		d.counted.tally = c.of(g, Produce)
		d.counted.forwarded()
		d.times.settled = meter.Now()
		c.answered(&d, 0)
	}
	count()
	if n := testing.AllocsPerRun(1000, count); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkCounting holds what counting one batch costs against the batch itself, from
// its bytes to the answer, with a log that waits for no disk and without connections. It
// looks at the clock as often as the pipeline does.
func BenchmarkCounting(b *testing.B) {
	b.Run("counting", func(b *testing.B) {
		c := newCounts()
		g := passing()
		d := Decided{Partition: Partition{Topic: "in"}}
		d.counted.records[audit.Passed] = 100
		b.ReportAllocs()
		for b.Loop() {
			d.counted.tally = c.of(g, Produce)
			last := meter.Now()
			for stage := range []Stage{StageQueue, StageDecode, StageWasm, StageEncode} {
				now := meter.Now()
				c.Stages[stage].Observe(now.Since(last))
				last = now
			}

			d.times.settled = meter.Now()
			c.Stages[StageCommit].ObserveOf(d.times.settled.Since(last), 1, d.times.settled)
			d.counted.forwarded()
			c.answered(&d, 0)
		}
	})

	b.Run("batch", func(b *testing.B) {
		l, err := audit.Open(b.TempDir(), audit.Options{InsecureNoSync: true})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()

		w := newWorld(b, l)
		values := make([]string, 100)
		for i := range values {
			values[i] = fmt.Sprintf(`{"id": %d, "name": "a record of an ordinary length, which is some hundred bytes in all", "n": 12345}`, i)
		}
		in := w.input(plain(values...), passing())
		for b.Loop() {
			d, err := w.pipeline.Decide(b.Context(), in)
			if err != nil {
				b.Fatal(err)
			}
			if _, refused, err := w.pipeline.Settle(b.Context(), &d, &w.guard, in.Log); refused || err != nil {
				b.Fatal(refused, err)
			}
			w.pipeline.Answered(&d, &wire.ProduceAnswer{}, 0)
		}
	})
}
