package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/segment"
)

// Personal are the values of personal fields that an erasure takes out. Certificates are
// SHA-256 fingerprints. An entry about the conduct of clients has their principal or
// source, the latter of IPv6 as a prefix of 64 bits: who means that too names it.
type Personal struct {
	Principals   []string
	ClientIDs    []string
	Sources      []string
	Certificates []Digest
}

// Redaction is what an erasure did, or would do, to one segment.
type Redaction struct {
	Segment uint32         `json:"segment"`
	Entries int            `json:"entries"` // that something was taken out of
	Places  map[string]int `json:"places"`  // how often, by field
	// Clear counts entries in which a value stays, since evidence has it in clear there:
	// who signed or approved a module answers for it.
	Clear int `json:"clear"`
	// Otherwise counts entries that stay and name a value in another spelling, of which
	// Spelled has the first.
	Otherwise int       `json:"otherwise"`
	Spelled   []Spelled `json:"-"`
	// Chain is the value that the segment ends with now, in hexadecimal, and nothing where
	// this request did not rewrite it last.
	Chain string `json:"chain,omitempty"`
}

// ErrNotFinished means that a segment is still written to, or was not a moment ago.
var ErrNotFinished = errors.New("the segment is not finished, and nothing is erased from one that is written to")

// ErrNotErasable means that a segment cannot be rewritten as its evidence asks for.
var ErrNotErasable = errors.New("the segment cannot be rewritten")

// Erasing says what to erase from a segment, and for what.
type Erasing struct {
	Keys     [][32]byte // the audit keys of the log
	Request  Digest     // of what asks for it
	Personal Personal
	// Names are those of the segment's leaves: what is left of a value.
	Names  func(string) evidence.Name
	DryRun bool // look, and change nothing
}

// FindPersonal tells what an erasure would change in segment n, changing nothing.
func FindPersonal(dir string, n uint32, keys [][32]byte, p Personal) (Redaction, error) {
	return EraseSegment(dir, n, Erasing{Keys: keys, Personal: p, DryRun: true})
}

// EraseSegment rewrites finished segment n without personal values. Each entry's leaf
// stays what it was, so that the tree, its checkpoints and evidence from before hold. It
// reads what it is about to replace as a verifier does, and replaces nothing damaged. It
// is for those who asked whether a legal hold keeps the segment.
//
// Crash points: until the rename is durable the old segment is there, from then on the
// new one, each whole. Done again for the same request it changes nothing more, and
// tells the same.
func EraseSegment(dir string, n uint32, e Erasing) (Redaction, error) {
	done, err := EraseIn(segment.Disk{Dir: dir}, n, e)
	if err != nil {
		err = fmt.Errorf("erasing from decision log %s: %w", dir, err)
	}
	return done, err
}

// EraseIn is EraseSegment on any files.
func EraseIn(d segment.Files, n uint32, e Erasing) (done Redaction, err error) {
	x, err := newEraser(d, n, e)
	if err != nil {
		return Redaction{}, err
	}
	if e.DryRun {
		return x.run()
	}

	if e.Request == (Digest{}) || e.Names == nil {
		return Redaction{}, fmt.Errorf("%w: without a request and the names of its leaves", ErrNotErasable)
	}
	draft, err := segment.OpenDraft(d, segment.Name(n))
	if err != nil {
		return Redaction{}, err
	}

	defer func() { err = errors.Join(err, draft.Close()) }()
	if done, err = x.run(); err != nil || x.changed == 0 {
		return done, err
	}
	if err := x.check(); err != nil {
		return Redaction{}, err
	}

	if err := x.flushMark(); err != nil {
		return Redaction{}, err
	}
	if err := draft.Put(x.out); err != nil {
		return Redaction{}, err
	}

	_ = indexSegment(context.Background(), d, n) // readers make it where they find none
	return done, nil
}

// eraser reads one segment as a verifier does, and writes it anew.
type eraser struct {
	*verifier
	Erasing
	number  uint32
	old     segment.Header
	reading *openSegment
	enc     encoder
	cur     chunk
	next    uint64
	frames  [][]byte // payloads
	out     []byte
	header  segment.Header
	key     *segment.Key
	changed int
	done    Redaction

	spellings *Spellings
}

// MaxSpelled is how many entries Redaction.Spelled has at most.
const MaxSpelled = 20

func newEraser(d segment.Files, n uint32, e Erasing) (*eraser, error) {
	v, err := newVerifier(d, Known{Keys: e.Keys})
	if err != nil {
		return nil, err
	}
	if err := v.readMark(); err != nil {
		return nil, err
	}
	if v.mark == nil {
		return nil, ErrNoMark
	}

	all, _, err := segment.Numbers(d)
	if err == nil {
		all, err = v.mark.UpTo(all)
	}
	if err != nil {
		return nil, err
	}
	if i := slices.Index(all, n); i < 0 || i == len(all)-1 {
		return nil, fmt.Errorf("segment %d: %w", n, ErrNotFinished)
	}

	if e.Names == nil {
		e.Names = func(string) evidence.Name { return evidence.Name{1} } // nobody sees it
	}
	return &eraser{verifier: v, Erasing: e, number: n, done: Redaction{Segment: n, Places: make(map[string]int)}, spellings: e.Personal.Spellings()}, nil
}

// run reads the segment, and makes the new one in memory.
func (x *eraser) run() (Redaction, error) {
	f, err := x.files.Open(segment.Name(x.number), false)
	if err != nil {
		return Redaction{}, fmt.Errorf("opening segment %d: %w", x.number, err)
	}

	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return Redaction{}, fmt.Errorf("sizing segment %d: %w", x.number, err)
	}

	k, err := segment.NewWalk(segment.NewWindow(f, size), x.number)
	if err != nil {
		return Redaction{}, err
	}
	if err := x.begin(k); err != nil {
		return Redaction{}, err
	}

	var seal *Summary
	err = k.Run(func(f *segment.Frame) error {
		if f.Sealed() {
			seal, err = x.sealed(f)
			return err
		}
		if err := x.state.apply(f); err != nil {
			return err
		}
		clear(x.state.open) // the seal tells
		return x.reading.frame(f, x.frame)
	})
	if err == nil && !k.Sealed {
		err = segment.Corrupt(x.number, k.Off, "not sealed, though a later segment exists")
	}
	if err == nil {
		err = x.linked(k)
	}
	if err != nil {
		return Redaction{}, err
	}

	return x.finish(k, seal)
}

// begin makes ready for the first frame.
func (x *eraser) begin(k *segment.Walk) error {
	x.old = k.Header
	if k.Header.Version == segment.Untagged {
		return fmt.Errorf("%w: segment %d is of the version before there were tags: %w", ErrNotErasable, x.number, ErrUntagged)
	}
	if x.key = x.keys.Find(k.Header.KeyID); x.key == nil {
		return fmt.Errorf("%w: segment %d is under the audit key %x, which was not given", ErrForeign, x.number, k.Header.KeyID)
	}

	k.Key = x.key
	x.state = newState(k.Header.FirstSeq)
	x.state.epoch = k.Header.Epoch
	x.reading = newOpenSegment(k.Header)
	x.enc = encoder{dict: newDict()}
	x.next = k.Header.FirstSeq
	return nil
}

// sealed holds a seal against the segment. What it says of segments before is taken.
func (x *eraser) sealed(f *segment.Frame) (*Summary, error) {
	s, err := parseSeal(f.Payload)
	if err != nil {
		return nil, err
	}

	x.state.sum.open = s.open
	if again := x.state.sum.seal(s.older); string(again) != string(f.Payload) {
		return nil, fmt.Errorf("seal does not match its segment: %w", errEntry)
	}
	return s, nil
}

// linked demands that the next segment goes on from this one.
func (x *eraser) linked(k *segment.Walk) error {
	if footed, err := k.Footer(); err != nil || !footed {
		return cmp.Or(err, segment.Corrupt(x.number, k.Off, "footer is missing or damaged"))
	}
	next, err := readHeader(x.files, x.number+1)
	if err != nil {
		return err
	}
	link := k.Link(x.state.seq)
	return link.Follows(&next)
}

// frame takes what is personal out of the entries of a frame, and adds them to the new
// segment. Neighbouring frames become one: what the chain once ended with is a hash of
// all that was erased, and where each frame ended should not help to try.
func (x *eraser) frame(f *Frame) error {
	return f.Each(func(e *Entry) error {
		if x.cur.empty() {
			x.cur.seq = x.next
			x.cur.base = f.payload.base
		}

		x.enc = x.cur.encoder(x.enc.dict, x.enc.out)
		switch {
		case e.Batch != nil:
			x.note(&e.Batch.Caller.Redacted, x.fromBatch(e.Batch), false)
			x.enc.batch(e.Batch, x.cur.base)
		case e.Bind != nil:
			x.enc.bind(e.Bind, x.cur.base)
		default:
			x.note(&e.Control.Redacted, x.fromControl(e.Control), x.Personal.inClear(e.Control))
			x.enc.control(e.Control, x.cur.base)
		}
		x.done.AddSpelled(nodeOf(x.old.LogID), e.Seq, x.spellings.In(e))

		if e.Seq != 0 {
			x.next = e.Seq + 1
		}
		x.cur.add(&x.enc)
		if x.cur.pending() >= blockBytes {
			x.flush()
		}
		return nil
	})
}

// AddSpelled counts an entry that has values in another spelling in some places.
func (r *Redaction) AddSpelled(node uint32, seq uint64, places []string) {
	if len(places) == 0 {
		return
	}

	r.Otherwise++
	if len(r.Spelled) < MaxSpelled {
		r.Spelled = append(r.Spelled, Spelled{DecisionID{Node: node, Seq: seq, Index: -1}, places})
	}
}

// note counts what is taken out of an entry, or was for the same request.
func (x *eraser) note(rs *Redactions, more Redactions, clear bool) {
	if clear {
		x.done.Clear++
	}
	if len(more) > 0 {
		x.changed++
		all := slices.Concat(*rs, more)
		slices.SortFunc(all, func(a, b Redacted) int { return cmp.Compare(a.Place, b.Place) })
		*rs = all
	}

	counted := false
	for i := range *rs {
		if (*rs)[i].Request == x.Request {
			x.done.Places[(*rs)[i].Place.String()]++
			counted = true
		}
	}
	if counted {
		x.done.Entries++
	}
}

// take empties a value, and returns what is left of it.
func (x *eraser) take(p Place, value *string) Redacted {
	name := x.Names(*value)
	*value = ""
	return Redacted{Place: p, Name: name, Request: x.Request}
}

func (x *eraser) fromBatch(b *BatchEntry) (rs Redactions) {
	p := &x.Personal
	for _, field := range []struct {
		place  Place
		values []string
		value  *string
	}{
		{PlacePrincipal, p.Principals, &b.Principal},
		{PlaceClientID, p.ClientIDs, &b.ClientID},
		{PlaceSource, p.Sources, &b.Source},
	} {
		if *field.value != "" && slices.Contains(field.values, *field.value) {
			rs = append(rs, x.take(field.place, field.value))
		}
	}

	if f := b.TLS.Fingerprint; f != (Fingerprint{}) && slices.Contains(p.Certificates, Digest(f)) {
		value := string(f[:])
		rs = append(rs, x.take(PlaceCertificate, &value))
		b.TLS.Fingerprint = Fingerprint{}
	}
	return rs
}

func (x *eraser) fromControl(c *ControlEntry) (rs Redactions) {
	p := &x.Personal
	if c.Principal != "" && (slices.Contains(p.Principals, c.Principal) || slices.Contains(p.Sources, c.Principal)) {
		rs = append(rs, x.take(PlacePrincipal, &c.Principal))
	}
	for i := range c.Steps {
		if s := &c.Steps[i]; !structural(s.Name) && p.mentioned(s.Detail) {
			rs = append(rs, x.take(PlaceDetail+Place(i), &s.Detail))
		}
	}
	return rs
}

// structural reports whether a step is one that the log itself reads. It holds nothing
// of a client.
func structural(step string) bool {
	return step == stepRepeats || step == StepTable || step == stepEpoch || step == stepKeyID
}

// mentioned reports whether a text names a person: not as a part of another word.
func (p *Personal) mentioned(text string) bool {
	names := func(value string) bool { return mentions(text, value) }
	return slices.ContainsFunc(p.Principals, names) || slices.ContainsFunc(p.Sources, names) ||
		slices.ContainsFunc(p.Certificates, func(d Digest) bool { return mentions(text, hex.EncodeToString(d[:])) })
}

func mentions(text, value string) bool {
	for from := 0; value != ""; {
		i := strings.Index(text[from:], value)
		if i < 0 {
			return false
		}

		i += from
		if !wordEndsIn(text[:i]) && !wordBeginsIn(text[i+len(value):]) {
			return true
		}
		from = i + 1
	}
	return false
}

// Names have these signs within them: User:shop is not who User:shop-7 is. At the end of a
// sentence, or before a port, a name ends.
const withinNames = "-_@"

// wordBeginsIn reports whether a text goes on with the word before it.
func wordBeginsIn(text string) bool {
	text = strings.TrimLeft(text, withinNames)
	r, _ := utf8.DecodeRuneInString(text)
	return inWord(r)
}

// wordEndsIn reports whether a text ends with the beginning of the word behind it.
func wordEndsIn(text string) bool {
	text = strings.TrimRight(text, withinNames)
	r, _ := utf8.DecodeLastRuneInString(text)
	return inWord(r)
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// inClear reports whether evidence has a value in clear: in what an entry is about, or
// among those who answer for a module.
func (p *Personal) inClear(c *ControlEntry) bool {
	return slices.ContainsFunc(clearTexts(c), p.mentioned)
}

// clearTexts are those of an entry that evidence has in clear.
func clearTexts(c *ControlEntry) []string {
	texts := []string{c.Subject}
	for i := range c.Facts {
		texts = append(texts, c.Facts[i].Value)
	}
	if a := c.Admission; a != nil {
		texts = append(texts, a.Author.Identity)
		for i := range a.Approvals {
			texts = append(texts, a.Approvals[i].Approver)
		}
	}
	return texts
}

// flush ends a frame of the new segment. It is written when all of them are known: the
// header, which the chain begins with, says what the old segment ended with.
func (x *eraser) flush() {
	if x.cur.empty() {
		return
	}
	x.cur.close(x.next)
	x.frames = append(x.frames, slices.Concat(x.cur.head, x.cur.defs, x.cur.entries))
	x.cur.defs = x.cur.defs[:0]
	x.cur.entries = x.cur.entries[:0]
	x.cur.nonce = 0
}

// finish puts the new segment together, if it is another one.
func (x *eraser) finish(k *segment.Walk, seal *Summary) (Redaction, error) {
	if x.changed == 0 {
		if k.Header.Erasure.Request == x.Request && x.Request != (Digest{}) {
			x.done.Chain = hex.EncodeToString(k.Chain[:])
		}
		return x.done, nil
	}

	x.flush()
	x.header = k.Header.Rewritten(x.Request, k.Chain)
	size := 0
	for _, payload := range x.frames {
		size += int(segment.FrameSize(len(payload)))
	}

	x.out = append(make([]byte, 0, size+size/8+segment.HeaderSize), x.header.Encode()...)
	chain := x.header.Chain()
	for i, payload := range x.frames {
		x.out, chain = segment.AppendFrame(x.out, &x.header, x.key, chain, 0, payload)
		x.frames[i] = nil
	}

	seal.dict = x.enc.dict
	x.out, chain = segment.AppendSeal(x.out, &x.header, x.key, chain, seal.seal(seal.older))
	x.done.Chain = hex.EncodeToString(chain[:])
	return x.done, nil
}

// check reads both segments, and demands that each leaf is what it was. What fails here
// is a fault of this program, and nothing was changed.
func (x *eraser) check() error {
	f, size, err := NewReader(x.files, nil).openSegment(x.number)
	if err != nil {
		return err
	}

	defer f.Close()
	before, err := x.leaves(segment.NewWindow(f, size), x.old)
	if err != nil {
		return err
	}
	after, err := x.leaves(segment.NewWindow(bytes.NewReader(x.out), int64(len(x.out))), x.header)
	if err != nil {
		return err
	}

	if before != after {
		return fmt.Errorf("%w: segment %d: its evidence would be another", ErrNotErasable, x.number)
	}
	return nil
}

// leaves is a hash of all leaves of a segment.
func (x *eraser) leaves(w *segment.Window, h segment.Header) (sum [32]byte, err error) {
	k, err := segment.NewWalk(w, x.number)
	if err != nil {
		return sum, err
	}
	if k.Header != h {
		return sum, fmt.Errorf("segment %d: %w", x.number, errRewritten)
	}

	k.Key = x.key
	all := sha256.New()
	s := newOpenSegment(h)
	var scratch []byte
	err = k.Run(func(f *segment.Frame) error {
		return s.frame(f, func(f *Frame) error {
			return f.Each(func(e *Entry) error {
				l := e.Leaf(x.Names)
				scratch = l.Append(scratch[:0])
				all.Write(scratch)
				return nil
			})
		})
	})
	if err == nil && !k.Sealed {
		err = segment.Corrupt(x.number, k.Off, "not sealed")
	}
	return [32]byte(all.Sum(nil)), err
}

// Rewritten lists the segments that an erasure rewrote.
func (r *Reader) Rewritten() (all []uint32, err error) {
	segments, err := r.Segments()
	if err != nil {
		return nil, err
	}

	for _, n := range segments {
		rewritten, err := r.IsRewritten(n)
		if err != nil {
			return nil, err
		}
		if rewritten {
			all = append(all, n)
		}
	}
	return all, nil
}

// IsRewritten reports whether an erasure rewrote a segment.
func (r *Reader) IsRewritten(n uint32) (bool, error) {
	h, err := readHeader(r.files, n)
	return h.Version == segment.Rewritten, r.orPruned(n, err)
}

// KeptBy lists the legal holds that keep finished segment n of the log in dir from being
// changed: whoever erases asks before. Holds that cannot be read are an error, as for who
// prunes.
func KeptBy(dir string, n uint32, keys [][32]byte) ([]Hold, error) {
	d := FilesIn(dir)
	holds, err := ReadHolds(d, keys)
	if err != nil {
		return nil, err
	}
	s, err := readSealed(d, n)
	if err != nil {
		return nil, fmt.Errorf("reading the seal of segment %d: %w", n, err)
	}
	return holds.keeping(s.seal), nil
}
