package load

import (
	"bufio"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/gateway/recordbatch"
)

func testFrame(t *testing.T) Frame {
	t.Helper()
	f, err := NewPlainFrame("t", Samples(1), recordbatch.None)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stalling is a broker that answers nothing before it has read so many requests. Each
// answer has the error code.
func stalling(t *testing.T, requests int, code byte) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()

		r := bufio.NewReader(c)
		var head [4]byte
		for range requests {
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			if _, err := r.Discard(int(binary.BigEndian.Uint32(head[:]))); err != nil {
				return
			}
		}

		answers := &Broker{topic: "t"}
		for i := range requests {
			out := answers.answer(nil, 0, 9, uint32(i))
			// The code is behind the size, the number, tags, and topic and partition.
			out[4+4+1+1+2+1+4+1] = code
			if _, err := c.Write(out); err != nil {
				return
			}
		}
		io.Copy(io.Discard, r)
	}()

	return ln.Addr().String()
}

// A load that waits for answers would never end here, or tell of one slow request.
func TestAStallCountsForEveryFrameBehindIt(t *testing.T) {
	const frames = 40
	const gap = 5 * time.Millisecond
	l, err := Dial(stalling(t, frames, 0), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	took, err := l.Paced(t.Context(), testFrame(t), float64(time.Second/gap), frames*gap)
	if err != nil {
		t.Fatal(err)
	}
	if took.Count() != frames {
		t.Errorf("%d of %d are counted", took.Count(), frames)
	}
	// The last frame is planned 39 gaps behind the first, and 20 behind the one in the middle.
	if most, half := took.Quantile(1), took.Quantile(0.5); most < (frames-1)*gap || half < (frames/2-1)*gap {
		t.Errorf("the longest took %v, half of them %v", most, half)
	}
}

func TestARefusalEndsAPacedLoad(t *testing.T) {
	l, err := Dial(stalling(t, 1, 7), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	_, err = l.Paced(t.Context(), testFrame(t), 1000, time.Hour)
	if err == nil || !strings.Contains(err.Error(), "refused with code 7") {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsOfAPacedLoadTakeTurns(t *testing.T) {
	b, err := NewBroker("t")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l, err := Dial(b.Addr(), 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	took, err := l.Paced(t.Context(), testFrame(t), 3000, 50*time.Millisecond)
	if err != nil || took.Count() != 150 || took.Quantile(0) <= 0 {
		t.Errorf("%v: %d took %v or more", err, took.Count(), took.Quantile(0))
	}
}

func TestHistogramIsAsExactAsItSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var all []time.Duration
	var h, other Histogram
	for i := range 20_000 {
		d := time.Duration(r.Uint64() >> (1 + r.IntN(62)))
		all = append(all, d)
		if i%2 == 0 {
			h.Add(d)
		} else {
			other.Add(d)
		}
	}

	h.Merge(&other)
	slices.Sort(all)
	for _, q := range []float64{0, 0.25, 0.5, 0.99, 0.999, 1} {
		want := all[max(0, int(q*float64(len(all)))-1)]
		if got := h.Quantile(q); got < want || got-want > want>>exactBits {
			t.Errorf("%v: %d, want %d", q, got, want)
		}
	}

	if empty := (&Histogram{}).Quantile(0.5); empty != 0 {
		t.Errorf("an empty one tells %v", empty)
	}
}
