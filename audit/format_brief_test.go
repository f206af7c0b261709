package audit_test

import "slices"

// template is what a brief entry names first.
func (r *readByPage) template(c *bytesOf) *bytesOf {
	n := c.uvarint()
	r.check(n < uint64(len(r.strings)), "template %d is not in the dictionary", n)
	return &bytesOf{r, []byte(r.strings[n])}
}

func (r *readByPage) briefBatch(c *bytesOf) *foundBatch {
	f := &foundBatch{Offset: -1}
	t := r.template(c)
	flags := t.u8()
	f.Consumed = flags&16 != 0
	f.Outcome = t.u8()
	r.batchBy(t, f, flags)

	c.varint() // time
	if t.uvarint() != 0 {
		t.varint()
		c.varint()
	}
	t.u8() // codec

	f.Records = 1
	if flags&32 == 0 {
		f.Records = int(c.uvarint())
	}
	c.uvarint()
	if flags&64 == 0 {
		c.varint()
	}
	if flags&1 != 0 {
		c.take(16)
	}

	each := r.rulings(t)
	if len(each) == 1 {
		f.Verdicts = slices.Repeat(each, f.Records)
	} else {
		f.Verdicts = r.runs(c, each)
	}

	r.check(len(t.b) == 0, "%d bytes behind a template", len(t.b))
	return f
}

func (r *readByPage) briefBinding(c *bytesOf, first uint64) {
	t := r.template(c)
	flags := t.u8()
	t.uvarint() // error code
	t.string()
	t.string()
	t.uvarint()
	route := t.string()
	if flags&4 != 0 {
		r.leaders = append(r.leaders, t.uvarint())
	}
	r.check(len(t.b) == 0, "%d bytes behind a template", len(t.b))

	seq := first + uint64(c.varint())
	offset := int64(c.uvarint()) - 1
	records := uint64(1)
	if flags&8 == 0 {
		records = c.uvarint()
	}
	r.bound(seq, route, offset, records)
	if flags&2 != 0 {
		c.varint()
	}
}
