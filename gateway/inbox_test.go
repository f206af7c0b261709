package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"
)

// tcpPair returns two ends of a loopback connection.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	defer ln.Close()
	dialed := make(chan net.Conn, 1)
	go func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Error(err)
		}
		dialed <- c
	}()

	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}

	b = (<-dialed).(*net.TCPConn)
	t.Cleanup(func() { accepted.Close(); b.Close() })
	return accepted.(*net.TCPConn), b
}

func framed(bodies ...[]byte) []byte {
	var out []byte
	for _, b := range bodies {
		out = binary.BigEndian.AppendUint32(out, uint32(len(b)))
		out = append(out, b...)
	}
	return out
}

func readFrames(t *testing.T, in *inbox, n int) [][]byte {
	t.Helper()
	var got [][]byte
	for len(got) < n {
		if err := in.fill(t.Context()); err != nil {
			t.Fatalf("after %d frames: %v", len(got), err)
		}
		for {
			f, ok, err := in.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}

			got = append(got, bytes.Clone(f))
		}
	}

	return got
}

// hidden hides the socket, as TLS does.
type hidden struct{ net.Conn }

func TestFramesArriveWholeHoweverTheyAreCut(t *testing.T) {
	sent := [][]byte{bytes.Repeat([]byte("a"), 4), bytes.Repeat([]byte("b"), 70_000), []byte("cccc"), bytes.Repeat([]byte("d"), 300_000), bytes.Repeat([]byte("e"), 9)}
	raw := framed(sent...)
	for _, step := range []int{1 << 20, 65_536, 1000, 77} {
		for _, tls := range []bool{false, true} {
			client, server := tcpPair(t)
			go func() {
				for p := raw; len(p) > 0; p = p[min(step, len(p)):] {
					if _, err := client.Write(p[:min(step, len(p))]); err != nil {
						return
					}
				}
			}()

			var conn net.Conn = server
			if tls {
				conn = hidden{server}
			}

			pool := newBuffers(4 << 20)
			in := newInbox(conn, pool, 1<<20, time.Minute)
			for i, f := range readFrames(t, in, len(sent)) {
				if !bytes.Equal(f, sent[i]) {
					t.Fatalf("in steps of %d: frame %d differs", step, i)
				}
			}

			in.release()
			if pool.free != 4<<20 {
				t.Errorf("%d bytes of buffers were not given back", 4<<20-pool.free)
			}
		}
	}
}

func TestLengthIsJudgedBeforeAnythingIsAllocated(t *testing.T) {
	for _, head := range [][]byte{{0xff, 0xff, 0xff, 0xff}, {0x7f, 0xff, 0xff, 0xff}, {0, 0, 0, 0}, {0, 0, 0, 3}} {
		client, server := tcpPair(t)
		client.Write(head)
		in := newInbox(server, newBuffers(1<<20), 1<<16, time.Minute)
		if err := in.fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.next(); !errors.Is(err, errFrame) {
			t.Errorf("length % x: got %v, want errFrame", head, err)
		}
		if len(in.buf) > 1<<16 {
			t.Errorf("length % x: %d bytes were allocated", head, len(in.buf))
		}
	}
}

func TestFrameThatHasBegunMustEnd(t *testing.T) {
	client, server := tcpPair(t)
	client.Write([]byte{0, 0, 0, 9, 1, 2})
	in := newInbox(server, newBuffers(1<<20), 1<<16, 10*time.Millisecond)
	var err error
	for err == nil {
		err = in.fill(t.Context())
	}

	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a time-out", err)
	}
}

func TestEndInsideAFrameIsNotAnOrderlyEnd(t *testing.T) {
	for _, tc := range []struct {
		sent []byte
		want error
	}{{nil, io.EOF}, {[]byte{0, 0, 0, 9, 1, 2}, io.ErrUnexpectedEOF}, {[]byte{0}, io.ErrUnexpectedEOF}} {
		client, server := tcpPair(t)
		client.Write(tc.sent)
		client.CloseWrite()
		in := newInbox(server, newBuffers(1<<20), 1<<16, time.Minute)
		var err error
		for err == nil {
			err = in.fill(t.Context())
		}

		if !errors.Is(err, tc.want) {
			t.Errorf("% x: got %v, want %v", tc.sent, err, tc.want)
		}
	}
}

func TestSilentConnectionHoldsNoBuffer(t *testing.T) {
	client, server := tcpPair(t)
	pool := newBuffers(1 << 20)
	in := newInbox(server, pool, 1<<16, time.Minute)
	client.Write(framed([]byte("abcd")))
	readFrames(t, in, 1)
	filled := make(chan error, 1)
	go func() { filled <- in.fill(t.Context()) }()

	deadline := time.Now().Add(5 * time.Second)
	for {
		pool.mu.Lock()
		free := pool.free
		pool.mu.Unlock()

		if free == 1<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a waiting connection keeps its buffer")
		}
	}

	client.Close()
	<-filled
}

// What lies behind a frame is seen without taking anything, if it is whole.
func TestPeekBehindSeesTheNextWholeFrame(t *testing.T) {
	here, there := tcpPair(t)
	in := newInbox(here, newBuffers(1<<20), 1<<20, time.Second)
	bodies := [][]byte{bytes.Repeat([]byte("a"), 1000), bytes.Repeat([]byte("b"), 66<<10), bytes.Repeat([]byte("c"), 80<<10)}
	frames := framed(bodies...)
	whole := len(frames) - 1 // the last one lacks a byte
	if _, err := there.Write(frames[:whole]); err != nil {
		t.Fatal(err)
	}

	off := 0
	for i, body := range bodies {
		prefix, size, ok := in.peek()
		if i > 0 {
			prefix, size, ok = in.peekBehind(off, whole)
		}
		if runtime.GOOS != "linux" || in.ahead.noOffset {
			return // one frame goes at a time there
		}
		if in.available() == 0 {
			t.Fatal("nothing is seen of what lies in the socket")
		}
		if want := i < 2; ok != want || ok && (size != len(body) || !bytes.HasPrefix(body, prefix) || len(prefix) == 0) {
			t.Fatalf("frame %d: %v, %d bytes beginning with %q", i, ok, size, prefix)
		}

		off += 4 + len(body)
	}

	if _, err := there.Write(frames[whole:]); err != nil {
		t.Fatal(err)
	}
	if got := readFrames(t, in, len(bodies)); !slices.EqualFunc(got, bodies, bytes.Equal) {
		t.Error("the frames that are read are not those that were sent")
	}
}
