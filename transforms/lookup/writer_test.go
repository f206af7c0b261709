package lookup

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"
)

// buildMMDB writes a MaxMind DB file as its specification says, with a tree of 24-bit
// records, for tests. Networks are IPv6, or IPv4 in the first 32 bits of ::/96.
func buildMMDB(t testing.TB, epoch uint64, networks map[string]any) []byte {
	t.Helper()
	tree := [][2]node{{}}
	var data bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		prefix := netip.MustParsePrefix(name)
		bits := prefix.Bits()
		address := prefix.Addr().As16()
		if prefix.Addr().Is4() {
			clear(address[:12])
			bits += 96
		}

		at := 0
		for n := range bits - 1 {
			side := &tree[at][address[n/8]>>(7-n%8)&1]
			if side.child == 0 {
				tree = append(tree, [2]node{})
				side = &tree[at][address[n/8]>>(7-n%8)&1]
				side.child = len(tree) - 1
			}
			at = side.child
		}

		last := bits - 1
		tree[at][address[last/8]>>(7-last%8)&1].data = data.Len() + 1
		data.Write(encodeMMDB(networks[name]))
	}

	var out bytes.Buffer
	for _, n := range tree {
		for _, side := range n {
			record := len(tree) // nothing is there
			switch {
			case side.data > 0:
				record = len(tree) + 16 + side.data - 1
			case side.child > 0:
				record = side.child
			}
			out.Write([]byte{byte(record >> 16), byte(record >> 8), byte(record)})
		}
	}

	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	out.Write(encodeMMDB(map[string]any{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": epoch,
		"database_type": "Guardlock-Test", "description": map[string]any{"en": "made for tests"}, "ip_version": uint16(6),
		"languages": []any{"en"}, "node_count": uint32(len(tree)), "record_size": uint16(24),
	}))

	return out.Bytes()
}

type node struct{ child, data int }

// encodeMMDB writes a value of the data section. Types above 7 have a byte of their own.
func encodeMMDB(value any) []byte {
	control := func(kind, size int) []byte {
		var out []byte
		extended := kind > 7
		first := byte(kind << 5)
		if extended {
			first = 0
		}
		switch {
		case size < 29:
			out = append(out, first|byte(size))
		default:
			out = append(out, first|29)
		}
		if extended {
			out = append(out, byte(kind-7))
		}
		if size >= 29 {
			out = append(out, byte(size-29))
		}
		return out
	}
	number := func(kind int, v uint64) []byte {
		digits := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, v), "\x00")
		return append(control(kind, len(digits)), digits...)
	}

	switch v := value.(type) {
	case string:
		return append(control(2, len(v)), v...)
	case uint16:
		return number(5, uint64(v))
	case uint32:
		return number(6, uint64(v))
	case uint64:
		return number(9, v)
	case bool:
		return control(14, map[bool]int{true: 1}[v])
	case []any:
		out := control(11, len(v))
		for _, item := range v {
			out = append(out, encodeMMDB(item)...)
		}
		return out
	case map[string]any:
		out := control(7, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out = append(out, encodeMMDB(key)...)
			out = append(out, encodeMMDB(v[key])...)
		}
		return out
	}

	panic("no such type")
}
