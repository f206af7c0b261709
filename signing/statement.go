package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// in-toto statement types. cosign writes v0.1, most other tools v1; the fields
// that an approval uses are the same.
const (
	statementV01 = "https://in-toto.io/Statement/v0.1"
	statementV1  = "https://in-toto.io/Statement/v1"
)

// statement is an in-toto statement as it is written, as far as an approval
// uses it.
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

// predicate is the approval as it is written. Times are RFC 3339 strings, which
// are read as such after the spelling was checked.
type predicate struct {
	Approver  Identity `json:"approver,omitempty"`
	Ticket    string   `json:"ticket,omitempty"`
	NotBefore string   `json:"not_before,omitempty"`
	NotAfter  string   `json:"not_after"`
	Grant     *grant   `json:"grant"`
}

// grant is what an approval grants as it is written, in the order in which
// people read it.
type grant struct {
	ConfigDigest  map[string]string `json:"config_digest"`
	Topics        []string          `json:"topics"`
	HostFunctions []string          `json:"host_functions"`
	Keys          []string          `json:"keys"`
	Routes        []string          `json:"routes"`
	Limits        Limits            `json:"limits"`
	Audience      []string          `json:"audience,omitempty"`
}

// Predicate returns the predicate of an approval as JSON: the file to hand to
// `cosign attest-blob --type` PredicateType `--predicate`.
func Predicate(a Approval) ([]byte, error) {
	if problems := a.problems(); len(problems) != 0 {
		return nil, fmt.Errorf("encoding predicate: %w: %w", ErrInvalidApproval, problems)
	}
	b, err := json.MarshalIndent(predicateOf(a), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding predicate: %w", err)
	}

	return append(b, '\n'), nil
}

// predicateOf writes an approval as a predicate. Times are in UTC, and lists
// that must be there are never null.
func predicateOf(a Approval) predicate {
	p := predicate{
		Approver: a.Approver,
		Ticket:   a.Ticket,
		NotAfter: a.NotAfter.UTC().Format(time.RFC3339Nano),
		Grant: &grant{
			ConfigDigest:  map[string]string{"sha256": hex.EncodeToString(a.ConfigDigest[:])},
			Topics:        orEmpty(a.Topics),
			HostFunctions: orEmpty(a.HostFunctions),
			Keys:          orEmpty(a.Keys),
			Routes:        orEmpty(a.Routes),
			Limits:        a.Limits,
			Audience:      a.Audience,
		},
	}

	if !a.NotBefore.IsZero() {
		p.NotBefore = a.NotBefore.UTC().Format(time.RFC3339Nano)
	}
	return p
}

func encodeStatement(a Approval) ([]byte, error) {
	pred, err := json.Marshal(predicateOf(a))
	if err != nil {
		return nil, fmt.Errorf("encoding predicate: %w", err)
	}
	return json.Marshal(statement{
		Type:          statementV1,
		Subject:       []subject{{Name: "module.wasm", Digest: map[string]string{"sha256": hex.EncodeToString(a.ModuleDigest[:])}}},
		PredicateType: PredicateType,
		Predicate:     pred,
	})
}

// decodeStatement reads a verified payload. Nothing in it may be unknown,
// doubled or missing: what a checker cannot understand it cannot grant.
func decodeStatement(payload []byte) (Approval, error) {
	var s statement
	if err := decodeCanonical(payload, &s); err != nil {
		return Approval{}, fmt.Errorf("reading statement: %w: %w", ErrPredicate, err)
	}
	if s.Type != statementV1 && s.Type != statementV01 {
		return Approval{}, fmt.Errorf("reading statement: unknown type %s: %w", quoted(s.Type), ErrPredicate)
	}
	if s.PredicateType != PredicateType {
		return Approval{}, fmt.Errorf("reading statement: got %s: %w", quoted(s.PredicateType), ErrPredicateType)
	}
	if len(s.Subject) != 1 {
		return Approval{}, fmt.Errorf("reading statement: %d subjects: %w", len(s.Subject), ErrSubjects)
	}

	digest, err := onlySHA256(s.Subject[0].Digest)
	if err != nil {
		return Approval{}, fmt.Errorf("reading subject: %w: %w", ErrSubjects, err)
	}

	a, err := decodePredicate(s.Predicate)
	if err != nil {
		return Approval{}, fmt.Errorf("reading predicate: %w: %w", ErrPredicate, err)
	}

	sum := sha256.Sum256(payload)
	a.ModuleDigest, a.ID = digest, hex.EncodeToString(sum[:])
	return a, nil
}

// decodePredicate reads the predicate of an approval, and checks all of it as
// if it were to be made anew.
func decodePredicate(raw []byte) (Approval, error) {
	var p predicate
	if err := decodeCanonical(raw, &p); err != nil {
		return Approval{}, err
	}
	if p.Grant == nil {
		return Approval{}, errors.New("grant is missing")
	}

	config, err := onlySHA256(p.Grant.ConfigDigest)
	if err != nil {
		return Approval{}, fmt.Errorf("grant.config_digest: %w", err)
	}

	a := Approval{
		ConfigDigest:  config,
		Topics:        p.Grant.Topics,
		HostFunctions: p.Grant.HostFunctions,
		Keys:          p.Grant.Keys,
		Routes:        p.Grant.Routes,
		Limits:        p.Grant.Limits,
		Audience:      p.Grant.Audience,
		Ticket:        p.Ticket,
		Approver:      p.Approver,
	}
	if a.NotAfter, err = time.Parse(time.RFC3339, p.NotAfter); err != nil {
		return Approval{}, errors.New("not_after is not an RFC 3339 time")
	}

	if p.NotBefore != "" {
		if a.NotBefore, err = time.Parse(time.RFC3339, p.NotBefore); err != nil {
			return Approval{}, errors.New("not_before is not an RFC 3339 time")
		}
	}

	if problems := a.problems(); len(problems) != 0 {
		return Approval{}, problems
	}
	return a, nil
}

// onlySHA256 refuses further digests: one that nobody checks would be signed
// for, but mean nothing.
func onlySHA256(m map[string]string) (d [32]byte, err error) {
	h, ok := m["sha256"]
	if !ok || len(m) != 1 {
		return d, errors.New("must hold sha256 and nothing else")
	}
	return parseDigest(h)
}

// parseDigest reads 64 hex digits in lower case, the one spelling of a SHA-256
// that is accepted.
func parseDigest(s string) (d [32]byte, err error) {
	if len(s) != 64 || strings.ToLower(s) != s {
		return d, errors.New("must be 64 lower-case hex digits")
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil {
		return d, errors.New("must be 64 lower-case hex digits")
	}
	return d, nil
}

// quoted makes untrusted text safe to show on a terminal, and short enough for
// a line of a log.
func quoted(s string) string {
	return fmt.Sprintf("%q", shortened(s))
}

func shortened(s string) string {
	if len(s) > 120 {
		return s[:120] + "…"
	}
	return s
}
