package audit_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// counts reads what seals went without once.
func (r *readByPage) counts(c *bytesOf) {
	for n := c.uvarint(); n > 0; n-- {
		c.uvarint()
		c.take(16)
	}

	for n := c.uvarint(); n > 0; n-- {
		c.varint()
	}
	r.check(c.u8() == 1, "a seal without counts")
	for n := c.uvarint(); n > 0; n-- {
		c.string()
		topic := c.string()
		r.counted["batches"] += int(c.uvarint())

		for m := c.uvarint(); m > 0; m-- {
			c.u8()
			r.counted[topic] += int(c.uvarint())
		}

		for range 2 {
			for m := c.uvarint(); m > 0; m-- {
				c.string()
				c.uvarint()
			}
		}
	}
}

// index reads the index of a segment, whose frames lie where it says.
func (r *readByPage) index(number int, size int, b []byte) {
	bindings := 0
	r.check(string(b[:8]) == "GLINDEX1" && binary.LittleEndian.Uint32(b[8:]) == uint32(number), "index %d: magic, number", number)
	r.check(binary.LittleEndian.Uint64(b[16:]) == uint64(size) && bytes.Equal(b[24:56], r.ended[:]), "index %d: size, chain", number)
	r.check(binary.LittleEndian.Uint32(b[68:]) == crc32.Checksum(b[:68], castagnoli), "index %d: CRC", number)
	blocks := b[72 : 72+48*binary.LittleEndian.Uint32(b[12:])]
	r.check(binary.LittleEndian.Uint32(b[64:]) == crc32.Checksum(blocks, castagnoli), "index %d: CRC of blocks", number)

	for ; len(blocks) > 0; blocks = blocks[48:] {
		at := int(binary.LittleEndian.Uint64(blocks))
		first, ok := r.frames[at]
		r.check(ok && first == binary.LittleEndian.Uint64(blocks[8:]), "index %d: no such frame at %d", number, at)
	}

	pages := b[72+48*binary.LittleEndian.Uint32(b[12:]):]
	r.check(len(pages) == 4096*int(binary.LittleEndian.Uint32(b[56:])), "index %d: %d bytes of pages", number, len(pages))
	for ; len(pages) > 0; pages = pages[4096:] {
		page := pages[:4096]
		r.check(binary.LittleEndian.Uint32(page) == crc32.Checksum(page[4:], castagnoli), "index %d: CRC of a page", number)
		c := bytesOf{r, page[6:]}
		for n := binary.LittleEndian.Uint16(page[4:]); n > 0; n-- {
			for range 4 {
				c.uvarint()
			}
			bindings++
		}

		r.check(len(bytes.Trim(c.b, "\x00")) == 0, "index %d: bytes behind the bindings", number)
	}

	r.check(bindings == r.bindings, "index %d has %d bindings, the segment %d", number, bindings, r.bindings)
}
