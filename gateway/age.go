package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// A connection that stays for ever stays at the gateway that it found first: new
// gateways beside it would have nothing to do. So connections end by their age,
// and clients connect again, to any gateway.

// errAged ends a connection that is as old as it may get. Nothing is wrong.
var errAged = errors.New("the connection has reached limits.max_connection_age")

// ageOf draws how old a connection may get: between half of limit and limit, since
// those that began together, as after a restart, must not end together.
func ageOf(limit time.Duration) time.Duration {
	return limit - rand.N(limit/2+1)
}

// longestAnswer is how long an aged connection waits for what it has asked for.
// Members of a group wait for a rebalance, which takes five minutes by default.
const longestAnswer = 10 * time.Minute

// retirement is how an aged connection gets to its end.
type retirement struct {
	due  bool   // it is old enough: the next moment between two requests is the last
	rest func() // breaks off the wait for a request; the rest of one that has begun still comes
}

// retire ends the session at the next moment at which no request is under way. It
// runs when the connection is as old as it may get.
func (s *session) retire() {
	a := &s.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retirement.due = true
	s.reader.in.stopBetweenFrames()
	a.restIfQuiet()
}

// restIfQuiet breaks off the wait for the next request of an aged connection that
// owes nothing. The caller holds mu.
func (a *answers) restIfQuiet() {
	if a.retirement.due && a.queue.empty() {
		a.retirement.rest()
	}
}

func (a *answers) isDue() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.retirement.due
}

// partWithin is how long a client has to close its side, too.
const partWithin = time.Second

// part ends a connection that the gateway has stopped reading. The client learns of
// the end behind its last answer. What it sends meanwhile is thrown away: a socket
// that is closed with bytes unread resets the connection, and answers on their way
// are lost with it.
func (s *session) part() {
	if !s.answers.begun.Load() {
		s.reset()
		return
	}

	raw := s.client
	if t, ok := raw.(*tls.Conn); ok {
		_ = t.CloseWrite() // the end of the socket says the same
		raw = t.NetConn()
	}

	conn, ok := raw.(*net.TCPConn)
	if !ok || conn.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(partWithin)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn)
}
