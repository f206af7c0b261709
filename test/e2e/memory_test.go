package e2e

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/gateway"
)

// The memory budget is a brake, not a wall: with far more asked for than there
// is, everybody waits and everybody is served.
func TestSmallMemoryBudgetSlowsClientsDownAndFailsNone(t *testing.T) {
	s := judgeSetup(8, func(c *gateway.Config) {
		c.MaxFrame = 1 << 20
		c.Memory = 4 << 20
		c.FrameTimeout = testTimeout
	})

	w := newWorld(t, s)
	const clients, each = 24, 4
	var wg sync.WaitGroup
	errs := make(chan error, clients*each)
	for i := range clients {
		c := client(t, w.addr(), kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()))
		wg.Go(func() {
			for n := range each {
				value := append(fmt.Appendf(nil, "m%d-%d ", i, n), bytes.Repeat([]byte("x"), 400<<10)...)
				errs <- c.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Partition: int32(i % 8), Value: value}).FirstErr()
			}
		})
	}

	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Errorf("a client failed: %v", err)
		}
	}

	stored := 0
	for p := range int32(8) {
		for _, v := range values(w.stored("in", p)) {
			if strings.HasPrefix(v, "M") {
				stored++
			}
		}
	}

	if stored != clients*each {
		t.Errorf("%d records are stored, want %d", stored, clients*each)
	}
}

// raiseLimit lets this process open n files, or as many as it may.
func raiseLimit(t *testing.T, n uint64) uint64 {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}

	l.Cur = max(l.Cur, min(n, l.Max))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return l.Cur
}

// startSink is a broker that answers nothing and keeps nothing, so that what is
// measured is the gateway.
func startSink(t *testing.T) (addr string, open func() int) {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	}()

	count := func() int { mu.Lock(); defer mu.Unlock(); return len(conns) }
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})

	return l.Addr().String(), count
}

// inUse is what this process holds: heap and stacks, after a collection.
func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func TestIdleConnectionCostsAtMost64KiB(t *testing.T) {
	// Here, one connection is four descriptors: both ends of both sides.
	connections := min(5000, int(raiseLimit(t, 20_400)-400)/4)
	addr, open := startSink(t)
	w := newWorld(t, setup{configure: func(c *gateway.Config) { c.Clusters[0].Upstream = upstreamAt(t, addr); c.DrainTimeout = time.Second }})
	before := inUse()
	had := open()

	clients := make([]net.Conn, connections)
	for i := range clients {
		clients[i] = must(net.Dial("tcp", w.addr()))(t)
	}

	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()

	eventually(t, "every connection has its upstream", func() bool { return open()-had >= connections })
	per := (inUse() - before) / uint64(connections)
	t.Logf("%d idle connections hold %d bytes each, both ends of both sides included", connections, per)

	if per > 64<<10 {
		t.Errorf("an idle connection holds %d bytes, at most 64 KiB are allowed", per)
	}
}
