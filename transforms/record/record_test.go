package record

import (
	"slices"
	"testing"
)

func TestViewsReachWhatWasSentAndWhatWasMade(t *testing.T) {
	b := Batch{Data: []byte("sent")}
	made := b.Append([]byte("made"))
	empty := b.Append(nil)
	for s, want := range map[Span]string{{Off: 1, Len: 3}: "ent", {Off: 4, Len: 0}: "", made: "made", empty: "", {Off: made.Off + 2, Len: 2}: "de"} {
		if got := b.Bytes(s); string(got) != want {
			t.Errorf("%+v is %q, want %q", s, got, want)
		}
	}

	if b.Bytes(Null) != nil || b.Size() != 8 {
		t.Errorf("null is %q, size %d", b.Bytes(Null), b.Size())
	}
}

func TestOnlySentBytesOfTheSameLengthAreOverwritten(t *testing.T) {
	b := Batch{Data: []byte("some value")}
	made := b.Append([]byte("made"))
	for _, c := range []struct {
		at Span
		p  string
	}{{Span{5, 5}, "longer"}, {Span{5, 5}, "less"}, {made, "edam"}, {Null, ""}, {Span{8, 4}, "past"}} {
		if _, ok := b.Overwrite(c.at, []byte(c.p)); ok {
			t.Errorf("%q was put at %+v", c.p, c.at)
		}
	}

	if string(b.Data) != "some value" || string(b.Out) != "made" {
		t.Fatalf("a refused change left %q and %q", b.Data, b.Out)
	}
	touched, ok := b.Overwrite(Span{5, 5}, []byte("vXlYe"))
	if !ok || touched != (Span{6, 3}) || string(b.Data) != "some vXlYe" {
		t.Errorf("touched %+v, %t, %q", touched, ok, b.Data)
	}
	if touched, ok := b.Overwrite(Span{0, 4}, []byte("some")); !ok || touched.Len != 0 {
		t.Errorf("the same bytes touch %+v", touched)
	}
}

func TestJoinedSpanHoldsBoth(t *testing.T) {
	for _, c := range [][3]Span{{{2, 3}, {7, 1}, {2, 6}}, {{2, 8}, {3, 1}, {2, 8}}, {{}, {7, 1}, {7, 1}}, {{7, 1}, {}, {7, 1}}, {{}, {}, {}}} {
		if got, back := c[0].Join(c[1]), c[1].Join(c[0]); !slices.Equal([]Span{got, back}, []Span{c[2], c[2]}) {
			t.Errorf("%+v and %+v are %+v and %+v, want %+v", c[0], c[1], got, back, c[2])
		}
	}
}
