package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/wire"
)

// memoryEnds is a session between two in-memory connections, of which the test
// holds the far ends.
type memoryEnds struct {
	session *session
	client  net.Conn // what the client holds
	broker  net.Conn // what the broker holds
	ended   chan error
}

// inMemory is an Upstream that hands out the near end of one pipe.
type inMemory struct{ near net.Conn }

func (inMemory) Bootstrap() []broker.HostPort { return []broker.HostPort{{Host: "127.0.0.1", Port: 1}} }

func (u inMemory) DialNode(context.Context, broker.HostPort) (net.Conn, error) { return u.near, nil }

// addressed is a pipe's end with an address like a client's, which ends as a
// socket does.
type addressed struct{ net.Conn }

func (a addressed) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = net.ErrClosed
	}
	return n, err
}

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 4} }

// unlogged is a DecisionLog that nothing is appended to.
type unlogged struct{ DecisionLog }

func (unlogged) Unplaced() []audit.BatchRef { return nil }

// startSession must be called in a bubble of synctest.
func startSession(t *testing.T, change func(*Config)) *memoryEnds {
	t.Helper()
	near, far := net.Pipe()
	cfg := Config{
		Decisions: unlogged{},
		Clusters:  []ClusterConfig{{Name: "main", Upstream: inMemory{addressed{near}}, Host: "127.0.0.1"}},
	}

	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}

	inner, client := net.Pipe()
	c := g.clusters[0]
	e := &memoryEnds{session: newSession(c, addressed{inner}), client: client, broker: far, ended: make(chan error, 1)}
	go func() { e.ended <- e.session.run(t.Context(), c.bootstrapTarget()) }()
	t.Cleanup(func() {
		client.Close()
		far.Close()
		c.admin.Close()
	})

	return e
}

// request is one request as a client frames it.
func request(key, version int16, correlation int32, body ...byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	out = binary.BigEndian.AppendUint16(out, uint16(key))
	out = binary.BigEndian.AppendUint16(out, uint16(version))
	out = binary.BigEndian.AppendUint32(out, uint32(correlation))
	out = append(out, 0xff, 0xff) // no client id
	return append(out, body...)
}

func answerTo(correlation int32, body ...byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
	out = binary.BigEndian.AppendUint32(out, uint32(correlation))
	return append(out, body...)
}

func readFull(t *testing.T, from io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(from, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// heartbeat is a request that passes as a frame, and its answer.
var (
	heartbeat       = int16(kmsg.Heartbeat)
	heartbeatBody   = []byte{0, 1, 'g', 0, 0, 0, 1, 0, 1, 'm'}
	heartbeatAnswer = []byte{0, 0}
)

func TestSessionRelaysFramesAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startSession(t, nil)
		asked := request(heartbeat, 0, 7, heartbeatBody...)
		go e.client.Write(asked)

		if got := readFull(t, e.broker, len(asked)); !bytes.Equal(got, asked) {
			t.Errorf("the broker got % x", got)
		}

		told := answerTo(7, heartbeatAnswer...)
		go e.broker.Write(told)
		if got := readFull(t, e.client, len(told)); !bytes.Equal(got, told) {
			t.Errorf("the client got % x", got)
		}

		e.client.Close()
		if err := <-e.ended; err != nil {
			t.Errorf("an orderly end is the error %v", err)
		}
	})
}

// The reason that a session is ended by must reach whoever logs its end.
func TestKilledSessionEndsWithItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startSession(t, nil)
		synctest.Wait()
		e.session.kill(errStalled)
		if err := <-e.ended; !errors.Is(err, errStalled) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// A client that was told nothing must not take an answer to another's question.
func TestAnswerOutOfOrderEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startSession(t, nil)
		asked := request(heartbeat, 0, 7, heartbeatBody...)
		go e.client.Write(asked)
		readFull(t, e.broker, len(asked))
		go e.broker.Write(answerTo(8, heartbeatAnswer...))

		if n, err := e.client.Read(make([]byte, 1)); err == nil {
			t.Errorf("the client got %d bytes", n)
		}
		if err := <-e.ended; !errors.Is(err, errProtocol) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestReaderEndsAtWhatIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startSession(t, nil)
		go e.client.Write(request(int16(kmsg.WriteTxnMarkers), 0, 1))
		if err := <-e.ended; !errors.Is(err, wire.ErrRefused) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// Answers of our own stand in the order of the requests, behind what the broker
// has not answered.
func TestReaderAnswersInRequestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startSession(t, nil)
		first := request(heartbeat, 0, 1, heartbeatBody...)
		go e.client.Write(append(bytes.Clone(first), request(int16(kmsg.ApiVersions), 99, 2)...))
		readFull(t, e.broker, len(first))

		synctest.Wait() // the second is answered, and waits
		told := answerTo(1, heartbeatAnswer...)
		go e.broker.Write(told)

		if got := readFull(t, e.client, len(told)); !bytes.Equal(got, told) {
			t.Fatalf("the first answer is % x", got)
		}
		head := readFull(t, e.client, 8)
		if got := binary.BigEndian.Uint32(head[4:]); got != 2 {
			t.Errorf("then comes the answer to request %d", got)
		}
	})
}

// A drained session answers what it has read, and reads no more.
func TestDrainedSessionAnswersWhatItHasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startSession(t, nil)
		asked := request(heartbeat, 0, 7, heartbeatBody...)
		go e.client.Write(asked)
		readFull(t, e.broker, len(asked))
		e.session.drain()
		synctest.Wait()

		told := answerTo(7, heartbeatAnswer...)
		go e.broker.Write(told)
		readFull(t, e.client, len(told))

		if err := <-e.ended; err != nil {
			t.Errorf("an orderly end is told as %v", err)
		}
	})
}

func testLogin() (*login, *sync.WaitGroup, *error) {
	var ended error
	var wg sync.WaitGroup
	l := &login{access: &AccessConfig{Require: true}, timeout: 10 * time.Second, counts: &clusterCounts{}}
	l.end = func(err error) { ended = err; wg.Done() }
	l.drain = func() { wg.Done() }
	name := anonymous
	l.principal.Store(&name)

	return l, &wg, &ended
}

func TestLoginMustComeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, wg, ended := testLogin()
		wg.Add(1)
		began := time.Now()

		if err := l.identify(nil); err != nil {
			t.Fatal(err)
		}
		if err := l.allows(kmsg.Produce); !errors.Is(err, errUnauthenticated) {
			t.Errorf("a stranger may produce: %v", err)
		}
		if err := l.allows(kmsg.ApiVersions); err != nil {
			t.Errorf("a stranger may not ask for versions: %v", err)
		}

		wg.Wait()
		if waited := time.Since(began); waited != 10*time.Second || !errors.Is(*ended, errLoginDeadline) {
			t.Errorf("ended after %s with %v", waited, *ended)
		}
	})
}

func TestLoginEndsWithItsLifetimeAndKeepsItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, wg, _ := testLogin()
		wg.Add(1)
		if err := l.proved("ada", auth.Identity{}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := *l.principal.Load(); got != "User:ada" {
			t.Errorf("the principal is %s", got)
		}
		if err := l.allows(kmsg.Produce); err != nil {
			t.Errorf("ada may not produce: %v", err)
		}
		if err := l.proved("grace", auth.Identity{}, time.Minute); !errors.Is(err, errPrincipalChanged) {
			t.Errorf("ada became grace: %v", err)
		}

		wg.Wait() // drained
		if err := l.allows(kmsg.Produce); !errors.Is(err, errSessionExpired) {
			t.Errorf("after its lifetime: %v", err)
		}
		if !errors.Is(l.life.cause(), errSessionExpired) {
			t.Errorf("the cause is %v", l.life.cause())
		}
	})
}

// Until nothing more is asked and all is answered, somebody is owed something;
// once the client has gone, only what says where its records are counts.
func TestAnswersKnowWhatIsOwed(t *testing.T) {
	a := &answers{reading: true, idle: make(chan struct{}), room: make(chan struct{}, 1)}
	a.push(pending{correlation: 1}, true)
	a.push(pending{correlation: 2, produce: new(produce)}, true)
	a.push(pending{correlation: 3}, false) // acks=0

	for _, step := range []struct {
		what string
		do   func()
		idle bool
	}{
		{"the reader goes on", func() {}, false},
		{"it has ended", a.endReading, false},
		{"one answer has come", func() { a.queue.pop(); a.checkIdle() }, false},
		{"the produce is answered", func() { a.queue.pop(); a.checkIdle() }, true},
	} {
		step.do()
		select {
		case <-a.idle:
			if !step.idle {
				t.Errorf("%s: nothing is owed", step.what)
			}
		default:
			if step.idle {
				t.Errorf("%s: something is owed", step.what)
			}
		}
	}
}

func TestAnswersStopTheReaderThatAsksTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{reading: true, idle: make(chan struct{}), room: make(chan struct{}, 1), ended: make(chan struct{})}
		for range maxOwed {
			a.push(pending{}, true)
		}

		let := make(chan error, 1)
		go func() { let <- a.awaitRoom(t.Context()) }()
		synctest.Wait()
		select {
		case err := <-let:
			t.Fatalf("the reader went on: %v", err)
		default:
		}

		a.mu.Lock()
		a.queue.pop()
		a.mu.Unlock()
		a.checkIdle()

		if err := <-let; err != nil {
			t.Error(err)
		}
	})
}
