package gateway

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/guardlock/guardlock/gateway/pipeline"
)

// owned is an inbox whose memory counts for a source.
func owned(conn net.Conn, pool *buffers, owner *source) *inbox {
	in := newInbox(conn, pool, 1<<20, time.Minute)
	in.memory.owner = owner
	return in
}

func held(b *buffers, budget int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return budget - b.free
}

// What is announced costs nothing: only what has arrived does.
func TestMemoryFollowsWhatHasArrived(t *testing.T) {
	const budget = 8 << 20
	pool := newShared(budget, 1<<20)
	frame := framed(make([]byte, 1<<20))
	for _, sent := range []int{16, 1000, smallest, 3 * smallest, 600 << 10} {
		client, server := tcpPair(t)
		in := owned(server, pool, new(source))
		if _, err := client.Write(frame[:sent]); err != nil {
			t.Fatal(err)
		}

		for in.w < sent {
			if err := in.fill(t.Context()); err != nil {
				t.Fatal(err)
			}
		}

		if most := int64(growth * max(sent, smallest/growth)); held(pool, budget) > most {
			t.Errorf("%d bytes of a frame hold %d, want %d at most", sent, held(pool, budget), most)
		}
		in.release()
		if held(pool, budget) != 0 || in.memory.owner.held != 0 {
			t.Errorf("%d bytes are held at the end, %d of them by the source", held(pool, budget), in.memory.owner.held)
		}
	}
}

func TestSmallRequestsHaveAReserve(t *testing.T) {
	b := newShared(8<<20, 1<<20)
	taken := 0
	for b.tryGet(1<<20, new(source)) != nil {
		taken++
	}

	if taken != 6 {
		t.Errorf("large frames got %d MiB of 8, want all but a quarter", taken)
	}

	waits := make(chan error, 1)
	ctx := t.Context()
	go func() {
		_, err := b.get(ctx, 1<<20, new(source), time.Hour)
		waits <- err
	}()

	for b.wanted() == 0 {
		if len(waits) > 0 {
			t.Fatal("a frame did not wait")
		}
	}

	for i := range 32 {
		if b.tryGet(1, new(source)) == nil {
			t.Fatalf("small request %d had to wait behind a large one", i)
		}
	}

	if b.tryGet(1, new(source)) != nil {
		t.Error("a small request passed the waiting large one, beyond what is reserved")
	}
}

func TestSourceHasAShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShared(8<<20, 1<<20)
		greedy := new(source)
		first := b.tryGet(2<<20, greedy)
		b.tryGet(2<<20, greedy)

		if b.tryGet(1<<20, greedy) != nil {
			t.Error("a source got more than half of the memory")
		}

		got := make(chan error, 1)
		go func() {
			_, err := b.get(t.Context(), 1<<20, greedy, time.Hour)
			got <- err
		}()

		synctest.Wait()

		if _, err := b.get(t.Context(), 2<<20, new(source), time.Second); err != nil {
			t.Errorf("another source waits behind the greedy one: %v", err)
		}
		b.put(first, greedy)
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

// A frame that waits for its last buffer gets it, whatever others hold while they
// wait for theirs.
func TestFramesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShared(8<<20, 1<<20)
		done := make(chan error, 64)
		for range 64 {
			owner := new(source)
			go func() {
				part := b.tryPart(512<<10, owner)
				whole, err := b.get(t.Context(), 1<<20, owner, time.Minute)
				if err == nil {
					b.put(part, owner)
					b.put(whole, owner)
				}
				done <- err
			}()
		}

		for range 64 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestArrivalIsJudgedByItsLastSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		in := owned(near, newShared(8<<20, 1<<20), new(source))
		in.buf = make([]byte, 1<<20)
		copy(in.buf, framed(make([]byte, 1<<20-4))[:4])

		note := func(arrived int) {
			in.w = arrived
			in.noteArrival()
		}

		note(1000)
		if _, _, ok := in.arrival.rest(time.Now()); ok {
			t.Error("a frame was judged as it began")
		}

		time.Sleep(look)
		note(1000 + 512<<10)
		if rest, _, ok := in.arrival.rest(time.Now()); !ok || rest > stallLimit {
			t.Errorf("half a MiB a second: %v until it is whole", rest)
		}

		time.Sleep(look)
		if rest, _, ok := in.arrival.rest(time.Now()); !ok || rest < stallLimit {
			t.Errorf("silent for a second: %v until it is whole", rest)
		}

		in.arrival.end()
		if _, _, ok := in.arrival.rest(time.Now()); ok {
			t.Error("a frame was judged that waits for us")
		}
	})
}

func TestSlowestOfTheHeaviestSourceGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Decisions: unlogged{}, Clusters: []ClusterConfig{{Name: "main", Upstream: inMemory{}}}})
		if err != nil {
			t.Fatal(err)
		}

		c := g.clusters[0]
		defer c.admin.Close()

		add := func(owner *source, held int, speed float64) *session {
			near, far := net.Pipe()
			t.Cleanup(func() { near.Close(); far.Close() })
			s := newSession(c, addressed{near})
			s.reader.in.memory.owner = owner
			s.reader.in.arrival = arrival{since: time.Now(), last: time.Now(), size: 1 << 20, speed: speed, held: held}
			c.sessions[s] = struct{}{}
			return s
		}

		heavy := new(source)
		light := new(source)
		last := add(heavy, 1<<20, 10_000)
		mid := add(light, 2<<20, 10_000)
		first := add(heavy, 3<<20, 5000)

		var order []*session
		for _, f := range g.slowFrames(time.Now()) {
			order = append(order, f.session)
		}

		if len(order) != 3 || order[0] != first || order[1] != mid || order[2] != last {
			t.Errorf("%d frames, not in the order of what their sources hold", len(order))
		}
	})
}

func TestSourceIsAnAddressOrACustomersNetwork(t *testing.T) {
	for host, want := range map[string]string{
		"10.1.2.3":           "10.1.2.3",
		"::ffff:10.1.2.3":    "::ffff:10.1.2.3",
		"2001:db8:1:2:3::4":  "2001:db8:1:2::/64",
		"fe80::1:2:3:4%eth0": "fe80::/64",
		"":                   "",
	} {
		if got := pipeline.SourceOf(host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}
