package transforms

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// replacementAt is where the guests of this file have their new bytes: "0123", in the
// arena, behind the list of edits.
const replacementAt = 256

// asmEdit is one edit that a guest makes: n bytes from at on become the first of
// "0123", or those at a pointer of the test's own.
type asmEdit struct {
	at, n  int32
	newLen int32
	to     []byte // code that pushes the pointer; nil for replacementAt
}

// arenaPlus pushes a place in the arena.
func arenaPlus(off int32) []byte { return cat(frameField(frameArena), i32c(off), op(opI32Add)) }

// editing gives edits instead of the value of output descriptor n.
func editing(n int, list ...asmEdit) []byte {
	code := cat(arenaPlus(replacementAt), i32c('0'|'1'<<8|'2'<<16|'3'<<24), store32(0))
	for k, e := range list {
		to := e.to
		if to == nil {
			to = arenaPlus(replacementAt)
		}

		at := uint32(k * editSize)
		code = cat(code, frameField(frameArena), i32c(e.at), store32(at+editAt), frameField(frameArena), i32c(e.n), store32(at+editLen),
			frameField(frameArena), to, store32(at+editNew), frameField(frameArena), i32c(e.newLen), store32(at+editNewLen))
	}

	return cat(code, setOut(n, descFlags, flagEdits), frameField(frameOutDescs), frameField(frameArena), store32(uint32(n*descriptorSize+descValue)),
		setOut(n, descValue+4, int32(len(list)*editSize)))
}

func TestEditsMakeTheValue(t *testing.T) {
	for name, c := range map[string]struct {
		edits   []asmEdit
		want    string
		inPlace bool
	}{
		"SameLength":       {[]asmEdit{{at: 6, n: 4, newLen: 4}}, "value 0123", true},
		"TwoOfSameLength":  {[]asmEdit{{at: 0, n: 1, newLen: 1}, {at: 8, n: 2, newLen: 2}}, "0alue ze01", true},
		"Shorter":          {[]asmEdit{{at: 5, n: 5, newLen: 1}}, "value0", false},
		"Longer":           {[]asmEdit{{at: 0, n: 1, newLen: 4}}, "0123alue zero", false},
		"Inserted":         {[]asmEdit{{at: 0, newLen: 2}, {at: 10, newLen: 3}}, "01value zero012", false},
		"TakenOut":         {[]asmEdit{{at: 0, n: 6}}, "zero", false},
		"AllTakenOut":      {[]asmEdit{{at: 0, n: 10}}, "", false},
		"EvensOut":         {[]asmEdit{{at: 0, n: 2, newLen: 1}, {at: 8, n: 1, newLen: 2}}, "0lue ze01o", true},
		"Adjacent":         {[]asmEdit{{at: 0, n: 2, newLen: 2}, {at: 2, n: 2, newLen: 2}}, "0101e zero", true},
		"FromTheInput":     {[]asmEdit{{at: 0, n: 2, newLen: 5, to: cat(frameField(frameInDescs), load32(descValue))}}, "valuelue zero", false},
		"WithAnIdleOne":    {[]asmEdit{{at: 3}, {at: 6, n: 1, newLen: 1}}, "value 0ero", true},
		"BytesInTheModule": {[]asmEdit{{at: 6, n: 4, newLen: 4, to: i32c(0)}}, "value \x00\x00\x00\x00", true},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := runGuest(t, asm{transform: tampered(editing(0, c.edits...))})
			if err != nil {
				t.Fatal(err)
			}

			r := b.Records[0]
			if got := string(b.Bytes(r.Value)); got != c.want || r.Verdict != record.Modified || r.InPlace() != c.inPlace {
				t.Errorf("%s %q, in place %t", r.Verdict, got, r.InPlace())
			}
			if string(b.Bytes(r.Key)) != "k0" || b.Records[1].Verdict != record.Passed {
				t.Errorf("key %q, the next record %s", b.Bytes(r.Key), b.Records[1].Verdict)
			}
		})
	}
}

func TestEditsThatChangeNothingPass(t *testing.T) {
	value := cat(frameField(frameInDescs), load32(descValue))
	for name, edits := range map[string][]asmEdit{
		"None":    nil,
		"Idle":    {{at: 0}, {at: 10}},
		"Same":    {{at: 0, n: 10, newLen: 10, to: value}},
		"PutBack": {{at: 2, n: 1}, {at: 3, newLen: 1, to: cat(value, i32c(2), op(opI32Add))}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := runGuest(t, asm{transform: tampered(editing(0, edits...))})
			if err != nil {
				t.Fatal(err)
			}

			if r := b.Records[0]; b.Changed || r.Verdict != record.Passed || len(b.Out) > 0 || string(b.Bytes(r.Value)) != "value zero" {
				t.Errorf("%s with %q", r.Verdict, b.Bytes(r.Value))
			}
		})
	}
}

// What the guest did to its own copy of the value is not what the edits are of.
func TestEditsAreOfTheValueAsItCame(t *testing.T) {
	b, err := runGuest(t, asm{transform: cat(copyDescs(), atInput('V'), editing(0, asmEdit{at: 6, n: 4, newLen: 4}), count())})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b.Bytes(b.Records[0].Value)); got != "value 0123" {
		t.Errorf("got %q", got)
	}
}

func TestHostileEditsAreRefused(t *testing.T) {
	one := asmEdit{at: 0, n: 1, newLen: 1}
	for _, c := range []struct {
		rule    string
		changes []byte
		want    error
	}{
		{"Overlapping", editing(0, asmEdit{at: 0, n: 3}, asmEdit{at: 2, n: 3}), errEdits},
		{"Descending", editing(0, asmEdit{at: 5, n: 1}, asmEdit{at: 1, n: 1}), errEdits},
		{"TwiceAtOnePlace", editing(0, asmEdit{at: 5, newLen: 1}, asmEdit{at: 5, newLen: 1}), errEdits},
		{"BehindTheValue", editing(0, asmEdit{at: 11, newLen: 1}), errEdits},
		{"PastTheEnd", editing(0, asmEdit{at: 8, n: 3}), errEdits},
		{"LengthOverflows", editing(0, asmEdit{at: 8, n: -8, newLen: 4}), errEdits},
		{"PlaceOverflows", editing(0, asmEdit{at: -1, n: 1, newLen: 1}), errEdits},
		{"LaterOneIsBad", editing(0, asmEdit{at: 0, n: 4, newLen: 4}, asmEdit{at: 9, n: 4, newLen: 4}), errEdits},
		{"NewBytesOutOfMemory", editing(0, asmEdit{newLen: 4, to: i32c(-2)}), errPointer},
		{"NewLengthOverflows", editing(0, asmEdit{newLen: -1, to: i32c(-1)}), errPointer},
		{"NewBytesAboveLimit", editing(0, asmEdit{newLen: 1 << 20, to: i32c(4096)}), errRoom},
		{"ListOutOfMemory", cat(editing(0, one), setOut(0, descValue, -16)), errPointer},
		{"ListOverflows", cat(editing(0, one), setOut(0, descValue+4, -16)), errPointer},
		{"ListNotWhole", cat(editing(0, one), setOut(0, descValue+4, 15)), errEdits},
		{"MoreThanTheValueHasBytes", cat(editing(0, one), setOut(0, descValue+4, 12*editSize)), errEdits},
		{"AndNull", cat(editing(0, one), setOut(0, descFlags, flagEdits|flagValueNull)), errFlags},
		{"OfNull", editing(2, one), errEdits},
		{"OfNullAndNone", editing(2), errEdits},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := runGuest(t, asm{pages: 64, transform: tampered(c.changes)})
			wantKind(t, err, OutputInvalid)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// The second module answers with the pointers that the first one used, which in its
// own memory hold nothing: it reads nothing of the first one's.
func TestEditsAreOfTheModulesOwnMemory(t *testing.T) {
	runtime := newRuntime(t, Config{})
	first := load(t, runtime, Spec{Name: "first", Wasm: asm{transform: tampered(editing(0, asmEdit{at: 6, n: 4, newLen: 4}))}.wasm()})
	list := cat(setOut(0, descFlags, flagEdits), frameField(frameOutDescs), frameField(frameArena), store32(descValue), setOut(0, descValue+4, editSize))
	second := load(t, runtime, Spec{Name: "second", Wasm: asm{transform: tampered(list)}.wasm()})

	b := threeRecords()
	if err := NewChain(first, second).Run(t.Context(), b, Origin{Topic: "orders"}); err != nil {
		t.Fatal(err)
	}
	if r := b.Records[0]; string(b.Bytes(r.Value)) != "value 0123" || r.Module != 0 {
		t.Errorf("module %d made %q", r.Module, b.Bytes(r.Value))
	}
}

// What an earlier module made lies elsewhere than what was sent; edits find it there.
func TestEditsOfEditsOfASecondModule(t *testing.T) {
	runtime := newRuntime(t, Config{})
	grow := load(t, runtime, Spec{Name: "grow", Wasm: asm{transform: tampered(editing(0, asmEdit{at: 0, newLen: 2}))}.wasm()})
	mask := load(t, runtime, Spec{Name: "mask", Wasm: asm{transform: tampered(editing(0, asmEdit{at: 8, n: 4, newLen: 4}))}.wasm()})

	b := threeRecords()
	if err := NewChain(grow, mask, grow).Run(t.Context(), b, Origin{Topic: "orders"}); err != nil {
		t.Fatal(err)
	}
	if r := b.Records[0]; string(b.Bytes(r.Value)) != "0101value 0123" || r.Verdict != record.Modified {
		t.Errorf("%s %q", r.Verdict, b.Bytes(r.Value))
	}
}

// FuzzEdits lets a guest return arbitrary lists. One that is taken makes what the
// same edits make in the plainest way; one that is not leaves the value alone.
func FuzzEdits(f *testing.F) {
	list := func(words ...uint32) []byte {
		var raw []byte
		for _, w := range words {
			raw = binary.LittleEndian.AppendUint32(raw, w)
		}
		return raw
	}

	f.Add(list(6, 4, 0, 4), true)
	f.Add(list(0, 1, 0, 9, 1, 1, 4, 0), false)
	f.Add(list(5, 3, 0, 3, 4, 1, 0, 1), true)
	f.Add(list(9, 0xffffffff, 0xffffffff, 0xffffffff), true)

	f.Fuzz(func(t *testing.T, raw []byte, sent bool) {
		memory := slices.Concat([]byte("replacement bytes "), raw)
		b := &record.Batch{Data: []byte("one value two")}
		was := record.Span{Off: 4, Len: 5}

		if !sent {
			was = b.Append([]byte("value"))
		}

		var d [descriptorSize]byte
		binary.LittleEndian.PutUint32(d[descValue:], uint32(len(memory)-len(raw)))
		binary.LittleEndian.PutUint32(d[descValue+4:], uint32(len(raw)))
		c := &chunk{batch: b, room: 40}
		before := slices.Concat(b.Data, b.Out)

		got, touched, err := c.readEdits(memory, &d, was)
		if err != nil {
			if !bytes.Equal(slices.Concat(b.Data, b.Out), before) {
				t.Fatal("a list that was refused changed the batch")
			}
			return
		}

		want := plainEdits(memory, raw, []byte("value"))
		if !bytes.Equal(b.Bytes(got), want) {
			t.Fatalf("made %q, want %q", b.Bytes(got), want)
		}
		if changed := got != was || touched.Len > 0; changed == (string(want) == "value") {
			t.Fatalf("%q counts as changed: %t", want, changed)
		}
		if !bytes.Equal(b.Data[:4], []byte("one ")) || !bytes.Equal(b.Data[9:], []byte(" two")) {
			t.Fatalf("beside the value: %q", b.Data)
		}
	})
}

// plainEdits is what a list makes of a value, back to front.
func plainEdits(memory, raw, value []byte) []byte {
	for ; len(raw) > 0; raw = raw[:len(raw)-editSize] {
		e := raw[len(raw)-editSize:]
		number := func(at int) uint32 { return binary.LittleEndian.Uint32(e[at:]) }
		replacement := memory[number(editNew):][:number(editNewLen)]
		value = slices.Replace(slices.Clone(value), int(number(editAt)), int(number(editAt)+number(editLen)), replacement...)
	}
	return value
}
