package audit

import (
	"fmt"
	"hash/crc32"
	"unsafe"
)

// Most batches differ from others of their producer in few numbers. What they share is a
// template, a string of the segment's dictionary that each of them names. A template is
// written for what was seen before, so that those who connect for one batch fill no
// dictionary, and templates take half of it at most.
const (
	maxTemplates     = maxDictStrings / 2
	maxTemplateBytes = maxDictBytes / 2
	seenTemplates    = 1 << 12 // that a writer knows again at their second coming
)

// Flags of a batch's template beside those of a batch.
const (
	briefOne  = 1 << 5 // it has one record
	briefSame = 1 << 6 // as many bytes went out as came in
)

// Flags of a binding's template.
const (
	bindRecovered = 1 << 0
	bindHasTime   = 1 << 1
	bindHasLeader = 1 << 2
	bindOne       = 1 << 3 // of one record
	bindFlags     = bindRecovered | bindHasTime | bindHasLeader | bindOne
)

// shared takes what was written from start on for a template, and gives its number.
// There is none at its first coming, and none where the dictionary has no room.
func (e *encoder) shared(start int) (id uint32, ok bool) {
	t := e.out[start:]
	e.out = e.out[:start]
	d := e.dict
	id, ok = d.ids[string(t)]

	if !ok {
		if !d.seenBefore(t) || !d.roomForTemplate(len(t)) || !d.fits(string(t)) {
			return 0, false
		}
		id = e.define(string(t))
	}

	d.noteTemplate(id)
	return id, true
}

// noteTemplate says of a string that it is a template: writers and those who learn note
// the same.
func (d *dict) noteTemplate(id uint32) {
	d.roles[id] |= roleText
	if _, known := d.templates[id]; known {
		return
	}
	if d.templates == nil {
		d.templates = make(map[uint32]struct{})
	}
	d.templates[id] = struct{}{}
	d.templateBytes += len(d.strs[id])
}

func (d *dict) roomForTemplate(size int) bool {
	return len(d.templates) < maxTemplates && d.templateBytes+size <= maxTemplateBytes
}

// seenBefore reports whether the same came before. It forgets what others came after.
func (d *dict) seenBefore(t []byte) bool {
	if d.seen == nil {
		d.seen = make([]uint32, seenTemplates)
	}

	sum := crc32.Checksum(t, castagnoli) | 1 // none is 0
	at := &d.seen[sum>>1%seenTemplates]
	before := *at == sum
	*at = sum
	return before
}

// unbrief makes an entry with a template one of the kind that it is. nonce is that of the
// brief batch before in the frame.
func (e *rawEntry) unbrief(nonce *uint64) error {
	switch e.kind {
	case kindBriefBatch:
		c := cursor{b: e.body}
		step := c.varint()
		if c.bad {
			return fmt.Errorf("reading entries: %w", errEntry)
		}
		e.kind = KindBatch
		e.body = c.b
		if step != 0 { // else it has no MAC
			*nonce += uint64(step)
			e.nonce = *nonce
		}
	case kindBriefNext:
		*nonce++
		e.kind = KindBatch
		e.nonce = *nonce
	case kindBriefBind:
		e.kind = kindBind
	default:
		return nil
	}

	e.brief = true
	return nil
}

// briefBatch writes a batch by its template; ok is false, and nothing written, where it
// has none. The nonce counts from that of the brief batch before in the frame.
func (e *encoder) briefBatch(b *BatchEntry, base int64) (ok bool) {
	if !e.brief || b.Redacted != nil || len(b.Rulings) == 1 && len(b.Runs) != 1 {
		return false
	}
	if b.nonce != 0 && b.nonce == e.nonce { // no step says that, and no log has a nonce twice
		return false
	}

	start := len(e.out)
	flags := briefFlagsOf(b)
	e.byte(flags)
	e.byte(byte(b.Outcome))
	e.str(RoleReason, b.Reason)
	e.caller(b)
	e.authority(b)
	e.uvarint(uint64(b.ProducerID + 1))
	if b.ProducerID >= 0 {
		e.varint(int64(b.ProducerEpoch))
	}
	e.byte(b.Codec)
	e.rulings(b)
	id, ok := e.shared(start)
	if !ok {
		return false
	}

	e.briefNonce(b.nonce)
	e.uvarint(uint64(id))
	e.varint(b.Time.UnixMicro() - base)
	if b.ProducerID >= 0 {
		e.varint(int64(b.BaseSequence))
	}
	if flags&briefOne == 0 {
		e.uvarint(uint64(b.Records))
	}
	e.uvarint(uint64(b.BytesIn))
	if flags&briefSame == 0 {
		e.varint(int64(b.BytesOut) - int64(b.BytesIn))
	}
	if b.nonce != 0 {
		e.out = append(e.out, b.mac[:]...)
	}
	if len(b.Rulings) > 1 {
		e.runs(b)
	}

	return true
}

// briefNonce writes the kind of a brief batch, and its nonce, which mostly is the next.
func (e *encoder) briefNonce(nonce uint64) {
	if nonce == e.nonce+1 {
		e.byte(byte(kindBriefNext))
		e.nonce = nonce
		return
	}

	e.byte(byte(kindBriefBatch))
	if nonce == 0 {
		e.varint(0)
		return
	}
	e.varint(int64(nonce - e.nonce))
	e.nonce = nonce
}

func briefFlagsOf(b *BatchEntry) byte {
	flags := batchFlagsOf(b)
	if b.Records == 1 {
		flags |= briefOne
	}
	if b.BytesOut == b.BytesIn {
		flags |= briefSame
	}
	return flags
}

// briefBatch reads a batch by its template.
func (c *cursor) briefBatch(b *BatchEntry, base int64) error {
	t := c.template()
	flags := t.byte()
	if flags&batchConsumed != 0 {
		b.Direction = Consume
	}
	b.Outcome = Outcome(t.byte())
	b.Reason = t.str(RoleReason)
	t.caller(b, flags)
	t.authority(b)
	t.producerOf(b)
	b.Codec = t.byte()
	t.rulings(b)

	b.Time = TimeOf(base + c.varint())
	if b.ProducerID >= 0 {
		b.BaseSequence = int32(c.varint())
	}
	b.Records = 1
	if flags&briefOne == 0 {
		b.Records = c.number()
	}
	b.BytesIn = c.number()
	b.BytesOut = b.BytesIn
	if flags&briefSame == 0 {
		b.BytesOut += int(c.varint())
	}
	if flags&batchHasMAC != 0 {
		c.mac(b, flags, c.nonce)
	} else if c.nonce != 0 {
		c.bad = true
	}

	switch len(b.Rulings) {
	case 0:
	case 1:
		b.Runs = append(b.Runs, Run{Count: uint32(b.Records)})
	default:
		c.runs(b)
	}

	return c.whole(b, flags&^(briefOne|briefSame), t.ok())
}

// template reads the number of a template and gives what is in it.
func (c *cursor) template() cursor {
	id := c.uvarint()
	if id >= uint64(len(c.strs)) {
		c.fail()
		return cursor{bad: true}
	}
	if c.learn != nil {
		c.learn.noteTemplate(uint32(id))
	}

	s := c.strs[id]
	return cursor{b: unsafe.Slice(unsafe.StringData(s), len(s)), strs: c.strs, learn: c.learn} // a cursor only reads
}

// briefBind writes a binding by its template; ok is false, and nothing written, where it
// has none.
func (e *encoder) briefBind(b *Bind, base int64) (ok bool) {
	if !e.brief {
		return false
	}

	start := len(e.out)
	flags := byte(0)
	if b.Recovered {
		flags |= bindRecovered
	}
	if b.AppendTime != 0 {
		flags |= bindHasTime
	}
	if b.Leader != 0 {
		flags |= bindHasLeader
	}
	if b.count == 1 {
		flags |= bindOne
	}

	e.byte(flags)
	e.uvarint(uint64(uint16(b.ErrorCode)))
	e.str(RoleCluster, b.Cluster)
	e.str(RoleTopic, b.Topic)
	e.uvarint(uint64(uint32(b.Partition)))
	e.str(RoleRoute, b.Route)
	if b.Leader != 0 {
		e.uvarint(uint64(b.Leader - 1))
	}
	id, ok := e.shared(start)
	if !ok {
		return false
	}

	e.byte(byte(kindBriefBind))
	e.uvarint(uint64(id))
	e.varint(int64(b.Seq - e.first))
	e.uvarint(uint64(b.Base + 1))
	if b.count != 1 {
		e.uvarint(uint64(b.count))
	}
	if b.AppendTime != 0 {
		e.varint(b.AppendTime - base)
	}

	return true
}

// briefBind reads a binding by its template.
func (c *cursor) briefBind(b *Bind, base int64) error {
	t := c.template()
	flags := t.byte()
	code := t.uvarint()
	*b = Bind{Coord: t.coord(), Route: t.str(RoleRoute), ErrorCode: int16(uint16(code)), Recovered: flags&bindRecovered != 0}
	if flags&bindHasLeader != 0 {
		b.Leader = LeaderEpochOf(int32(t.number()))
	}

	b.Seq = c.first + uint64(c.varint())
	b.Base = int64(c.uvarint()) - 1
	b.count = 1
	if flags&bindOne == 0 {
		b.count = c.number()
	}
	if flags&bindHasTime != 0 {
		b.AppendTime = base + c.varint()
		c.bad = c.bad || b.AppendTime == 0
	}

	if !c.ok() || !t.ok() || b.Base < -1 || code > 1<<16-1 || flags&^bindFlags != 0 {
		return errBinding
	}
	return nil
}

// briefWhereabouts is whereabouts of a binding by its template.
func (c *cursor) briefWhereabouts(base int64) (w whereabouts, ok bool) {
	t := c.template()
	flags := t.byte()
	code := t.uvarint()
	w.refs, ok = t.coordRefs()
	route := t.uvarint()
	if flags&bindHasLeader != 0 {
		t.number()
	}

	w.seq = c.first + uint64(c.varint())
	w.place.base = int64(c.uvarint()) - 1
	w.place.count = 1
	if flags&bindOne == 0 {
		w.place.count = uint32(c.number())
	}
	if flags&bindHasTime != 0 {
		c.bad = base+c.varint() == 0 || c.bad
	}
	w.refused = route == refEmpty && code != 0

	return w, ok && t.known(route) && t.ok() && c.ok() && w.place.base >= -1 && code <= 1<<16-1 && flags&^bindFlags == 0
}
