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

// Package is a module with everything that vouches for it.
type Package struct {
	Wasm      []byte
	Config    []byte   // the configuration file's exact bytes
	Signature []byte   // the author's bundle
	Approvals [][]byte // one bundle per approval
}

// Verified is what a package was proved to be.
type Verified struct {
	Digest, ConfigDigest, GrantDigest [32]byte

	Author    Identity
	Approvers []Identity // in order, each once

	// Grant is what all counted approvals grant. It names no approver and no
	// ticket; it ends when too few of the approvals are left.
	Grant Approval
}

// VerifyPackage checks a module for use at now: the author's signature, and
// approvals of this module with this configuration by at least Threshold distinct
// people other than the author, all granting the same. An approval that does not
// count is no error while enough others do; otherwise the error names each one
// and why.
func (t *TrustRoot) VerifyPackage(ctx context.Context, p Package, now time.Time) (Verified, error) {
	v, err := t.verifyPackage(ctx, p, now)
	if err != nil {
		return Verified{}, fmt.Errorf("verifying package: %w", err)
	}
	return v, nil
}

func (t *TrustRoot) verifyPackage(ctx context.Context, p Package, now time.Time) (Verified, error) {
	if err := p.bounded(); err != nil {
		return Verified{}, err
	}
	v := Verified{Digest: sha256.Sum256(p.Wasm), ConfigDigest: sha256.Sum256(p.Config)}
	var err error
	if v.Author, err = t.verifyDigest(ctx, v.Digest, p.Signature, now); err != nil {
		return Verified{}, err
	}
	if t.revoked.digests[v.ConfigDigest] {
		return Verified{}, fmt.Errorf("configuration %x: %w", v.ConfigDigest, ErrRevoked)
	}

	votes := tally{threshold: t.threshold, grants: map[[32]byte]map[Identity]Approval{}}
	for i, raw := range p.Approvals {
		if err := votes.take(ctx, t, v, raw, now); err != nil {
			votes.refusals = append(votes.refusals, fmt.Errorf("approval %d: %w", i+1, err))
		}
	}

	won, err := votes.winner()
	if err != nil {
		return Verified{}, err
	}

	v.Approvers, v.Grant = sortedKeys(won), common(won, t.threshold)
	v.GrantDigest = v.Grant.GrantDigest()
	return v, nil
}

func (p Package) bounded() error {
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

// tally counts people per grant.
type tally struct {
	threshold int
	grants    map[[32]byte]map[Identity]Approval
	refusals  []error
}

// take counts one approval, or says why it does not count.
func (y *tally) take(ctx context.Context, t *TrustRoot, v Verified, raw []byte, now time.Time) error {
	a, err := t.verifyApproval(ctx, v.Digest, raw, now)
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
		people = map[Identity]Approval{}
		y.grants[digest] = people
	}

	earlier, again := people[a.Approver]
	if !again || a.NotAfter.After(earlier.NotAfter) {
		people[a.Approver] = a
	}
	if again {
		return fmt.Errorf("by %s: %w", a.Approver, ErrApproverTwice)
	}

	return nil
}

// winner returns the approvals of the one grant that enough people approved.
// Two such grants are refused, not united: each approver approved one of them.
func (y *tally) winner() (map[Identity]Approval, error) {
	if len(y.grants) == 0 && len(y.refusals) == 0 {
		return nil, ErrUnapproved
	}
	most := 0
	var enough []map[Identity]Approval
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

// common is the grant of approvals that grant the same. It holds as long as at
// least threshold of them do.
func common(won map[Identity]Approval, threshold int) Approval {
	all := slices.SortedFunc(maps.Values(won), func(a, b Approval) int { return b.NotAfter.Compare(a.NotAfter) })
	g := all[0]
	g.Approver = ""
	g.Ticket = ""
	g.ID = ""
	g.NotAfter = all[threshold-1].NotAfter

	for _, a := range all {
		if a.NotBefore.After(g.NotBefore) {
			g.NotBefore = a.NotBefore
		}
	}

	return g
}

func sortedKeys[V any](m map[Identity]V) []Identity {
	return slices.Sorted(maps.Keys(m))
}
