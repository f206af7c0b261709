package gateway

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// aged are the ends of a session whose connection gets a minute old at most. Tests stay
// below five minutes, after which the gateway's own client would use the pipe.
func aged(t *testing.T) *memoryEnds {
	t.Helper()
	return startSession(t, func(c *Config) { c.MaxConnectionAge = time.Minute })
}

// exchange sends one request through, and the answer back.
func (e *memoryEnds) exchange(t *testing.T, correlation int32) {
	t.Helper()
	asked := request(heartbeat, 0, correlation, heartbeatBody...)
	go e.client.Write(asked)
	readFull(t, e.broker, len(asked))

	told := answerTo(correlation, heartbeatAnswer...)
	go e.broker.Write(told)
	readFull(t, e.client, len(told))
}

// agedOut fails unless the session has ended by its age.
func (e *memoryEnds) agedOut(t *testing.T) {
	t.Helper()
	if _, err := e.client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client sees %v", err)
	}

	err := <-e.ended
	if !errors.Is(err, errAged) {
		t.Errorf("it ended with %v", err)
	}
	if cause := EndCauses[e.session.endCause(err)]; cause != "age" {
		t.Errorf("it is counted as %s", cause)
	}
}

func TestIdleConnectionEndsByItsAge(t *testing.T) {
	ages := map[time.Duration]bool{}
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			e := aged(t)
			e.exchange(t, 1)
			e.agedOut(t)

			age := time.Since(began)
			ages[age] = true
			if age < 30*time.Second || age > time.Minute {
				t.Errorf("it got %s old", age)
			}
		})
	}

	if len(ages) < 10 {
		t.Errorf("20 connections end at %d ages", len(ages))
	}
}

func TestConnectionWithoutALimitGetsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startSession(t, nil)
		e.exchange(t, 1)
		time.Sleep(4 * time.Minute)
		e.exchange(t, 2)
	})
}

// A member of a group may wait for minutes for its answer: it gets it, and what it asks
// for until then is asked, too.
func TestAgedConnectionGetsTheAnswersThatItIsOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := aged(t)
		first := request(heartbeat, 0, 1, heartbeatBody...)
		go e.client.Write(first)
		readFull(t, e.broker, len(first))
		time.Sleep(2 * time.Minute)

		second := request(heartbeat, 0, 2, heartbeatBody...)
		go e.client.Write(second)
		readFull(t, e.broker, len(second))
		time.Sleep(2 * time.Minute)

		told := append(answerTo(1, heartbeatAnswer...), answerTo(2, heartbeatAnswer...)...)
		go e.broker.Write(told)
		readFull(t, e.client, len(told))
		e.agedOut(t)
	})
}

// A request of which a byte has come is asked in full, and the next one is not taken.
func TestAgedConnectionTakesTheRequestThatHasBegun(t *testing.T) {
	for _, there := range []int{1, 3, 4, 11} {
		synctest.Test(t, func(t *testing.T) {
			e := startSession(t, func(c *Config) {
				c.MaxConnectionAge = time.Minute
				c.FrameTimeout = time.Hour
			})
			e.exchange(t, 1)

			asked := request(heartbeat, 0, 2, heartbeatBody...)
			e.client.Write(asked[:there])
			time.Sleep(2 * time.Minute)
			go e.client.Write(append(asked[there:], request(heartbeat, 0, 3, heartbeatBody...)...))
			readFull(t, e.broker, len(asked))
			time.Sleep(2 * time.Minute)

			told := answerTo(2, heartbeatAnswer...)
			go e.broker.Write(told)
			readFull(t, e.client, len(told))
			if n, err := e.broker.Read(make([]byte, 1)); err == nil {
				t.Errorf("%d bytes of the next request reach the broker", n)
			}
			e.agedOut(t)
		})
	}
}

// An old connection can still be ended from outside, with the cause that it has then.
func TestAgedConnectionIsKilledAsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := aged(t)
		asked := request(heartbeat, 0, 1, heartbeatBody...)
		go e.client.Write(asked)
		readFull(t, e.broker, len(asked))
		time.Sleep(2 * time.Minute)
		e.session.kill(errStalled)

		if err := <-e.ended; !errors.Is(err, errStalled) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestEndsHaveCauses(t *testing.T) {
	end := func(t *testing.T, how func(*memoryEnds)) string {
		var cause string
		synctest.Test(t, func(t *testing.T) {
			e := startSession(t, nil)
			e.exchange(t, 1)
			how(e)
			cause = EndCauses[e.session.endCause(<-e.ended)]
		})
		return cause
	}

	for want, how := range map[string]func(*memoryEnds){
		"client":  func(e *memoryEnds) { e.client.Close() },
		"cluster": func(e *memoryEnds) { e.broker.Close() },
		"drain":   func(e *memoryEnds) { e.session.drain() },
		"slow":    func(e *memoryEnds) { e.session.kill(errSlow) },
		"login":   func(e *memoryEnds) { e.session.kill(errSessionExpired) },
		"refused": func(e *memoryEnds) { e.client.Write([]byte{0xff, 0xff, 0xff, 0xff}) },
	} {
		if got := end(t, how); got != want {
			t.Errorf("an end by %s is counted as %s", want, got)
		}
	}
}
