package audit

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// coord names a partition.
type coord struct {
	cluster   string
	topic     string
	partition int32
}

type offsetRange struct{ first, last int64 }

// summary says what a segment holds, so that a query can pass over it. The
// writer keeps it as it writes, replay and verification as they read; all must
// come to the same bytes.
type summary struct {
	firstSeq  uint64
	nextSeq   uint64
	minTime   int64 // µs; min > max when the segment holds no entry
	maxTime   int64
	kinds     uint64 // bit for each Kind
	outcomes  uint64 // bit for each Outcome and Verdict
	batches   uint64
	decisions uint64
	ranges    map[coord]offsetRange // of bound offsets
	clusters  []string              // of ranges, each once
	late      []bind                // bindings of batches in earlier segments
	open      []uint64              // batches without a binding, of this and earlier segments
	dict      *dict
}

func newSummary(firstSeq uint64, d *dict) *summary {
	return &summary{
		firstSeq: firstSeq,
		nextSeq:  firstSeq,
		minTime:  math.MaxInt64,
		maxTime:  math.MinInt64,
		ranges:   make(map[coord]offsetRange),
		dict:     d,
	}
}

func (s *summary) noteTime(t int64) {
	s.nextSeq++
	s.minTime = min(s.minTime, t)
	s.maxTime = max(s.maxTime, t)
}

func (s *summary) noteBatch(b *BatchEntry) {
	s.noteTime(b.Time.UnixMicro())
	s.kinds |= 1 << KindBatch
	s.outcomes |= 1 << b.Outcome

	for i := range b.Rulings {
		s.outcomes |= 1 << b.Rulings[i].Verdict
	}
	s.batches++
	s.decisions += uint64(b.decisions())
}

func (s *summary) noteControl(c *ControlEntry) {
	s.noteTime(c.Time.UnixMicro())
	s.kinds |= 1 << c.Kind
}

func (s *summary) noteBind(b *bind) {
	if b.base >= 0 && b.count > 0 {
		last := b.base + int64(b.count) - 1
		s.extend(b.coord, offsetRange{b.base, last})
	}
	if b.seq < s.firstSeq {
		s.late = append(s.late, *b)
	}
}

func (s *summary) extend(at coord, r offsetRange) {
	have, ok := s.ranges[at]
	if ok {
		r = offsetRange{min(r.first, have.first), max(r.last, have.last)}
	} else if !slices.Contains(s.clusters, at.cluster) {
		s.clusters = append(s.clusters, at.cluster)
	}
	s.ranges[at] = r
}

// covers reports whether a binding may cover the coordinate. No cluster stands
// for any.
func (s *summary) covers(at coord, offset int64) bool {
	clusters := s.clusters
	if at.cluster != "" {
		clusters = []string{at.cluster}
	}
	return slices.ContainsFunc(clusters, func(cluster string) bool {
		r, ok := s.ranges[coord{cluster, at.topic, at.partition}]
		return ok && offset >= r.first && offset <= r.last
	})
}

// is reports whether c is what at asks for: no cluster stands for any.
func (c coord) is(at coord) bool {
	return c.partition == at.partition && c.topic == at.topic && (at.cluster == "" || c.cluster == at.cluster)
}

// has reports whether a string may have been seen in the given place.
func (s *summary) has(r role, str string) bool {
	return s.any(r, func(have string) bool { return have == str })
}

// any reports whether a string that fits may have been seen in the given place.
func (s *summary) any(r role, fits func(string) bool) bool {
	if s.dict.overflow&r != 0 {
		return true
	}
	for i, have := range s.dict.strs {
		if s.dict.roles[i]&r != 0 && fits(have) {
			return true
		}
	}

	return false
}

// seal gives the payload of the seal frame. The body begins with the segment's
// whole dictionary, so that a reader needs nothing else to know the strings.
func (s *summary) seal() []byte {
	e := encoder{dict: s.dict}
	e.byte(byte(kindSeal))
	e.uvarint(uint64(s.dict.overflow))
	e.uvarint(uint64(len(s.dict.strs)))

	for i, str := range s.dict.strs {
		e.uvarint(uint64(s.dict.roles[i]))
		e.inPlace(str)
	}

	e.uvarint(s.firstSeq)
	e.varint(s.minTime)
	e.varint(s.maxTime)
	e.uvarint(s.kinds)
	e.uvarint(s.outcomes)
	e.uvarint(s.batches)
	e.uvarint(s.decisions)
	e.partitions(s.ranges)
	e.openAndLate(s)
	body := e.out
	p := encoder{}
	p.uvarint(s.nextSeq)
	p.varint(0)
	p.uvarint(0)
	p.inPlace(string(body))

	return p.out
}

// plain writes a string without touching the dictionary, which is already out.
func (e *encoder) plain(s string) {
	if s == "" {
		e.byte(refEmpty)
		return
	}

	if id, ok := e.dict.ids[s]; ok {
		e.uvarint(uint64(id) + refFirst)
		return
	}

	e.byte(refInPlace)
	e.inPlace(s)
}

func (e *encoder) coord(at coord) {
	e.plain(at.cluster)
	e.plain(at.topic)
	e.uvarint(uint64(uint32(at.partition)))
}

func (e *encoder) partitions(ranges map[coord]offsetRange) {
	keys := slices.SortedFunc(maps.Keys(ranges), func(a, b coord) int {
		return cmp.Or(cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	e.uvarint(uint64(len(keys)))
	for _, k := range keys {
		r := ranges[k]
		e.coord(k)
		e.uvarint(uint64(r.first))
		e.uvarint(uint64(r.last - r.first))
	}
}

func (e *encoder) openAndLate(s *summary) {
	slices.Sort(s.open)
	e.uvarint(uint64(len(s.open)))
	prev := uint64(0)
	for _, seq := range s.open {
		e.uvarint(seq - prev)
		prev = seq
	}

	e.uvarint(uint64(len(s.late)))
	for i := range s.late {
		l := &s.late[i]
		e.uvarint(l.seq)
		e.coord(l.coord)
		e.uvarint(uint64(l.base + 1))
		e.uvarint(uint64(l.count))
		e.varint(l.appendTime)
		e.uvarint(uint64(uint16(l.errorCode)))
		e.byte(boolByte(l.recovered))
		e.plain(l.route)
	}
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// parseSeal reads a seal frame's payload.
func parseSeal(b []byte) (*summary, error) {
	p, err := parsePayload(b)
	if err != nil {
		return nil, err
	}

	var s *summary
	err = p.each(func(r rawEntry) error {
		if r.kind != kindSeal || s != nil {
			return errEntry
		}
		s, err = parseSealBody(r.body, p.firstSeq)
		return err
	})
	if err != nil || s == nil {
		return nil, fmt.Errorf("reading seal: %w", errEntry)
	}

	return s, nil
}

func parseSealBody(b []byte, nextSeq uint64) (*summary, error) {
	c := cursor{b: b}
	d := newDict()
	d.overflow = role(c.uvarint())

	for n := c.count(); n > 0 && !c.bad; n-- {
		r := role(c.uvarint())
		s := string(c.bytes(c.uvarint()))
		if c.bad || s == "" || !d.fits(s) {
			return nil, errEntry
		}
		d.roles[d.define(s)] = r
	}

	c.strs = d.strs
	s := newSummary(c.uvarint(), d)
	s.nextSeq = nextSeq
	s.minTime, s.maxTime = c.varint(), c.varint()
	s.kinds, s.outcomes = c.uvarint(), c.uvarint()
	s.batches, s.decisions = c.uvarint(), c.uvarint()
	c.partitions(s)
	c.openAndLate(s)

	if !c.ok() || s.firstSeq == 0 || s.nextSeq < s.firstSeq {
		return nil, errEntry
	}
	return s, nil
}

func (c *cursor) partitions(s *summary) {
	for n := c.count(); n > 0 && !c.bad; n-- {
		k := c.coord()
		first := int64(c.uvarint())
		more := int64(c.uvarint())
		if first < 0 || more < 0 || first+more < first {
			c.bad = true
			return
		}

		s.extend(k, offsetRange{first, first + more})
	}
}

func (c *cursor) openAndLate(s *summary) {
	prev := uint64(0)
	for n := c.count(); n > 0 && !c.bad; n-- {
		prev += c.uvarint()
		s.open = append(s.open, prev)
	}

	for n := c.count(); n > 0 && !c.bad; n-- {
		l := bind{seq: c.uvarint(), coord: c.coord()}
		l.base, l.count = int64(c.uvarint())-1, c.number()
		l.appendTime, l.errorCode = c.varint(), int16(uint16(c.uvarint()))
		l.recovered, l.route = c.byte() == 1, c.str(roleRoute)
		s.late = append(s.late, l)
	}
}

// sealOf reads a finished segment's seal without reading the segment.
func sealOf(w *segment.Window, h *segment.Header) (*summary, segment.Chain, error) {
	f, err := segment.SealFrame(w, h)
	if err != nil {
		return nil, segment.Chain{}, err
	}

	s, err := parseSeal(f.Payload)
	if err != nil {
		return nil, segment.Chain{}, segment.Corrupt(h.Number, f.Off, "%w", err)
	}
	if s.firstSeq != h.FirstSeq {
		return nil, segment.Chain{}, segment.Corrupt(h.Number, f.Off, "seal is that of another segment")
	}

	return s, f.Chain, nil
}
