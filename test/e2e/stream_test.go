package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/guardlock/guardlock/gateway"
)

// passing is a world in which nothing is decided about any topic, so that large
// requests go from socket to socket.
func passing(t *testing.T, patience time.Duration) *world {
	t.Helper()
	w := newWorld(t, setup{topics: map[string]int32{"in": 1}, configure: func(c *gateway.Config) { c.FrameTimeout = patience },
		kafka: []kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "8000000"})}})
	w.cluster.SetBindings(gateway.NewBindings(nil, &gateway.Grant{Unaudited: true}))
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
