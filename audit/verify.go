package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// SegmentReport is what VerifyChain found in one segment.
type SegmentReport struct {
	Number    uint32    `json:"number"`
	Created   time.Time `json:"created"`
	FirstSeq  uint64    `json:"first_seq"`
	NextSeq   uint64    `json:"next_seq"`
	Frames    int       `json:"frames"`
	Batches   uint64    `json:"batches"`
	Decisions uint64    `json:"decisions"`
	Sealed    bool      `json:"sealed"`
	Node      string    `json:"node"`
	KeyID     string    `json:"key_id"`
	Tags      Tags      `json:"tags"`
	Chain     string    `json:"chain"`           // at its end
	Index     string    `json:"index,omitempty"` // what it is found to be; nothing where there is none

	Erasure string `json:"erasure,omitempty"` // digest of the request that it was rewritten for last
}

// Tags says what is known of the tags of a segment's frames. Without them
// anybody could have written the segment: its chain needs no key.
type Tags string

// What is known of tags.
const (
	TagsChecked   Tags = "checked"   // each was made under the audit key
	TagsUnchecked Tags = "unchecked" // the segment's audit key was not given
	TagsAbsent    Tags = "absent"    // the segment is from before there were tags
)

// Report is what VerifyChain found.
type Report struct {
	Segments  []SegmentReport `json:"segments"`
	Frames    int             `json:"frames"`
	Batches   uint64          `json:"batches"`
	Decisions uint64          `json:"decisions"`
	NextSeq   uint64          `json:"next_seq"`
	Chain     string          `json:"chain"`
	Head      string          `json:"head"`       // SEQ:CHAIN, to be kept elsewhere
	Unbound   int             `json:"unbound"`    // forwarded batches without an answer
	TornBytes int64           `json:"torn_bytes"` // behind the last frame; the next Open cuts them
	Proven    bool            `json:"proven"`     // whoever wrote the log had the audit key
	Anchor    *AnchorReport   `json:"anchor,omitempty"`
	Continued []Continued     `json:"continued,omitempty"`
	Adoptions []Adoption      `json:"adoptions,omitempty"`
}

// Adoption says which log this one goes on from, which was set aside. Who said so is as
// he called himself.
type Adoption struct {
	Entry  uint64    `json:"entry"`
	Time   time.Time `json:"time"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason"`
	Facts  []Fact    `json:"facts"`
}

// Fact is the value with a key, empty where there is none.
func (a *Adoption) Fact(key string) string { return factOf(a.Facts, key) }

// Continued is an opening at which the operator had the gateway go on with what
// nothing proves: a log without its mark or without tags, another gateway's, or one
// under another key. Entries before it may be missing where the mark was.
type Continued struct {
	Entry uint64    `json:"entry"` // sequence number of the opening
	Time  time.Time `json:"time"`
	Steps []Step    `json:"steps"`
}

// AnchorReport says where a log begins whose oldest segments were pruned, and what
// they held in all.
type AnchorReport struct {
	Segment   uint32    `json:"segment"` // that the log begins with
	Entries   uint64    `json:"entries"`
	Batches   uint64    `json:"batches"`
	Decisions uint64    `json:"decisions"`
	Earliest  time.Time `json:"earliest"`
	Latest    time.Time `json:"latest"`
	Pruned    time.Time `json:"pruned"`
	KeyID     string    `json:"key_id"`
	Tags      Tags      `json:"tags"`
}

var errForgedAnchor = fmt.Errorf("%w: the anchor was not made under the audit key", ErrCorrupt)

// VerifyChain reads the whole log in dir and checks every checksum, chain
// value, entry, seal and link. While a gateway writes, it goes to the durable
// end. The report says how far it came; the error is ErrCorrupt for bytes that
// are not what was committed.
//
// A directory without a segment is fs.ErrNotExist, and one without a whole mark
// ErrNoMark: what was cut off at its end would not show.
//
// Without the audit key it cannot tell who wrote the log: Report.Proven is false
// then. See VerifyWith.
func VerifyChain(dir string) (Report, error) {
	return VerifyWith(context.Background(), dir, Known{})
}

// Known is what somebody who verifies a log knows from elsewhere.
type Known struct {
	// Head, if not nil, is one that was kept: the log must go through it, so that
	// what was written up to there was not rewritten since.
	Head *Head
	// Keys are the audit keys that the log was written under. Frames whose tags
	// were not made under them are ErrCorrupt.
	Keys [][32]byte
}

// VerifyWith is VerifyChain by somebody who knows more than the log's bytes, and may
// give up: a log of years takes minutes to read.
func VerifyWith(ctx context.Context, dir string, known Known) (Report, error) {
	v, err := newVerifier(segment.Disk{Dir: dir}, known)
	v.givenUp = ctx.Err
	if err == nil {
		err = v.verify()
	}
	if err == nil {
		err = v.complete()
	}
	if err == nil {
		err = v.indexes()
	}
	if err != nil {
		err = fmt.Errorf("verifying decision log %s: %w", dir, err)
	}

	return v.report, err
}

func newVerifier(d segment.Files, known Known) (*verifier, error) {
	v := &verifier{files: d, kept: known.Head, givenUp: func() error { return nil }}
	for _, key := range known.Keys {
		k, err := chainKey(key)
		if err != nil {
			return v, err
		}
		v.keys = append(v.keys, k)
	}

	return v, nil
}

// Head is a place in the log that can be kept elsewhere: the sequence number of
// the next entry, and the chain value up to there.
type Head struct {
	NextSeq uint64
	Chain   segment.Chain
}

// String gives SEQ:CHAIN, the chain value in hexadecimal.
func (h Head) String() string { return fmt.Sprintf("%d:%x", h.NextSeq, h.Chain[:]) }

// ParseHead is the inverse of String.
func ParseHead(s string) (h Head, err error) {
	seq, chain, _ := strings.Cut(s, ":")
	h.NextSeq, err = strconv.ParseUint(seq, 10, 64)
	raw, hexErr := hex.DecodeString(chain)
	if err != nil || hexErr != nil || len(raw) != len(h.Chain) || h.NextSeq == 0 {
		return Head{}, fmt.Errorf("%q is not SEQ:CHAIN, as audit verify prints it: a number and %d hexadecimal digits", s, 2*len(h.Chain))
	}

	h.Chain = segment.Chain(raw)
	return h, nil
}

// complete checks what is no fault of any byte that is there.
func (v *verifier) complete() error {
	switch {
	case len(v.report.Segments) == 0:
		return fmt.Errorf("the directory holds no segment of a log: %w", fs.ErrNotExist)
	case v.mark == nil:
		return ErrNoMark
	case v.kept != nil && !v.passed && v.report.Anchor != nil && v.kept.NextSeq <= v.report.Anchor.Entries:
		return fmt.Errorf("%s, which was kept, lies before the anchor, so that it cannot be looked for: %w", v.kept, ErrPruned)
	case v.kept != nil && !v.passed && v.lost:
		return fmt.Errorf("%s, which was kept, lies within a segment that was rewritten for an erasure, so that it cannot be looked for: hold the log against a checkpoint (--since): %w", v.kept, ErrPruned)
	case v.kept != nil && !v.passed:
		return fmt.Errorf("%w: it does not go through %s, which was kept: it was rewritten, cut short, or is another log", ErrCorrupt, v.kept)
	case v.kept != nil:
		return v.vouched()
	}
	return nil
}

// VerifyFiles is VerifyWith on any files, and takes what is there.
func VerifyFiles(d segment.Files, known Known) (Report, error) {
	v, err := newVerifier(d, known)
	if err == nil {
		err = v.verify()
	}
	if err == nil {
		err = v.indexes()
	}

	return v.report, err
}

func (v *verifier) verify() error {
	if err := v.readMark(); err != nil {
		return err
	}
	return v.run()
}

// readMark finds how far the log is durable.
func (v *verifier) readMark() error {
	var err error
	if v.mark, err = CommittedMark(v.files); err != nil {
		return err
	}
	if v.live = v.mark != nil; v.live {
		return nil
	}

	m, ok, err := segment.ReadMark(v.files)
	if err != nil {
		return fmt.Errorf("reading committed mark: %w", err)
	}
	if ok {
		v.mark = &m
	}

	return nil
}

type verifier struct {
	files  segment.Files
	mark   *segment.Mark // nil if there is none
	live   bool          // a gateway writes: the mark is the end
	kept   *Head         // nil: nothing was kept elsewhere
	keys   segment.Keys
	tagged bool // there was a tag, and it was made under a key of keys
	passed bool // the log goes through what was kept
	lost   bool // what was kept lies within a segment that was rewritten
	ends   []end
	state  *state
	chart  *chart // of the segment that is read
	report Report

	givenUp func() error // asked at each frame
}

// apply reads a frame, and notes whether the log goes through what was kept.
func (v *verifier) apply(f *segment.Frame) error {
	if err := v.givenUp(); err != nil {
		return err
	}
	if err := v.state.apply(f); err != nil {
		return err
	}
	if !f.Sealed() {
		if err := v.chart.add(f); err != nil {
			return err
		}
	}

	v.passed = v.passed || v.kept != nil && v.kept.NextSeq == v.state.seq && v.kept.Chain == f.Chain
	return nil
}

func (v *verifier) run() error {
	all, anchor, err := segment.Numbers(v.files)
	if err != nil {
		return err
	}

	if v.mark != nil {
		marked, err := v.mark.UpTo(all)
		if err != nil {
			return err
		}
		if v.live {
			all = marked
		}
	}

	prev, err := v.begin(anchor)
	if err != nil {
		return err
	}

	for i, n := range all {
		if prev, err = v.segment(n, prev, i == len(all)-1); err != nil {
			return err
		}
	}

	if err := v.erasures(); err != nil {
		return err
	}

	v.report.Proven = v.proven()
	v.report.Chain = hex.EncodeToString(prev.Chain[:])
	v.report.NextSeq = v.state.seq
	v.report.Head = Head{v.state.seq, prev.Chain}.String()
	v.report.Unbound = len(v.state.open)
	v.report.Continued = v.state.continued
	v.report.Adoptions = v.state.adoptions

	return nil
}

// begin checks the anchor, if there is one, and returns what the first segment
// follows.
func (v *verifier) begin(anchor *segment.Anchor) (segment.Link, error) {
	v.state = newStateAt(anchor)
	if anchor == nil {
		return anchor.Link(), nil
	}

	tags := TagsUnchecked
	if key := v.keys.Find(anchor.KeyID); key != nil {
		tags = TagsChecked
		if !anchor.Under(key) {
			return segment.Link{}, errForgedAnchor
		}
	}

	v.passed = v.kept != nil && v.kept.NextSeq == anchor.NextSeq && v.kept.Chain == anchor.Chain
	v.report.Anchor = &AnchorReport{
		Segment:   anchor.First,
		Entries:   anchor.NextSeq - 1,
		Batches:   anchor.Gone.Batches,
		Decisions: anchor.Gone.Decisions,
		Earliest:  time.UnixMicro(anchor.Gone.Earliest).UTC(),
		Latest:    time.UnixMicro(anchor.Gone.Latest).UTC(),
		Pruned:    time.UnixMicro(anchor.Pruned).UTC(),
		KeyID:     hex.EncodeToString(anchor.KeyID[:]),
		Tags:      tags,
	}

	return anchor.Link(), nil
}

func (v *verifier) segment(n uint32, prev segment.Link, last bool) (segment.Link, error) {
	f, err := v.files.Open(segment.Name(n), false)
	if err != nil {
		return segment.Link{}, fmt.Errorf("opening segment %d: %w", n, err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return segment.Link{}, fmt.Errorf("sizing segment %d: %w", n, err)
	}
	if last && v.live {
		size = min(size, v.mark.End)
	}

	k, err := segment.NewWalk(segment.NewWindow(f, size), n)
	if err != nil {
		return segment.Link{}, err
	}
	if err := prev.Follows(&k.Header); err != nil {
		return segment.Link{}, err
	}

	v.state.beginSegment()
	v.chart = newChart(k.Header)
	k.Key = v.keys.Find(k.Header.KeyID)

	if err := k.Expect(v.mark); err != nil {
		return segment.Link{}, err
	}
	if err := k.Run(v.apply); err != nil {
		return segment.Link{}, err
	}
	if err := v.end(k, last); err != nil {
		return segment.Link{}, err
	}
	if err := k.HasMark(v.mark, &prev); last && err != nil && !errors.Is(err, ErrNoMark) {
		return segment.Link{}, err // that there is none is said of the whole log: see complete
	}

	v.tagged = v.tagged || k.Tagged()
	v.ended(k)
	v.add(k)
	if k.Sealed {
		found, err := v.compareIndex(k)
		if err != nil {
			return segment.Link{}, err
		}
		v.report.Segments[len(v.report.Segments)-1].Index = found
	}

	return k.Link(v.state.seq), nil
}

func (v *verifier) end(k *segment.Walk, last bool) error {
	if k.Sealed {
		footed, err := k.Footer()
		if err == nil && !footed && !last {
			err = segment.Corrupt(k.Header.Number, k.Off, "footer is missing or damaged")
		}
		return errors.Join(err, k.MetMark())
	}

	torn, err := k.Tail()
	if err != nil {
		return err
	}
	if !last {
		return segment.Corrupt(k.Header.Number, k.Off, "not sealed, though a later segment exists")
	}

	v.report.TornBytes = torn
	return k.MetMark()
}

func (v *verifier) add(k *segment.Walk) {
	s := v.state.sum
	v.report.Segments = append(v.report.Segments, SegmentReport{
		Number:    k.Header.Number,
		Created:   time.UnixMicro(k.Header.Created).UTC(),
		FirstSeq:  k.Header.FirstSeq,
		NextSeq:   s.NextSeq,
		Frames:    k.Frames,
		Batches:   s.batches,
		Decisions: s.decisions,
		Sealed:    k.Sealed,
		Node:      k.Header.Node,
		KeyID:     hex.EncodeToString(k.Header.KeyID[:]),
		Tags:      tagsOf(k),
		Chain:     hex.EncodeToString(k.Chain[:]),
		Erasure:   requestOf(&k.Header),
	})

	v.report.Frames += k.Frames
	v.report.Batches += s.batches
	v.report.Decisions += s.decisions
}

func tagsOf(k *segment.Walk) Tags {
	switch {
	case k.Header.Version == segment.Untagged:
		return TagsAbsent
	case k.Key == nil:
		return TagsUnchecked
	}
	return TagsChecked
}

// proven reports whether the tags were checked in all segments that have any.
// Segments without them come first: the tags behind them cover the chain value
// that they end with, so that they are what they were then.
func (v *verifier) proven() bool {
	if a := v.report.Anchor; a != nil && a.Tags == TagsUnchecked {
		return false
	}
	for _, s := range v.report.Segments {
		if s.Tags == TagsUnchecked {
			return false
		}
	}

	return v.tagged
}
