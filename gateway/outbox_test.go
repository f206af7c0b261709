package gateway

import (
	"bytes"
	"io"
	"testing"
)

func TestNeighbouringFramesBecomeOnePiece(t *testing.T) {
	buf := []byte("aaaabbbbcccc")
	var o outbox
	o.add(buf[0:4])
	o.add(buf[4:8])
	o.add([]byte("xx"))
	o.add(buf[8:12])

	if len(o.bufs) != 3 {
		t.Fatalf("%d pieces, want 3", len(o.bufs))
	}
	client, server := tcpPair(t)
	if err := o.flush(newSocket(client)); err != nil {
		t.Fatal(err)
	}

	got := make([]byte, 14)
	if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, []byte("aaaabbbbxxcccc")) {
		t.Errorf("sent %q, %v", got, err)
	}
}
