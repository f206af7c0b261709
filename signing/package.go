package signing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Package is a module with everything that vouches for it, as read from files
// and not verified yet.
type Package struct {
	Wasm      []byte
	Config    []byte   // the configuration file's exact bytes
	Signature []byte   // the author's bundle
	Approvals [][]byte // one bundle per approval
	Names     []string // of the approvals, for errors; may be empty
}

// Verified is what a package was proved to be. VerifyPackage alone makes one.
type Verified struct {
	Digest, ConfigDigest, GrantDigest [32]byte

	Author      Identity
	AuthorKeyID string
	AuthorUntil time.Time  // end of the author's key, if it has one
	Approvers   []Identity // in order, each once
	Counted     []Counted  // the approvals that count: one of each approver, in their order
	Ignored     []error    // why the others do not

	// Grant is what all counted approvals grant. It names no approver and no
	// ticket; it begins with the last and ends with the first of them.
	Grant Approval

	// From and Until enclose the time at which all was found. Before or after it
	// other people, keys or approvals count, so that the package must be verified
	// again. Zero is open. They are set beside an error too.
	From, Until time.Time
}

// Counted is an approval with the time for which it counts: as long as it and the
// key that signed it both hold.
type Counted struct {
	Approval
	KeyID       string
	KeyUntil    time.Time // end of the key, if it has one
	From, Until time.Time
	Bundle      []byte // as it was given, signature and all
}

// counted is approval a, signed with k: it counts only while both of them hold.
func (k *trustedKey) counted(a Approval) Counted {
	c := Counted{
		Approval: a,
		KeyID:    k.public.ID(),
		KeyUntil: k.notAfter,
		From:     a.NotBefore,
		Until:    a.NotAfter,
	}
	if k.notBefore.After(c.From) {
		c.From = k.notBefore
	}
	if !k.notAfter.IsZero() && k.notAfter.Before(c.Until) {
		c.Until = k.notAfter
	}

	return c
}

// VerifyPackage checks a module for use at now: the author's signature, and
// approvals of this module with this configuration by at least Threshold distinct
// people other than the author, all granting the same. An approval that does not
// count is no error while enough others do; otherwise the error names each one
// and why.
func (t *TrustRoot) VerifyPackage(ctx context.Context, p Package, now time.Time) (Verified, error) {
	m := t.moment(now)
	v, err := t.verifyPackage(ctx, p, m)
	if err != nil {
		v = Verified{Ignored: v.Ignored}
		err = fmt.Errorf("verifying package: %w", err)
	}

	v.From = m.from
	v.Until = m.until
	return v, err
}

// verifyPackage does the work of VerifyPackage. Beside an error it returns the
// approvals that do not count, with their reasons.
func (t *TrustRoot) verifyPackage(ctx context.Context, p Package, now *moment) (Verified, error) {
	if err := p.Check(); err != nil {
		return Verified{}, err
	}

	v := Verified{Digest: sha256.Sum256(p.Wasm), ConfigDigest: sha256.Sum256(p.Config)}
	author, err := t.verifyDigest(ctx, v.Digest, p.Signature, now)
	if err != nil {
		return Verified{}, err
	}
	if t.revoked.digests[v.ConfigDigest] {
		return Verified{}, fmt.Errorf("configuration %x: %w", v.ConfigDigest, ErrRevoked)
	}

	v.Author = author.owner
	v.AuthorKeyID = author.public.ID()
	v.AuthorUntil = author.notAfter
	votes := tally{threshold: t.threshold, grants: map[[32]byte]map[Identity]Counted{}}
	for i, raw := range p.Approvals {
		if err := votes.take(ctx, t, v, raw, now); err != nil {
			votes.refusals = append(votes.refusals, fmt.Errorf("%s: %w", p.name(i), err))
		}
	}

	v.Ignored = votes.refusals
	won, err := votes.winner()
	if err != nil {
		return v, err
	}

	v.Approvers = sortedKeys(won)
	for _, person := range v.Approvers {
		v.Counted = append(v.Counted, won[person])
	}

	v.Grant = common(v.Counted)
	if !author.notAfter.IsZero() && author.notAfter.Before(v.Grant.NotAfter) {
		v.Grant.NotAfter = author.notAfter
	}

	v.GrantDigest = v.Grant.GrantDigest()
	return v, nil
}

// name is how errors call approval i: by its file name where that is known, or
// else by its number.
func (p Package) name(i int) string {
	if i < len(p.Names) {
		return p.Names[i]
	}
	return fmt.Sprintf("approval %d", i+1)
}

// Check refuses a package that is larger than is ever read further, before
// anything of it is hashed. It returns ErrTooLarge, wrapped.
func (p Package) Check() error {
	switch {
	case len(p.Wasm) > MaxModuleBytes:
		return fmt.Errorf("module of %d bytes, at most %d: %w", len(p.Wasm), MaxModuleBytes, ErrTooLarge)
	case len(p.Config) > MaxConfigBytes:
		return fmt.Errorf("configuration of %d bytes, at most %d: %w", len(p.Config), MaxConfigBytes, ErrTooLarge)
	case len(p.Approvals) > MaxApprovals:
		return fmt.Errorf("%d approvals, at most %d: %w", len(p.Approvals), MaxApprovals, ErrTooLarge)
	}
	return nil
}

// tally counts people per grant, since approvals add up only when they grant
// exactly the same.
type tally struct {
	threshold int
	grants    map[[32]byte]map[Identity]Counted
	refusals  []error
}

// take counts one approval of the package v, or returns why it does not count.
// Of two by one person the one that holds longer stays.
func (y *tally) take(ctx context.Context, t *TrustRoot, v Verified, raw []byte, now *moment) error {
	a, err := t.verifyApproval(ctx, v.Digest, raw, now)
	a.Bundle = raw
	switch {
	case err != nil:
		return err
	case a.Approver == v.Author:
		return fmt.Errorf("by %s: %w", a.Approver, ErrAuthorApproved)
	case a.ConfigDigest != v.ConfigDigest:
		return fmt.Errorf("by %s, approved sha256 %x, have %x: %w", a.Approver, a.ConfigDigest, v.ConfigDigest, ErrConfigChanged)
	}

	digest := a.GrantDigest()
	people := y.grants[digest]
	if people == nil {
		people = map[Identity]Counted{}
		y.grants[digest] = people
	}

	earlier, again := people[a.Approver]
	if !again || a.Until.After(earlier.Until) {
		people[a.Approver] = a
	}
	if again {
		return fmt.Errorf("by %s: %w", a.Approver, ErrApproverTwice)
	}

	return nil
}

// winner returns the approvals of the one grant that enough people approved.
// Two such grants are refused, not united: each approver approved one of them.
func (y *tally) winner() (map[Identity]Counted, error) {
	if len(y.grants) == 0 && len(y.refusals) == 0 {
		return nil, ErrUnapproved
	}
	most := 0
	var enough []map[Identity]Counted
	for _, people := range y.grants {
		most = max(most, len(people))
		if len(people) >= y.threshold {
			enough = append(enough, people)
		}
	}

	switch {
	case len(enough) == 1:
		return enough[0], nil
	case len(enough) > 1:
		return nil, ErrGrantsDiffer
	case len(y.grants) > 1:
		y.refusals = append(y.refusals, ErrGrantsDiffer)
	}

	err := fmt.Errorf("%w: %d of %d needed", ErrThreshold, most, y.threshold)
	return nil, errors.Join(append([]error{err}, y.refusals...)...)
}

// common is the grant of approvals that grant the same. Whatever one of them
// granted was judged with all of them, so that it ends with the first.
func common(all []Counted) Approval {
	g := all[0].Approval
	g.Approver = ""
	g.Ticket = ""
	g.ID = ""

	for _, a := range all {
		if a.From.After(g.NotBefore) {
			g.NotBefore = a.From
		}
		if a.Until.Before(g.NotAfter) {
			g.NotAfter = a.Until
		}
	}

	return g
}

func sortedKeys[V any](m map[Identity]V) []Identity {
	return slices.Sorted(maps.Keys(m))
}
