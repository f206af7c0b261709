package evidence

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Append adds the one way to write the leaf to dst. Exactly one of the leaf's
// fields must be set.
func (l *Leaf) Append(dst []byte) []byte {
	w := writer{append(dst, leafMagic...)}
	switch {
	case l.Decision != nil:
		w.decision(l.Decision)
	case l.Placement != nil:
		w.placement(l.Placement)
	default:
		w.control(l.Control)
	}
	return w.b
}

// Parse reads a leaf. Bytes that Append would not give are ErrLeaf, so that a leaf
// has one spelling and one hash.
func Parse(b []byte) (*Leaf, error) {
	rest, ok := bytes.CutPrefix(b, []byte(leafMagic))
	if !ok || len(rest) == 0 {
		return nil, fmt.Errorf("%w: it does not begin as a leaf of version 1 does", ErrLeaf)
	}

	r := reader{b: rest}
	l := &Leaf{}
	switch kind := Kind(r.u8()); {
	case kind == KindDecision:
		l.Decision = r.decision()
	case kind == KindPlacement:
		l.Placement = r.placement()
	case kind > KindDecision && kind < KindPlacement, kind == KindAcknowledgement, kind == KindClock:
		l.Control = r.control(kind)
	default:
		return nil, fmt.Errorf("%w: unknown kind %d", ErrLeaf, kind)
	}

	if r.bad || len(r.b) > 0 {
		return nil, fmt.Errorf("%w: its length or a field is wrong", ErrLeaf)
	}
	return l, nil
}

// writer appends fields. Integers are big endian, a string is its length in 32 bits
// and its bytes.
type writer struct{ b []byte }

func (w *writer) u8(v uint8)   { w.b = append(w.b, v) }
func (w *writer) u16(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) raw(b []byte) { w.b = append(w.b, b...) }

func (w *writer) str(s string) {
	w.u32(uint32(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) flag(v bool) {
	if v {
		w.u8(1)
	} else {
		w.u8(0)
	}
}

func (w *writer) module(m *Module) {
	w.str(m.Name)
	w.raw(m.Digest[:])
}

func (w *writer) where(c *Coord) {
	w.str(c.Cluster)
	w.str(c.Topic)
	w.u32(c.Partition)
}

func (w *writer) decision(d *Decision) {
	w.u8(uint8(KindDecision))
	w.u64(d.Seq)
	w.u64(uint64(d.Time))
	w.flag(d.Consume)
	w.u8(d.Outcome)
	w.str(d.Reason)
	w.where(&d.Where)
	w.raw(d.TopicID[:])

	w.caller(&d.Caller)
	w.authority(&d.Authority)
	w.u64(uint64(d.ID))
	w.u16(uint16(d.Producer.Epoch))
	w.u32(uint32(d.Sequence))
	w.payload(&d.Payload)

	w.u32(uint32(len(d.Rulings)))
	for i := range d.Rulings {
		r := &d.Rulings[i]
		w.u8(r.Verdict)
		w.u8(r.Module)
		w.str(r.Reason)
		w.str(r.Route)
	}

	w.u32(uint32(len(d.Runs)))
	for _, r := range d.Runs {
		w.u32(r.Ruling)
		w.u32(r.Count)
	}
}

func (w *writer) caller(c *Caller) {
	w.u64(c.Connection)
	w.raw(c.Principal[:])
	w.raw(c.ClientID[:])
	w.raw(c.Source[:])
	w.str(c.TLSVersion)
	w.str(c.CipherSuite)
	w.raw(c.Certificate[:])
}

func (w *writer) authority(a *Authority) {
	w.str(a.PolicyRevision)
	w.raw(a.Grant[:])
	w.u32(uint32(len(a.Modules)))
	for i := range a.Modules {
		w.module(&a.Modules[i])
	}
}

func (w *writer) payload(p *Payload) {
	w.u32(p.Records)
	w.u8(p.Codec)
	w.u32(p.BytesIn)
	w.u32(p.BytesOut)
	w.u8(p.MACKind)
	w.raw(p.MACEpoch[:])
	w.u64(p.MACNonce)
	w.raw(p.MAC[:])
}

func (w *writer) placement(p *Placement) {
	w.u8(uint8(KindPlacement))
	w.u64(p.Decision)
	w.where(&p.Where)
	w.str(p.Route)
	w.u64(uint64(p.Base))
	w.u32(p.Records)
	w.u32(uint32(p.LeaderEpoch))
	w.u64(uint64(p.AppendTime))
	w.u16(uint16(p.ErrorCode))
	w.flag(p.Recovered)
}

func (w *writer) control(c *Control) {
	w.u8(uint8(c.Kind))
	w.u64(c.Seq)
	w.u64(uint64(c.Time))
	w.str(c.Subject)
	w.module(&c.Module)
	w.raw(c.Who[:])
	w.str(c.Outcome)
	w.str(c.Reason)
	w.str(c.Revision)

	w.u32(uint32(len(c.Facts)))
	for i := range c.Facts {
		f := &c.Facts[i]
		w.str(f.Key)
		w.flag(f.Name != (Name{}))
		if f.Name != (Name{}) {
			w.raw(f.Name[:])
		} else {
			w.str(f.Value)
		}
	}
}

// reader reads what writer wrote. The first fault sticks, and gives zeros from then
// on. No length allocates more than the bytes that carry it.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.bad = true
		r.b = nil
		return nil
	}

	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) raw(dst []byte) { copy(dst, r.take(uint32(len(dst)))) }
func (r *reader) str() string    { return string(r.take(r.u32())) }

// flag is 0 or 1: any other byte would be a second spelling.
func (r *reader) flag() bool {
	v := r.u8()
	r.bad = r.bad || v > 1
	return v == 1
}

// count reads the length of a list whose items take at least min bytes each.
func (r *reader) count(min int) int {
	n := r.u32()
	if uint64(n)*uint64(min) > uint64(len(r.b)) {
		r.bad = true
		r.b = nil
		return 0
	}
	return int(n)
}

func (r *reader) module() (m Module) {
	m.Name = r.str()
	r.raw(m.Digest[:])
	return m
}

func (r *reader) where() (c Coord) {
	c.Cluster = r.str()
	c.Topic = r.str()
	c.Partition = r.u32()
	return c
}

func (r *reader) name() (n Name) {
	r.raw(n[:])
	return n
}

func (r *reader) decision() *Decision {
	d := &Decision{
		Seq:     r.u64(),
		Time:    int64(r.u64()),
		Consume: r.flag(),
		Outcome: r.u8(),
		Reason:  r.str(),
		Where:   r.where(),
	}
	r.raw(d.TopicID[:])

	d.Caller = r.caller()
	d.Authority = r.authority()
	d.Producer = Producer{ID: int64(r.u64()), Epoch: int16(r.u16()), Sequence: int32(r.u32())}
	d.Payload = r.payload()

	for n := r.count(10); n > 0; n-- {
		d.Rulings = append(d.Rulings, Ruling{
			Verdict: r.u8(),
			Module:  r.u8(),
			Reason:  r.str(),
			Route:   r.str(),
		})
	}

	for n := r.count(8); n > 0; n-- {
		run := Run{Ruling: r.u32(), Count: r.u32()}
		r.bad = r.bad || uint64(run.Ruling) >= uint64(len(d.Rulings))
		d.Runs = append(d.Runs, run)
	}

	return d
}

func (r *reader) caller() (c Caller) {
	c.Connection = r.u64()
	c.Principal = r.name()
	c.ClientID = r.name()
	c.Source = r.name()
	c.TLSVersion = r.str()
	c.CipherSuite = r.str()
	c.Certificate = r.name()
	return c
}

func (r *reader) authority() (a Authority) {
	a.PolicyRevision = r.str()
	r.raw(a.Grant[:])
	for n := r.count(36); n > 0; n-- {
		a.Modules = append(a.Modules, r.module())
	}
	return a
}

func (r *reader) payload() (p Payload) {
	p.Records = r.u32()
	p.Codec = r.u8()
	p.BytesIn = r.u32()
	p.BytesOut = r.u32()
	p.MACKind = r.u8()
	r.raw(p.MACEpoch[:])
	p.MACNonce = r.u64()
	r.raw(p.MAC[:])
	return p
}

func (r *reader) placement() *Placement {
	return &Placement{
		Decision:    r.u64(),
		Where:       r.where(),
		Route:       r.str(),
		Base:        int64(r.u64()),
		Records:     r.u32(),
		LeaderEpoch: int32(r.u32()),
		AppendTime:  int64(r.u64()),
		ErrorCode:   int16(r.u16()),
		Recovered:   r.flag(),
	}
}

func (r *reader) control(kind Kind) *Control {
	c := &Control{
		Kind:    kind,
		Seq:     r.u64(),
		Time:    int64(r.u64()),
		Subject: r.str(),
		Module:  r.module(),
		Who:     r.name(),
		Outcome: r.str(),
		Reason:  r.str(),
	}
	c.Revision = r.str()

	for n := r.count(9); n > 0; n-- {
		c.Facts = append(c.Facts, r.fact())
	}
	return c
}

// fact is a value or a name. A name of zeros would be a second spelling of none.
func (r *reader) fact() Fact {
	f := Fact{Key: r.str()}
	if !r.flag() {
		f.Value = r.str()
		return f
	}
	f.Name = r.name()
	r.bad = r.bad || f.Name == Name{}
	return f
}
