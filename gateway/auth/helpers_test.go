package auth

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/sasl"
)

// credentialsOf hashes quickly: the cost is not what most tests are about.
func credentialsOf(t *testing.T, passwords map[string]string) *Credentials {
	t.Helper()
	c := NewCredentials()
	for name, password := range passwords {
		var records []Record
		for _, m := range []string{ScramSHA256, ScramSHA512} {
			r, err := NewRecord(m, []byte(password), MinIterations)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}

		var err error
		if c, err = c.With(name, records); err != nil {
			t.Fatal(err)
		}
	}

	return c
}

// store is a credentials file that can change.
type store struct {
	mu sync.Mutex
	c  *Credentials
}

func (s *store) get() *Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.c
}

func (s *store) set(c *Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.c = c
}

func passwordServer(t *testing.T, c *Credentials) (*Server, *store) {
	t.Helper()
	st := &store{c: c}
	s, err := NewServer(Config{Mechanisms: []string{Plain, ScramSHA256, ScramSHA512}, Credentials: st.get})
	if err != nil {
		t.Fatal(err)
	}
	return s, st
}

// login runs a stock client's mechanism against the server.
func login(t *testing.T, s *Server, m sasl.Mechanism) (Identity, error) {
	t.Helper()
	ctx := t.Context()
	e, err := s.Begin(m.Name())
	if err != nil {
		return Identity{}, err
	}

	session, msg, err := m.Authenticate(ctx, "broker:9092")
	if err != nil {
		t.Fatal(err)
	}

	for {
		r, err := e.Next(ctx, msg)
		if err != nil {
			return Identity{}, err
		}

		done, next, err := session.Challenge(r.Reply)
		if r.Done {
			if err != nil || !done {
				t.Fatalf("the server is done, the client is not: %v %v", done, err)
			}
			return r.Identity, nil
		}

		if err != nil {
			next = []byte{1} // what RFC 7628 answers a refused token with
		}
		msg = next
	}
}

// say sends messages by hand and returns the last result.
func say(s *Server, mechanism string, msgs ...string) (Result, error) {
	e, err := s.Begin(mechanism)
	if err != nil {
		return Result{}, err
	}

	var r Result
	for _, m := range msgs {
		if r, err = e.Next(context.Background(), []byte(m)); err != nil {
			return r, err
		}
	}

	return r, nil
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}
