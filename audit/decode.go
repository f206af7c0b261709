package audit

import (
	"errors"
	"fmt"
	"math"

	"github.com/guardlock/guardlock/audit/segment"
)

var (
	errEntry   = errors.New("malformed entry")
	errBinding = fmt.Errorf("reading binding: %w", errEntry)
)

// payload is an opened frame payload: its definitions are known, its entries
// are still bytes.
type payload struct {
	firstSeq uint64
	base     int64
	defs     []byte
	entries  []byte
	redacts  bool // it is of a rewritten segment, where entries may be redacted
}

// payloadOf opens the payload of a frame.
func payloadOf(f *segment.Frame) (payload, error) {
	p, err := parsePayload(f.Payload)
	p.redacts = f.Version == segment.Rewritten
	return p, err
}

func parsePayload(b []byte) (payload, error) {
	c := cursor{b: b}
	p := payload{firstSeq: c.uvarint(), base: c.varint()}
	p.defs = c.bytes(c.uvarint())

	if c.bad || p.firstSeq == 0 {
		return p, fmt.Errorf("reading frame payload: %w", errEntry)
	}
	p.entries = c.b
	return p, nil
}

// define adds the frame's definitions to the table.
func (p *payload) define(d *dict) error {
	c := cursor{b: p.defs}
	for len(c.b) > 0 {
		s := c.bytes(c.uvarint())
		if c.bad || len(s) == 0 || !d.fits(string(s)) {
			return fmt.Errorf("reading definitions: %w", errEntry)
		}
		d.define(string(s))
	}

	return nil
}

// rawEntry is one entry's bytes; seq is 0 for entries that take none.
type rawEntry struct {
	kind     Kind
	seq      uint64
	body     []byte
	redacted bool   // the body begins with what was taken out
	brief    bool   // the body has a template
	first    uint64 // sequence number of the frame's first entry
	nonce    uint64 // of a brief batch
}

// read begins to read the entry.
func (r *rawEntry) read(strs []string) cursor {
	return cursor{b: r.body, strs: strs, redacted: r.redacted, brief: r.brief, first: r.first, nonce: r.nonce}
}

// each calls fn for the payload's entries in order.
func (p *payload) each(fn func(rawEntry) error) error {
	c := cursor{b: p.entries}
	seq := p.firstSeq
	nonce := uint64(0)
	for len(c.b) > 0 {
		body := c.bytes(c.uvarint())
		if c.bad || len(body) < 2 {
			return fmt.Errorf("reading entries: %w", errEntry)
		}

		e := rawEntry{kind: Kind(body[0]), body: body[1:], first: p.firstSeq}
		if e.kind == kindRedacted && p.redacts {
			e.redacted = true
			e.kind = Kind(body[1])
			e.body = body[2:]
		} else if err := e.unbrief(&nonce); err != nil {
			return err
		}

		switch {
		case e.kind.numbered():
			e.seq = seq
			seq++
		case e.redacted:
			return fmt.Errorf("reading entries: kind %d is redacted, which has nothing personal: %w", e.kind, errEntry)
		case e.kind != kindBind && e.kind != kindSeal:
			return fmt.Errorf("reading entries: kind %d is unknown to this version of guardlock; a newer one may have written it, and can read it: %w", e.kind, errEntry)
		}

		if err := fn(e); err != nil {
			return err
		}
	}

	return nil
}

// batch reads a batch entry into b, whose memory is reused.
func (c *cursor) batch(b *BatchEntry, base int64) error {
	b.Reset()
	if c.brief {
		return c.briefBatch(b, base)
	}
	redacted := c.redactions()
	flags := c.byte()
	if flags&batchConsumed != 0 {
		b.Direction = Consume
	}

	b.Time = TimeOf(base + c.varint())
	b.Outcome = Outcome(c.byte())
	b.Reason = c.str(RoleReason)
	c.caller(b, flags)
	c.authority(b)
	c.producer(b)
	b.Records = c.number()
	b.Codec = c.byte()
	b.BytesIn = c.number()
	b.BytesOut = c.number()

	if flags&batchHasMAC != 0 {
		c.mac(b, flags, c.uvarint())
	}

	c.rulings(b)
	if len(b.Rulings) > 0 {
		c.runs(b)
	}
	if err := c.whole(b, flags, redacted.fitBatch(b)); err != nil {
		return err
	}

	b.Redacted = redacted
	return nil
}

// mac reads what a batch's MAC is.
func (c *cursor) mac(b *BatchEntry, flags byte, nonce uint64) {
	b.nonce = nonce
	copy(b.mac[:], c.bytes(uint64(len(b.mac))))
	c.bad = c.bad || nonce == 0

	b.Evidence = EvidenceContent
	if flags&batchMACHeader != 0 {
		b.Evidence = EvidenceHeader
	}
}

// whole demands that all of a batch was read, and that it is one.
func (c *cursor) whole(b *BatchEntry, flags byte, fine bool) error {
	wrong := flags&^batchFlags != 0 || flags&(batchHasMAC|batchMACHeader) == batchMACHeader
	if !fine || !c.ok() || wrong || b.validate() != nil {
		return fmt.Errorf("reading batch entry: %w", errEntry)
	}
	return nil
}

func (c *cursor) coord() Coord {
	return Coord{Cluster: c.str(RoleCluster), Topic: c.str(RoleTopic), Partition: int32(c.number())}
}

// number reads a count that must fit an int32.
func (c *cursor) number() int {
	v := c.uvarint()
	if v > math.MaxInt32 {
		c.bad = true
		return 0
	}
	return int(v)
}

func (c *cursor) caller(b *BatchEntry, flags byte) {
	b.Cluster = c.str(RoleCluster)
	b.Topic = c.str(RoleTopic)
	if flags&batchHasTopicID != 0 {
		c.fixed(roleTopicID, b.TopicID[:])
	}

	b.Partition = int32(c.number())
	b.ConnID = c.uvarint()
	b.Principal = c.str(RolePrincipal)
	b.ClientID = c.str(RoleClient)
	b.Source = c.str(RoleSource)

	if flags&batchHasTLS != 0 {
		b.TLS = c.tls()
	}
}

func (c *cursor) authority(b *BatchEntry) {
	b.PolicyRevision = c.str(rolePolicy)
	c.fixed(roleGrant, b.GrantDigest[:])
	for n := c.count(); n > 0 && !c.bad; n-- {
		b.Modules = append(b.Modules, c.module())
	}
}

func (c *cursor) module() (m ModuleRef) {
	m.Name = c.str(RoleModule)
	c.fixed(RoleDigest, m.Digest[:])
	return m
}

func (c *cursor) producer(b *BatchEntry) {
	c.producerOf(b)
	if b.ProducerID >= 0 {
		b.BaseSequence = int32(c.varint())
	}
}

// producerOf reads whose batch it is.
func (c *cursor) producerOf(b *BatchEntry) {
	b.ProducerID = int64(c.uvarint()) - 1
	b.ProducerEpoch = -1
	b.BaseSequence = -1
	if b.ProducerID >= 0 {
		b.ProducerEpoch = int16(c.varint())
	}
}

func (c *cursor) rulings(b *BatchEntry) {
	for range c.count() {
		r := Ruling{
			Verdict: Verdict(c.byte()),
			Module:  c.byte(),
			Reason:  c.str(RoleReason),
			Route:   c.str(RoleRoute),
		}

		if c.bad {
			return
		}
		b.Rulings = append(b.Rulings, r)
	}
}

func (c *cursor) runs(b *BatchEntry) {
	if c.bad {
		return
	}
	shift := rulingBits(len(b.Rulings))
	for runs := c.count(); runs > 0 && !c.bad; runs-- {
		v := c.uvarint()
		if v>>shift > math.MaxInt32 {
			c.bad = true
			return
		}
		b.Runs = append(b.Runs, Run{Ruling: uint16(v & (1<<shift - 1)), Count: uint32(v >> shift)})
	}
}

func (c *cursor) control(e *ControlEntry, kind Kind, base int64) error {
	redacted := c.redactions()
	*e = ControlEntry{
		Kind:    kind,
		Time:    TimeOf(base + c.varint()),
		Subject: c.str(roleText),
		Module:  c.module(),
	}

	e.Principal = c.str(RolePrincipal)
	e.Outcome = c.str(RoleOutcome)
	e.Reason = c.str(RoleReason)
	e.Revision = c.str(rolePolicy)

	for n := c.count(); n > 0 && !c.bad; n-- {
		e.Steps = append(e.Steps, Step{Name: c.str(roleText), Verdict: c.str(roleText), Detail: c.str(roleText)})
	}
	c.facts(e, base)
	if !c.ok() || !redacted.fitControl(e) {
		return fmt.Errorf("reading control entry: %w", errEntry)
	}
	e.Redacted = redacted

	return nil
}

func (c *cursor) bind(b *Bind, base int64) error {
	if c.brief {
		return c.briefBind(b, base)
	}
	*b = Bind{Seq: c.uvarint(), Coord: c.coord(), Route: c.str(RoleRoute)}
	b.Base = int64(c.uvarint()) - 1
	b.count = c.number()

	if t := c.uvarint(); t != 0 {
		b.AppendTime = base + unzigzag(t-1)
	}
	flags := c.uvarint()
	b.ErrorCode = int16(uint16(flags >> 1))
	b.Recovered = flags&1 != 0
	if !c.bad && len(c.b) > 0 {
		b.Leader = LeaderEpochOf(int32(c.number()))
	}

	if !c.ok() || b.Base < -1 || flags > 1<<17 {
		return errBinding
	}
	return nil
}
