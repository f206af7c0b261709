package segment

import (
	"bytes"
	"testing"
)

func testChainKey() *Key { return NewKey([8]byte{1}, []byte("secret")) }

// An anchor that reads is one that its key would have written, tag aside.
func FuzzAnchor(f *testing.F) {
	a := Anchor{First: 3, Version: Current, NextSeq: 99, Open: []uint64{4, 17}}
	f.Add(a.encode(testChainKey()))
	a.Open = nil
	f.Add(a.encode(testChainKey()))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnchor(b)
		if err != nil {
			return
		}

		key := testChainKey()
		key.ID = a.KeyID
		again := a.encode(key)
		if len(again) != len(b) || !bytes.HasPrefix(again, a.tagged) {
			t.Fatalf("%x reads as %+v, that is written as %x", b, a, again)
		}
	})
}

// A mark that reads is one of those in the places, and the one further on.
func FuzzMarks(f *testing.F) {
	var places [markStep + markSize]byte
	for i, m := range []Mark{{Segment: 1, End: 300, NextSeq: 7}, {Segment: 1, End: 400, NextSeq: 9}} {
		var b [markSize]byte
		m.encode(&b, testChainKey())
		copy(places[i*markStep:], b[:])
	}

	f.Add(places[:])
	f.Add(places[:markSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseMarks(b)
		for at := 0; at < len(b); at += markStep {
			if one, whole := parseMark(b[at:]); whole && (!ok || one.behind(&m)) {
				t.Fatalf("%+v lies behind %+v, which was chosen (%v)", one, m, ok)
			}
		}
	})
}
