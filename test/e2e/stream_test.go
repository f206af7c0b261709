package e2e

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// passing is a world in which nothing is decided about any topic, so that large
// requests go from socket to socket.
func passing(t *testing.T, frameTimeout time.Duration) *world {
	t.Helper()
	w := newWorld(t, setup{topics: map[string]int32{"in": 1}, configure: func(c *gateway.Config) { c.FrameTimeout = frameTimeout },
		kafka: []kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "8000000"})}})
	w.cluster.SetBindings(gateway.NewBindings(nil, &pipeline.Grant{Unaudited: true}))
	return w
}

// TestRequestsOfAllSizesPassOneAfterAnother: what waits for the rest of a large
// request must not make a small one behind it wait too.
func TestRequestsOfAllSizesPassOneAfterAnother(t *testing.T) {
	w := passing(t, 10*time.Second)
	c := dial(t, w.addr())
	sizes := []int{300 << 10, 10, 70 << 10, 2 << 20, 1, 65 << 10, 1 << 20, 100}
	var want []string
	for range 3 {
		for _, n := range sizes {
			value := strings.Repeat(string(rune('a'+len(want)%26)), n)
			want = append(want, value)
			req := produceOf(-1, part{"in", 0, batchOf(nobody, value)})

			frame := c.frame(req)
			for i := 0; i < len(frame); { // in pieces that end anywhere
				end := min(i+1+len(frame)/3, len(frame))
				if _, err := c.Write(frame[i:end]); err != nil {
					t.Fatal(err)
				}
				i = end
			}

			w.passed(c, req)
			c.request(metadataRequest("in"))
		}
	}

	equal(t, "stored", values(w.stored("in", 0)), want)
}

func (w *world) passed(c *wire, req *produceRequest) {
	w.t.Helper()
	for _, r := range results(c.receive(req, c.last)) {
		if r.ErrorCode != 0 {
			w.t.Fatalf("the answer is code %d", r.ErrorCode)
		}
	}
}

func TestLargeRequestThatPassesByMustEnd(t *testing.T) {
	w := passing(t, 300*time.Millisecond)
	large := produceOf(-1, part{"in", 0, batchOf(nobody, strings.Repeat("x", 400<<10))})
	for _, before := range []int{0, 2} { // behind some, a request is looked at before it is taken
		for _, first := range []int{100, 5000, 200 << 10} {
			c := dial(t, w.addr())
			for range before {
				c.send(large)
				w.passed(c, large)
			}

			if _, err := c.Write(c.frame(large)[:first]); err != nil {
				t.Fatal(err)
			}
			if !c.closed() {
				t.Fatalf("a request that stopped after %d bytes is still waited for", first)
			}
		}
	}
}

// TestRequestBehindOnesThatPassByIsDecided: large requests that lie one behind
// the other in the socket go by together, up to one that must be looked at.
func TestRequestBehindOnesThatPassByIsDecided(t *testing.T) {
	s := judgeSetup(1, nil)
	s.topics["by"] = 1
	w := newWorld(t, s)
	w.cluster.SetBindings(gateway.NewBindings(w.set.Bindings, &pipeline.Grant{Unaudited: true}))
	c := dial(t, w.addr())
	large := func(topic, first string) *produceRequest {
		return produceOf(-1, part{topic, 0, batchOf(nobody, first+strings.Repeat("x", 70<<10))})
	}

	by := large("by", "b")
	small := produceOf(-1, part{"by", 0, batchOf(nobody, "s")})
	silent := produceOf(0, part{"by", 0, batchOf(nobody, "0"+strings.Repeat("x", 70<<10))})
	burst := []*produceRequest{by, by, silent, large("in", "r"), by, large("in", "m"), by, by, small, by}
	const rounds = 20
	for range rounds {
		c.request(by) // the next is looked at before it is taken
		var frames []byte
		first := c.last + 1

		for _, req := range burst {
			frames = append(frames, c.frame(req)...)
		}
		if _, err := c.Write(frames); err != nil {
			t.Fatal(err)
		}

		for i, req := range burst {
			if req == silent {
				continue
			}
			want := int16(0)
			if i == 3 {
				want = codeInvalidRecord
			}
			if got := results(c.receive(req, first+int32(i)))[0]; got.ErrorCode != want {
				t.Fatalf("request %d of the burst: code %d, want %d", i, got.ErrorCode, want)
			}
		}
	}

	if got := decisions(t, w.logDir, query.Filter{Topics: []string{"in"}, ByBatch: true}); len(got) != 2*rounds {
		t.Errorf("%d decisions, want %d", len(got), 2*rounds)
	}
	if got := len(w.stored("in", 0)); got != rounds {
		t.Errorf("%d records of the topic with a decision are stored, want %d", got, rounds)
	}

	var got []string
	for _, v := range values(w.stored("by", 0)) {
		got = append(got, v[:1])
	}

	equal(t, "stored", got, strings.Split(strings.Repeat("bbb0bbbsb", rounds), ""))
}

// TestUrgentDataHidesNothing: reads pass over a byte of TCP urgent data, and
// splices stop at it. A request that is decided must not get past the gateway
// because the two count bytes differently.
func TestUrgentDataHidesNothing(t *testing.T) {
	s := judgeSetup(1, func(c *gateway.Config) { c.FrameTimeout = 200 * time.Millisecond })
	s.topics["by"] = 1
	w := newWorld(t, s)
	w.cluster.SetBindings(gateway.NewBindings(w.set.Bindings, &pipeline.Grant{Unaudited: true}))
	long := strings.Repeat("x", 70<<10)
	by := produceOf(-1, part{"by", 0, batchOf(nobody, "b"+long)})
	rejected := produceOf(-1, part{"in", 0, batchOf(nobody, "r"+long)})
	for _, instead := range []bool{false, true} { // of a byte of the stream, or between two
		for _, at := range []int{1, 3, 20, 100, 600, 30 << 10, -100, -1, 0, 5} {
			c := dial(t, w.addr())
			c.SetDeadline(time.Now().Add(5 * time.Second))
			c.request(by) // the next is looked at before it is taken
			first := c.frame(by)
			frames := append(append(first, c.frame(rejected)...), c.frame(by)...)

			if at <= 0 {
				at += len(first)
			} else if instead {
				at += len(first) // in the request that is decided
			}

			raw := must(c.Conn.(*net.TCPConn).SyscallConn())(t)
			c.Write(frames[:at])
			var err error
			ctlErr := raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), frames[at:at+1], unix.MSG_OOB, nil) })
			if err = errors.Join(err, ctlErr); err != nil {
				t.Fatalf("sending urgent data: %v", err)
			}
			if instead {
				at++
			}

			c.Write(frames[at:]) // fails where the connection has ended
			for range 3 {
				if _, err = c.answer(); err != nil {
					break
				}
			}

			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("urgent data at %d: neither answered nor ended", at)
			}
			c.Close()
		}
	}

	w.holdsNothing("in")
}
