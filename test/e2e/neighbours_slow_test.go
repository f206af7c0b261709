//go:build slow

package e2e

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/gateway/admission"
)

// endless never ends; filler writes all of its memory for ever.
func endless() []byte {
	var c code
	c.op(opLoop, noResult, opBr, 0, opEnd)
	return guest{transform: append(c, pass()...)}.wasm()
}

func filler() []byte {
	var c code
	c.i32(200)
	c.op(0x40, 0, 0x1a) // memory.grow
	c.op(opLoop, noResult)
	c.i32(0)
	c.i32(1)
	c.i32(12 << 20)
	c.op(0xfc, 11, 0) // memory.fill
	c.op(opBr, 0, opEnd)

	return guest{transform: append(c, pass()...)}.wasm()
}

// What the benchmarks measure beside are these guests.
func TestBenchmarksMeasureBesideTheseGuests(t *testing.T) {
	for name, wasm := range map[string][]byte{"endless": endless(), "filler": filler()} {
		if got := must(os.ReadFile("../bench/testdata/" + name + ".wasm"))(t); !bytes.Equal(got, wasm) {
			t.Errorf("test/bench/testdata/%s.wasm is another guest", name)
		}
	}
}

// While four clients produce to a topic whose module never comes back, another
// topic's records take at most three times as long, by the 99th percentile, and
// the process stays within 64 MiB of what it was. A machine that is busy otherwise
// gets more tries.
func TestHostileModulesLeaveOtherTopicsAlone(t *testing.T) {
	for name, wasm := range map[string][]byte{"endless": endless(), "filler": filler(), "exponential": exponential(40)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{topics: map[string]int32{"bad": 4, "good": 1}, modules: []module{{name: "bad", wasm: wasm, topics: []string{"bad"}}, bundled("uppercase", "good")},
				bindings: []admission.Rule{bind("bad", "bad"), bind("good", "uppercase")}})

			var last string
			for range 5 {
				calm := p99(t, w)
				memory := residentMiB(t)
				stop := attack(t, w)
				beside := p99(t, w)
				grown := residentMiB(t) - memory
				stop()

				last = calm.String() + " alone, " + beside.String() + " beside it, " + strconv.Itoa(grown) + " MiB more"
				t.Log(last)
				if beside <= 3*calm && grown <= 64 {
					return
				}
			}

			t.Errorf("p99: %s", last)
		})
	}
}

// p99 is the 99th percentile of what one record to the good topic takes.
func p99(t *testing.T, w *world) time.Duration {
	c := client(t, w.addr(), kgo.ProducerLinger(0))
	defer c.Close()
	var took []time.Duration
	for begin := time.Now(); time.Since(begin) < 3*time.Second; {
		start := time.Now()
		mustSend(t, c, "good", 0, "keep")
		took = append(took, time.Since(start))
	}

	slices.Sort(took)
	return took[len(took)*99/100]
}

// attack produces to the bad topic from four clients until it is stopped.
func attack(t *testing.T, w *world) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for n := range 4 {
		c := client(t, w.addr(), kgo.ProducerLinger(0), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0))
		clients.Go(func() {
			for ctx.Err() == nil {
				c.ProduceSync(ctx, &kgo.Record{Topic: "bad", Partition: int32(n), Value: []byte("x")})
			}
		})
	}

	return func() { cancel(); clients.Wait() }
}

// residentMiB is the memory of this process, gateway and clients.
func residentMiB(t *testing.T) int {
	status := must(os.ReadFile("/proc/self/status"))(t)
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	return must(strconv.Atoi(strings.Fields(rest)[0]))(t) / 1024
}
