package erase

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/internal/problem"
)

const (
	requestFormat = "guardlock erasure request v1"
	nonceBytes    = 32

	// MaxRequestBytes bounds the file of a request.
	MaxRequestBytes = 256 << 10
	maxValues       = 1000  // of all kinds together
	maxValueBytes   = 32767 // Kafka's own limit of a STRING
	maxTextBytes    = 256   // of the number of a request, and of a reason
)

// MaxValidity bounds how long after it was made a request may be carried out: what
// somebody signed in another year he has forgotten.
const MaxValidity = 90 * 24 * time.Hour

var (
	// ErrRequest means that bytes are no request, or not the one way to write it.
	ErrRequest = errors.New("not an erasure request: make one with `guardlock audit erase request`")
	// ErrInvalid means that a request asks for what cannot be done. Problems are wrapped.
	ErrInvalid = errors.New("the erasure request is invalid")
	// ErrExpired means that a request was not carried out in its time.
	ErrExpired = errors.New("the erasure request has expired: make a new one and have it signed")
	// ErrNotYet means that a request was made later than now.
	ErrNotYet = errors.New("the erasure request was made in the future: check the clocks")
)

// Request says which personal values are to be erased, and for what. It holds them in
// clear, so that its file has to be deleted, signatures and all, once every log was
// erased from: the log keeps its digest, which the nonce makes a digest that nobody
// can confirm a guess by.
type Request struct {
	Format   string    `json:"format"`
	Number   string    `json:"request"` // of whoever asks, as GDPR-17: the log keeps it in clear
	Made     time.Time `json:"made"`
	NotAfter time.Time `json:"not_after"`
	Nonce    string    `json:"nonce"` // hexadecimal

	Principals   []string `json:"principals,omitempty"`
	ClientIDs    []string `json:"client_ids,omitempty"`
	Sources      []string `json:"sources,omitempty"`
	Certificates []string `json:"certificates,omitempty"` // SHA-256, hexadecimal

	digest [32]byte
}

// Encode completes a request with its nonce, checks it, and returns the bytes that
// people sign. It returns ErrInvalid, wrapped.
func (r *Request) Encode() ([]byte, error) {
	var nonce [nonceBytes]byte
	rand.Read(nonce[:])
	r.Format = requestFormat
	r.Nonce = hex.EncodeToString(nonce[:])
	r.Made = r.Made.UTC().Truncate(time.Second)
	r.NotAfter = r.NotAfter.UTC().Truncate(time.Second)

	if err := r.check(); err != nil {
		return nil, err
	}
	b, err := r.bytes()
	r.digest = sha256.Sum256(b)
	return b, err
}

func (r *Request) bytes() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", " ")
	return append(b, '\n'), err
}

// Parse reads a request. There is one way to write each, so that what people are shown
// is what they sign. It returns ErrRequest or ErrInvalid, wrapped.
func Parse(b []byte) (*Request, error) {
	if len(b) > MaxRequestBytes {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrRequest, len(b), MaxRequestBytes)
	}

	r := new(Request)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(r) != nil || r.Format != requestFormat {
		return nil, ErrRequest // what the decoder says may hold a value of the request
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrRequest
	}

	again, err := r.bytes()
	if err != nil || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: it was edited", ErrRequest)
	}
	r.digest = sha256.Sum256(b)
	return r, r.check()
}

// Digest is the SHA-256 of the request's bytes, by which the log names it.
func (r *Request) Digest() [32]byte { return r.digest }

// InTime reports as an error that a request must not be carried out at now.
func (r *Request) InTime(now time.Time) error {
	switch {
	case now.Add(time.Minute).Before(r.Made):
		return fmt.Errorf("%w: it is of %s", ErrNotYet, r.Made.Format(time.RFC3339))
	case !now.Before(r.NotAfter):
		return fmt.Errorf("%w: it was in force until %s", ErrExpired, r.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// check reports all that is wrong. What is personal is not repeated.
func (r *Request) check() error {
	var ps problem.List
	if !isLine(r.Number) || len(r.Number) > maxTextBytes {
		ps.Add("request", "must be a line of at most %d bytes, such as GDPR-17", maxTextBytes)
	}
	if nonce, err := hex.DecodeString(r.Nonce); err != nil || len(nonce) != nonceBytes {
		ps.Add("nonce", "must be %d random bytes in hexadecimal", nonceBytes)
	}
	if !r.NotAfter.After(r.Made) || r.NotAfter.Sub(r.Made) > MaxValidity {
		ps.Add("not_after", "must be after made, by at most %d days", int(MaxValidity.Hours()/24))
	}

	total := 0
	for _, list := range r.lists() {
		total += len(list.values)
		checkValues(&ps, list.path, list.values, list.ok)
	}
	if total == 0 || total > maxValues {
		ps.Add("", "a request names 1 to %d values, and this one %d", maxValues, total)
	}

	if err := ps.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// Value is one value to erase, and what it is of.
type Value struct {
	What  string
	Value string
}

// Values are all that the request names.
func (r *Request) Values() (all []Value) {
	for _, list := range r.lists() {
		for _, v := range list.values {
			all = append(all, Value{list.what, v})
		}
	}
	return all
}

// personal are the values as a log is asked for them. Entries about the conduct of clients
// have an IPv6 source as its prefix of 64 bits, which goes with it.
func (r *Request) personal() audit.Personal {
	p := audit.Personal{Principals: r.Principals, ClientIDs: r.ClientIDs, Sources: slices.Clone(r.Sources)}
	for _, source := range r.Sources {
		if a, err := netip.ParseAddr(source); err == nil && a.Is6() && !a.Is4In6() {
			prefix, _ := a.WithZone("").Prefix(64)
			p.Sources = append(p.Sources, prefix.String())
		}
	}

	for _, text := range r.Certificates {
		var digest audit.Digest
		_, _ = hex.Decode(digest[:], []byte(text)) // check has seen to its form
		p.Certificates = append(p.Certificates, digest)
	}
	return p
}

// set are the values as leaves name them.
func (r *Request) set() map[string]bool {
	p := r.personal()
	values := make(map[string]bool)
	for _, v := range slices.Concat(p.Principals, p.ClientIDs, p.Sources) {
		values[v] = true
	}
	for _, digest := range p.Certificates {
		values[string(digest[:])] = true
	}
	return values
}

// list is one kind of values, and what each must be.
type list struct {
	path   string
	what   string
	values []string
	ok     func(string) bool
}

func (r *Request) lists() []list {
	return []list{
		{"principals", "principal", r.Principals, isName},
		{"client_ids", "client id", r.ClientIDs, isName},
		{"sources", "source", r.Sources, isName},
		{"certificates", "certificate", r.Certificates, isFingerprint},
	}
}

func checkValues(ps *problem.List, path string, values []string, ok func(string) bool) {
	for i, v := range values {
		if !ok(v) {
			ps.Add(fmt.Sprintf("%s[%d]", path, i), "is not such a value as the log keeps")
		}
	}
	if !slices.IsSorted(values) || len(slices.Compact(slices.Clone(values))) != len(values) {
		ps.Add(path, "must be sorted, and name each value once")
	}
}

func isName(s string) bool {
	return s != "" && len(s) <= maxValueBytes && utf8.ValidString(s)
}

func isLine(s string) bool {
	return isName(s) && strings.TrimSpace(s) == s && strings.IndexFunc(s, unicode.IsControl) < 0
}

func isFingerprint(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && s == strings.ToLower(s)
}
