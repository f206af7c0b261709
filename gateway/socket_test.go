package gateway

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// Whatever the pieces, all bytes arrive in their order, though the socket takes a part
// at a time only.
func TestSocketSendsEveryPieceThoughItsPeerIsSlow(t *testing.T) {
	for _, pieces := range []int{1, 2, 3000} {
		client, server := tcpPair(t)
		if err := client.SetWriteBuffer(16 << 10); err != nil { // so that it is full again and again
			t.Fatal(err)
		}
		random := rand.NewChaCha8([32]byte{byte(pieces)})
		all := make([]byte, 1<<20)
		_, _ = random.Read(all)

		var left net.Buffers
		for n := range pieces {
			left = append(left, all[n*len(all)/pieces:(n+1)*len(all)/pieces])
		}
		left = append(left, nil) // an empty piece is none

		sent := make(chan error, 1)
		go func() { sent <- errors.Join(newSocket(client).send(left), client.Close()) }()

		got, err := io.ReadAll(server)
		if err := errors.Join(err, <-sent); err != nil || !bytes.Equal(got, all) {
			t.Errorf("%d pieces: %d of %d bytes arrived, %v", pieces, len(got), len(all), err)
		}
	}
}

// A peer that takes nothing is waited for until the deadline, and one that is gone is
// an error: a write that was not made is never told as made.
func TestSocketThatCannotSendSaysSo(t *testing.T) {
	client, _ := tcpPair(t)
	if err := client.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := newSocket(client).send(net.Buffers{make([]byte, 64<<20)}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a peer that takes nothing: %v", err)
	}

	client, server := tcpPair(t)
	if err := errors.Join(server.SetLinger(0), server.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) { // it has arrived
		t.Fatal(err)
	}
	err := newSocket(client).send(net.Buffers{[]byte("a"), []byte("b")})
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a peer that is gone: %v", err)
	}

	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := newSocket(client).send(net.Buffers{[]byte("a")}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection that was closed: %v", err)
	}
}
