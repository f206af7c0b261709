package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/guardlock/guardlock/audit/segment"
)

// Erased is the outcome of every entry about an erasure.
const Erased = "erased"

// The facts of an entry about an erasure.
const (
	factRequest = "request" // digest of what asked for it, in hexadecimal
	factSegment = "segment" // that was rewritten
	factChain   = "chain"   // value that it ends with since, in hexadecimal
	factEntries = "entries" // that something was taken out of

	factSigner    = "signer" // who asked for it
	factSignerKey = "signer.key"
)

var (
	// ErrUntold means that a segment was rewritten, and the log does not say for what.
	ErrUntold = errors.New("it was rewritten, and no later entry of the log tells of that erasure")
	// ErrNotErased means that the log says that a segment was rewritten, which is another.
	ErrNotErased = errors.New("the log tells of an erasure from it, and it is not the segment that was left by that: values that were to be erased may be in it. Erase them again")
)

// Erasure is what the log says of the erasure from one segment.
type Erasure struct {
	Request   Digest
	Redaction Redaction
	Signers   []Signer // who asked for it, and answer for that
	By        string   // who carried it out
	Reason    string   // as a rule what the request is known by; nothing that names the person
}

// NewErasure is the entry about the erasure from one segment.
func NewErasure(e Erasure) ControlEntry {
	c := ControlEntry{
		Kind:      KindErasure,
		Subject:   segment.Name(e.Redaction.Segment),
		Principal: e.By,
		Outcome:   Erased,
		Reason:    e.Reason,
		Facts: []Fact{
			{factRequest, hex.EncodeToString(e.Request[:])},
			{factSegment, strconv.FormatUint(uint64(e.Redaction.Segment), 10)},
			{factChain, e.Redaction.Chain},
			{factEntries, strconv.Itoa(e.Redaction.Entries)},
		},
	}

	for _, signer := range e.Signers {
		c.Facts = append(c.Facts, Fact{factSigner, signer.Identity}, Fact{factSignerKey, signer.KeyID})
	}
	return c
}

// RecordErasure has the log say what is erased from a segment. From the entry or the
// rewritten segment on, whichever is there first, until both are, the log is not intact.
func (l *Log) RecordErasure(ctx context.Context, e Erasure) error {
	c := NewErasure(e)
	if _, ok := erasureOf(&c); !ok {
		return fmt.Errorf("%w: an erasure without its request, or from a segment that it did not rewrite", ErrInvalidEntry)
	}
	return l.Record(ctx, c)
}

// toldErasure is what an entry says of a rewritten segment.
type toldErasure struct {
	segment uint32
	seq     uint64 // of the entry
	request Digest
	chain   segment.Chain
}

// erasureOf reads what an entry says; ok is false for any that says nothing whole.
func erasureOf(c *ControlEntry) (told toldErasure, ok bool) {
	if c.Kind != KindErasure {
		return told, false
	}

	n, err := strconv.ParseUint(c.Fact(factSegment), 10, 32)
	request, err2 := hex.DecodeString(c.Fact(factRequest))
	chain, err3 := hex.DecodeString(c.Fact(factChain))
	if errors.Join(err, err2, err3) != nil || n == 0 || len(request) != len(told.request) || len(chain) != len(told.chain) {
		return told, false
	}

	told.segment = uint32(n)
	told.request = Digest(request)
	told.chain = segment.Chain(chain)
	return told, told.request != Digest{}
}

// toldErasures are the last of each segment.
type toldErasures map[uint32]toldErasure

// note takes a control entry, which has the sequence number seq.
func (t toldErasures) note(c *ControlEntry, seq uint64) {
	if told, ok := erasureOf(c); ok {
		told.seq = seq
		t[told.segment] = told
	}
}

// end says what verification found of a segment's end.
type end struct {
	number  uint32
	first   uint64
	next    uint64
	request Digest // zero: it was not rewritten
	chain   segment.Chain
}

// erasures demands that each segment which was rewritten is the one that the last entry
// about it tells of, and each that an entry tells of was rewritten.
func (v *verifier) erasures() error {
	for _, s := range v.ends {
		told, ok := v.state.erasures[s.number]
		rewritten := s.request != Digest{}
		switch {
		case !ok && !rewritten:
		case ok && told.seq < s.next:
			return segment.Corrupt(s.number, 0, "entry %d, which tells of an erasure from it, comes before its end", told.seq)
		case !ok, rewritten && told.request != s.request:
			return segment.Corrupt(s.number, 0, "request sha256:%x: %w", s.request[:], ErrUntold)
		case !rewritten, told.chain != s.chain:
			return segment.Corrupt(s.number, 0, "request sha256:%x, entry %d: %w", told.request[:], told.seq, ErrNotErased)
		}
	}
	return nil
}

// ended notes where a segment ended.
func (v *verifier) ended(k *segment.Walk) {
	passed, lost := v.passes(k)
	v.passed = v.passed || passed
	v.lost = v.lost || lost
	v.ends = append(v.ends, end{k.Header.Number, k.Header.FirstSeq, v.state.seq, k.Header.Erasure.Request, k.Chain})
}

// passes reports whether a kept head lies at the end of a segment as it was written, or
// that nobody can tell: within one that was rewritten.
func (v *verifier) passes(k *segment.Walk) (passed, lost bool) {
	if v.kept == nil || k.Header.Version != segment.Rewritten {
		return false, false
	}
	next := v.state.seq
	passed = v.kept.NextSeq == next && v.kept.Chain == k.Header.Erasure.Was
	return passed, !passed && v.kept.NextSeq >= k.Header.FirstSeq && v.kept.NextSeq <= next
}

// vouched demands that the kept head speaks for each segment before it. The next segment
// goes on from what a rewritten one once ended with, whatever is in it now: what is in it
// only the entry that tells of the erasure has, and a head from before that entry has
// neither. Whoever has the audit key could have put anything there.
func (v *verifier) vouched() error {
	for _, s := range v.ends {
		told := v.state.erasures[s.number]
		if s.request != (Digest{}) && s.first < v.kept.NextSeq && told.seq >= v.kept.NextSeq {
			return fmt.Errorf("segment %d was rewritten for an erasure (entry %d) since %s was kept, which does not tell what is in it now: hold the log against a checkpoint (--since), and keep the new head: %w", s.number, told.seq, v.kept, ErrPruned)
		}
	}
	return nil
}

// requestOf is that of the last erasure of a segment, or nothing.
func requestOf(h *segment.Header) string {
	if h.Version != segment.Rewritten {
		return ""
	}
	return Digest(h.Erasure.Request).String()
}
