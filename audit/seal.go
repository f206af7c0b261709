package audit

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/guardlock/guardlock/audit/segment"
)

// Coord names a partition.
type Coord struct {
	Cluster   string
	Topic     string
	Partition int32
}

type offsetRange struct{ first, last int64 }

// Summary says what a segment holds, so that a query can pass over it. The
// writer keeps it as it writes, replay and verification as they read; all must
// come to the same bytes.
type Summary struct {
	firstSeq  uint64
	NextSeq   uint64
	MinTime   int64 // µs; min > max when the segment holds no entry
	MaxTime   int64
	Kinds     uint64 // bit for each Kind
	Outcomes  uint64 // bit for each Outcome and Verdict
	batches   uint64
	decisions uint64
	ranges    map[Coord]offsetRange // of bound offsets
	places    []Coord               // of ranges as the seal lists them; set when it is read
	clusters  []string              // of ranges, each once
	late      []Bind                // bindings of batches in earlier segments
	open      []uint64              // batches without a binding, of this and earlier segments
	dict      *dict

	laterFacts
}

// laterFacts are not in seals from before they had a place there.
type laterFacts struct {
	older   bool // the seal is such a one
	opened  []epochAt
	refused []uint64 // batches that bindings in this segment tell an error of, in the order of the bindings
	tallies tallies
}

func newSummary(firstSeq uint64, d *dict) *Summary {
	return &Summary{
		firstSeq: firstSeq,
		NextSeq:  firstSeq,
		MinTime:  math.MaxInt64,
		MaxTime:  math.MinInt64,
		ranges:   make(map[Coord]offsetRange),
		dict:     d,
	}
}

func (s *Summary) noteTime(t int64) {
	s.NextSeq++
	s.MinTime = min(s.MinTime, t)
	s.MaxTime = max(s.MaxTime, t)
}

func (s *Summary) noteBatch(b *BatchEntry) {
	s.noteTime(b.Time.UnixMicro())
	s.Kinds |= 1 << KindBatch
	s.Outcomes |= 1 << b.Outcome

	for i := range b.Rulings {
		s.Outcomes |= 1 << b.Rulings[i].Verdict
	}
	s.batches++
	s.decisions += uint64(b.Decisions())
	s.tallies.note(b)
}

func (s *Summary) noteControl(c *ControlEntry) {
	s.noteTime(c.Time.UnixMicro())
	s.Kinds |= 1 << c.Kind
}

func (s *Summary) noteBind(b *Bind) {
	if b.Base >= 0 && b.count > 0 {
		last := b.Base + int64(b.count) - 1
		s.extend(b.Coord, offsetRange{b.Base, last})
	}

	if b.Seq < s.firstSeq {
		s.late = append(s.late, *b)
	}
	if b.Route == "" && b.ErrorCode != 0 {
		s.refused = append(s.refused, b.Seq)
	}
}

// Tallies counts the decisions of the segment by topic, as they were made; ok is
// false where the seal does not hold the counts. Batches that were answered with an
// error count as decided; see Reader.Refused.
func (s *Summary) Tallies() (list []*Tally, ok bool) {
	return s.tallies.list, !s.older && !s.tallies.tooMany
}

// Entries are the sequence numbers of the segment: from first on, below next.
func (s *Summary) Entries() (first, next uint64) { return s.firstSeq, s.NextSeq }

// Controls is the number of control entries.
func (s *Summary) Controls() int64 { return int64(s.NextSeq - s.firstSeq - s.batches) }

func (s *Summary) extend(at Coord, r offsetRange) {
	have, ok := s.ranges[at]
	if ok {
		r = offsetRange{min(r.first, have.first), max(r.last, have.last)}
	} else if !slices.Contains(s.clusters, at.Cluster) {
		s.clusters = append(s.clusters, at.Cluster)
	}
	s.ranges[at] = r
}

// covers reports whether a binding may cover the coordinate. No cluster stands
// for any.
func (s *Summary) covers(at Coord, offset int64) bool {
	clusters := s.clusters
	if at.Cluster != "" {
		clusters = []string{at.Cluster}
	}
	return slices.ContainsFunc(clusters, func(cluster string) bool {
		r, ok := s.ranges[Coord{cluster, at.Topic, at.Partition}]
		return ok && offset >= r.first && offset <= r.last
	})
}

// is reports whether c is what at asks for: no cluster stands for any.
func (c Coord) is(at Coord) bool {
	return c.Partition == at.Partition && c.Topic == at.Topic && (at.Cluster == "" || c.Cluster == at.Cluster)
}

// compare gives the order of coordinates in a seal.
func (c Coord) compare(d Coord) int {
	return cmp.Or(cmp.Compare(c.Cluster, d.Cluster), cmp.Compare(c.Topic, d.Topic), cmp.Compare(c.Partition, d.Partition))
}

// Has reports whether a string may have been seen in the given place.
func (s *Summary) Has(r Role, str string) bool {
	return s.Any(r, func(have string) bool { return have == str })
}

// Any reports whether a string that fits may have been seen in the given place.
func (s *Summary) Any(r Role, fits func(string) bool) bool {
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
// whole dictionary, so that a reader needs nothing else to know the strings. older
// asks for the form that seals once had.
func (s *Summary) seal(older bool) []byte {
	e := encoder{dict: s.dict}
	e.byte(byte(kindSeal))
	e.uvarint(uint64(s.dict.overflow))
	e.uvarint(uint64(len(s.dict.strs)))

	for i, str := range s.dict.strs {
		e.uvarint(uint64(s.dict.roles[i]))
		e.inPlace(str)
	}

	e.uvarint(s.firstSeq)
	e.varint(s.MinTime)
	e.varint(s.MaxTime)
	e.uvarint(s.Kinds)
	e.uvarint(s.Outcomes)
	e.uvarint(s.batches)
	e.uvarint(s.decisions)
	e.partitions(s.ranges)
	e.openAndLate(s)

	if !older {
		e.opened(s)
		e.refused(s)
		e.tallies(&s.tallies)
	}

	body := e.out
	p := encoder{}
	p.uvarint(s.NextSeq)
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

func (e *encoder) coord(at Coord) {
	e.plain(at.Cluster)
	e.plain(at.Topic)
	e.uvarint(uint64(uint32(at.Partition)))
}

func (e *encoder) partitions(ranges map[Coord]offsetRange) {
	keys := slices.SortedFunc(maps.Keys(ranges), Coord.compare)
	e.uvarint(uint64(len(keys)))
	for _, k := range keys {
		r := ranges[k]
		e.coord(k)
		e.uvarint(uint64(r.first))
		e.uvarint(uint64(r.last - r.first))
	}
}

func (e *encoder) openAndLate(s *Summary) {
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
		e.uvarint(l.Seq)
		e.coord(l.Coord)
		e.uvarint(uint64(l.Base + 1))
		e.uvarint(uint64(l.count))
		e.varint(l.AppendTime)
		e.uvarint(uint64(uint16(l.ErrorCode)))
		e.byte(boolByte(l.Recovered))
		e.plain(l.Route)
	}
}

func (e *encoder) opened(s *Summary) {
	e.uvarint(uint64(len(s.opened)))
	for _, o := range s.opened {
		e.uvarint(o.seq)
		e.out = append(e.out, o.epoch[:]...)
	}
}

func (e *encoder) refused(s *Summary) {
	e.uvarint(uint64(len(s.refused)))
	prev := uint64(0)
	for _, seq := range s.refused {
		e.varint(int64(seq - prev))
		prev = seq
	}
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// parseSeal reads a seal frame's payload.
func parseSeal(b []byte) (*Summary, error) {
	p, err := parsePayload(b)
	if err != nil {
		return nil, err
	}

	var s *Summary
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

func parseSealBody(b []byte, nextSeq uint64) (*Summary, error) {
	c := cursor{b: b}
	d := newDict()
	d.overflow = Role(c.uvarint())

	for n := c.count(); n > 0 && !c.bad; n-- {
		r := Role(c.uvarint())
		s := string(c.bytes(c.uvarint()))
		if c.bad || s == "" || !d.fits(s) {
			return nil, errEntry
		}
		d.roles[d.define(s)] = r
	}

	c.strs = d.strs
	s := newSummary(c.uvarint(), d)
	s.NextSeq = nextSeq
	s.MinTime = c.varint()
	s.MaxTime = c.varint()
	s.Kinds = c.uvarint()
	s.Outcomes = c.uvarint()
	s.batches = c.uvarint()
	s.decisions = c.uvarint()
	c.partitions(s)
	c.openAndLate(s)

	if s.older = !c.bad && len(c.b) == 0; !s.older {
		c.opened(s)
		c.refused(s)
		s.tallies = c.tallies()
	}

	if !c.ok() || s.firstSeq == 0 || s.NextSeq < s.firstSeq {
		return nil, errEntry
	}
	return s, nil
}

func (c *cursor) partitions(s *Summary) {
	for n := c.count(); n > 0 && !c.bad; n-- {
		k := c.coord()
		first := int64(c.uvarint())
		more := int64(c.uvarint())
		if first < 0 || more < 0 || first+more < first {
			c.bad = true
			return
		}

		s.extend(k, offsetRange{first, first + more})
		s.places = append(s.places, k)
	}
}

func (c *cursor) openAndLate(s *Summary) {
	prev := uint64(0)
	for n := c.count(); n > 0 && !c.bad; n-- {
		prev += c.uvarint()
		s.open = append(s.open, prev)
	}

	for n := c.count(); n > 0 && !c.bad; n-- {
		l := Bind{Seq: c.uvarint(), Coord: c.coord()}
		l.Base = int64(c.uvarint()) - 1
		l.count = c.number()
		l.AppendTime = c.varint()
		l.ErrorCode = int16(uint16(c.uvarint()))
		l.Recovered = c.byte() == 1
		l.Route = c.str(RoleRoute)
		s.late = append(s.late, l)
	}
}

func (c *cursor) opened(s *Summary) {
	for n := c.count(); n > 0 && !c.bad; n-- {
		o := epochAt{seq: c.uvarint()}
		copy(o.epoch[:], c.bytes(uint64(len(o.epoch))))
		s.opened = append(s.opened, o)
	}
}

func (c *cursor) refused(s *Summary) {
	seq := uint64(0)
	for n := c.count(); n > 0 && !c.bad; n-- {
		seq += uint64(c.varint())
		s.refused = append(s.refused, seq)
	}
}

// sealOf reads a finished segment's seal without reading the segment. key is the
// one that the header names, or nil.
func sealOf(w *segment.Window, h *segment.Header, key *segment.Key) (*sealed, error) {
	f, err := segment.SealFrame(w, h)
	if err != nil {
		return nil, err
	}
	if !f.Under(h, key) {
		return nil, segment.Corrupt(h.Number, f.Off, "seal was not written under the audit key")
	}

	s, err := parseSeal(f.Payload)
	if err != nil {
		return nil, segment.Corrupt(h.Number, f.Off, "%w", err)
	}
	if s.firstSeq != h.FirstSeq {
		return nil, segment.Corrupt(h.Number, f.Off, "seal is that of another segment")
	}

	return &sealed{
		hdr:   *h,
		seal:  s,
		chain: f.Chain,
		at:    f.Off,
		size:  f.End() + segment.FooterSize,
	}, nil
}
