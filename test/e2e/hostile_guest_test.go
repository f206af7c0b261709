package e2e

import (
	"encoding/binary"
	"slices"
)

// hugeCount is fifteen bytes that claim four thousand million types.
func hugeCount() []byte {
	return append(slices.Clone(wasmMagic), 1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)
}

// tableGrower asks for a table of a thousand million entries.
func tableGrower() []byte {
	var c code
	c.op(0xd0, 0x70) // a null function
	c.i32(1 << 30)
	c.op(0xfc, 15, 0)
	return guest{transform: c, extra: [][]byte{section(4, vec([]byte{0x70, 0, 1}))}}.wasm()
}

// nested is a function of blocks inside blocks, none of which ends.
func nested(depth int) []byte {
	var c code
	for range depth {
		c.op(0x02, noResult)
	}
	return guest{transform: c}.wasm()
}

// passerThatLogs may say more than it was approved for.
func passerThatLogs() []byte {
	g := guest{imports: []string{"guardlock_log.log"}, importType: 3, transform: pass()}
	return g.wasm()
}

// exponential is n functions of which each calls the next twice.
func exponential(n int) []byte {
	var last code
	g := guest{}
	for i := range n {
		var c code
		if i < n-1 {
			c.op(0x10)
			c = binary.AppendUvarint(c, uint64(2+i+1))
			c.op(0x10)
			c = binary.AppendUvarint(c, uint64(2+i+1))
		}

		g.more = append(g.more, c)
	}

	last.op(0x10, 2)
	last = append(last, pass()...)
	g.transform = last
	return g.wasm()
}
