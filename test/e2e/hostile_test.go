package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway"
)

// impatient is a gateway that gives clients little time.
func impatient(t *testing.T) *world {
	t.Helper()
	return newWorld(t, judgeSetup(1, func(c *gateway.Config) {
		c.FrameTimeout = 300 * time.Millisecond
		c.WriteTimeout = 300 * time.Millisecond
		c.DrainTimeout = time.Second
		c.MaxFrame = 1 << 20
	}))
}

// alive fails unless somebody else is served.
func (w *world) alive() {
	w.t.Helper()
	if got := w.produce(dial(w.t, w.addr()), "in", "alive"); got.ErrorCode != codeNone {
		w.t.Errorf("another client is answered with code %d", got.ErrorCode)
	}
}

func TestFrameThatDribblesInIsCutOffInTime(t *testing.T) {
	w := impatient(t)
	c := dial(t, w.addr())
	frame := c.frame(produceOf(-1, part{"in", 0, batchOf(nobody, "a")}))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()

	began := time.Now()
	// Each byte comes well in time; the whole would take seconds.
	for i := 0; ; i = (i + 1) % (len(frame) - 1) {
		if _, err := c.Write(frame[i : i+1]); err != nil {
			break
		}
		if <-tick.C; time.Since(began) > testTimeout {
			t.Fatal("a client holds a frame open for as long as it likes")
		}
	}

	w.alive()
}

func TestHalfAFrameThenSilenceIsCutOff(t *testing.T) {
	w := impatient(t)
	for _, n := range []int{1, 3, 4, 9, 40} {
		c := dial(t, w.addr())
		c.Write(c.frame(produceOf(-1, part{"in", 0, batchOf(nobody, "a")}))[:n])
		if !c.closed() {
			t.Errorf("a connection with %d bytes of a frame stays open", n)
		}
	}

	w.holdsNothing("in")
}

func TestWholeRequestInOneByteWritesIsServed(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	req := produceOf(-1, part{"in", 0, batchOf(nobody, "a")})
	for _, b := range c.frame(req) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}

	w.taken(results(c.receive(req, c.last))[0], 0)
}

func TestBytesThatAreNoRequestEndTheConnection(t *testing.T) {
	w := impatient(t)
	header := func(size uint32, key, version int16) []byte {
		b := binary.BigEndian.AppendUint32(nil, size)
		return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, uint16(key)), uint16(version)), 0, 0, 0, 1, 0xff, 0xff)
	}

	garbage := make([]byte, 4096)
	rand.NewChaCha8([32]byte{7}).Read(garbage)
	for what, raw := range map[string][]byte{
		"a frame of 2 GiB":            header(1<<31-1, 0, 9),
		"a negative length":           header(1<<32-1, 0, 9),
		"a length above the limit":    header(1<<20+1, 0, 9),
		"no length":                   header(0, 0, 9),
		"an unknown API key":          header(10, 9999, 0),
		"a negative API key":          header(10, -1, 0),
		"an API of brokers":           header(10, 4, 1),
		"a version from the future":   header(10, 3, 999),
		"a message set of Kafka 0.10": header(10, 0, 2),
		"a Produce request cut short": header(10, 0, 9),
		"HTTP":                        []byte("GET / HTTP/1.1\r\nHost: kafka\r\n\r\n"),
		"TLS":                         []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"garbage":                     garbage,
	} {
		c := dial(t, w.addr())
		c.Write(raw)
		if !c.closed() {
			t.Errorf("%s is answered, or the connection stays open", what)
		}
	}

	w.alive()
}

func TestClientThatHasSentItsLastStillGetsItsAnswers(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	reqs := []*produceRequest{produceOf(-1, part{"in", 0, batchOf(nobody, "a")}), produceOf(-1, part{"in", 0, batchOf(nobody, "r")}),
		produceOf(-1, part{"in", 0, batchOf(nobody, "b")})}

	c.pipeline(reqs...)
	c.Conn.(*net.TCPConn).CloseWrite()
	w.taken(results(c.receive(reqs[0], 1))[0], 0)
	w.refused(results(c.receive(reqs[1], 2))[0], refusal{codeInvalidRecord, "rejected", "judge.no", []int32{0}})
	w.taken(results(c.receive(reqs[2], 3))[0], 1)

	if !c.closed() {
		t.Error("the connection stays open")
	}
}

// A client that is gone before its answer still has its record's place known.
func TestRecordOfAClientThatVanishedIsBound(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	c.send(produceOf(-1, part{"in", 0, batchOf(nobody, "a")}))
	c.Conn.(*net.TCPConn).SetLinger(0)
	eventually(t, "the decision is made", func() bool { return len(decisions(t, w.logDir, query.Filter{Topics: []string{"in"}})) == 1 })
	c.Close()
	w.decided("in", 0, 0, "passed", "")
}

// Answers pile up nowhere: whoever does not read is first not read from, and
// then cut off.
func TestClientThatDoesNotReadItsAnswersIsCutOff(t *testing.T) {
	w := impatient(t)
	c := dial(t, w.addr())
	c.Conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	big := produceOf(-1, part{"in", 0, batchOf(nobody, string(bytes.Repeat([]byte("r"), 100)))})
	frame := c.frame(big)
	sent := 0
	for {
		n, err := c.Write(bytes.Repeat(frame, 100))
		if sent += n; err != nil {
			break
		}
		if sent > 256<<20 {
			t.Fatal("256 MiB were taken from a client that reads nothing")
		}
	}

	w.alive()
}

func TestUnknownTopicsAndNamesOfAnyShapeAreRefused(t *testing.T) {
	w := judged(t, 1)
	c := dial(t, w.addr())
	for _, topic := range []string{"", "in ", "IN", "in\x00", "../in", "in*", "*", fmt.Sprintf("%0300d", 1)} {
		got := w.produce(c, topic, "a")
		if got.ErrorCode != codePolicyViolation {
			t.Errorf("topic %q is answered with code %d", topic, got.ErrorCode)
		}
	}
}
