package guardlock

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestVarintsAreReadAsTheyAreWritten(t *testing.T) {
	for _, value := range []int32{0, 1, -1, 63, 64, -64, -65, 300, math.MaxInt32, math.MinInt32} {
		r := headerReader{rest: appendVarint(nil, value)}
		if got, ok := r.varint(); !ok || got != value || len(r.rest) > 0 {
			t.Errorf("%d is read as %d, %t", value, got, ok)
		}
	}
	for _, broken := range []string{"", "\x80\x80", strings.Repeat("\xff", 6)} {
		r := headerReader{rest: []byte(broken)}
		if got, ok := r.varint(); ok {
			t.Errorf("%q is read as %d", broken, got)
		}
	}
}

func someHeaders() []Header {
	return []Header{
		{Key: []byte("x"), Value: []byte("forged")},
		{Key: []byte("y")},
		{Key: []byte("x")},
		{Key: []byte{}, Value: []byte{}},
	}
}

// same tells null from empty, which bytes.Equal does not.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func wantHeaders(t *testing.T, r *Record, want ...Header) {
	t.Helper()
	got := slices.Collect(r.Headers())
	if !slices.EqualFunc(got, want, func(a, b Header) bool { return same(a.Key, b.Key) && same(a.Value, b.Value) }) {
		t.Errorf("headers are %q, want %q", got, want)
	}
}

func TestHeadersKeepOrderAndDoublesAndNull(t *testing.T) {
	r := NewRecord(Given{Headers: someHeaders()})
	wantHeaders(t, r, someHeaders()...)
	if h, found := r.Header("x"); !found || h.Value != nil {
		t.Errorf("the last x is %q, %t", h, found)
	}
	if _, found := r.Header("z"); found {
		t.Error("there is a z")
	}

	for h := range r.Headers() {
		if string(h.Key) != "x" {
			t.Errorf("the first is %q", h.Key)
		}
		break
	}
	wantHeaders(t, NewRecord(Given{}))
}

func TestASetHeaderIsTheOnlyOneOfItsName(t *testing.T) {
	r := NewRecord(Given{Headers: someHeaders()})
	all := someHeaders()
	one := Header{Key: []byte("x"), Value: []byte("1")}
	r.SetHeader("x", []byte("1"))
	wantHeaders(t, r, all[1], all[3], one)

	r.RemoveHeader("y")
	r.RemoveHeader("none")
	r.AddHeader("x", nil)
	wantHeaders(t, r, all[3], one, Header{Key: []byte("x")})

	bare := NewRecord(Given{})
	bare.AddHeader("a", []byte("b"))
	wantHeaders(t, bare, Header{Key: []byte("a"), Value: []byte("b")})
}

func TestWhatIsReplacedIsCopied(t *testing.T) {
	buffer := []byte("first")
	r := NewRecord(Given{Key: []byte("k"), Value: nil, Topic: "orders", Partition: 3, Timestamp: 9, Position: 2})
	if r.Value() != nil || string(r.Key()) != "k" {
		t.Errorf("%q, %q", r.Key(), r.Value())
	}

	r.SetValue(buffer)
	copy(buffer, "other")
	r.SetKey(nil)
	if r.Key() != nil || string(r.Value()) != "first" {
		t.Errorf("%q, %q", r.Key(), r.Value())
	}
	r.SetValue([]byte{})
	if r.Value() == nil {
		t.Error("an empty value became null")
	}
	if !r.IsOfTopic("orders") || r.IsOfTopic("order") || r.Partition() != 3 || r.Timestamp() != 9 || r.Position() != 2 {
		t.Error("the record is of another place")
	}
}

func TestEditsChangeWhatIsStored(t *testing.T) {
	r := NewRecord(Given{Value: []byte("card 4111, code 12")})
	r.Edit(0, 0, []byte("> "))
	r.Edit(5, 4, []byte("****"))
	r.Value()[11] = 'C' // which does not count
	r.Edit(16, 2, nil)
	if got := string(r.Stored()); got != "> card ****, code " || string(r.Value()) != "card 4111, Code 12" {
		t.Errorf("%q is stored of %q", got, r.Value())
	}

	list := r.editList(func(b []byte) (at, size uint32) { return 7, uint32(len(b)) })
	want := []byte{0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0}
	if !bytes.Equal(list, want) {
		t.Errorf("the host reads % x", list)
	}
	r.SetValue(nil)
	if r.Stored() != nil {
		t.Errorf("after it was set %q is stored", r.Stored())
	}
}

func TestEditsThatCannotBePanic(t *testing.T) {
	for name, edits := range map[string]func(r *Record){
		"overlapping": func(r *Record) { r.Edit(0, 3, nil); r.Edit(2, 1, nil) },
		"descending":  func(r *Record) { r.Edit(3, 0, nil); r.Edit(3, 0, nil) },
		"outside":     func(r *Record) { r.Edit(3, 3, nil) },
		"overflowing": func(r *Record) { r.Edit(1, math.MaxInt, nil) },
		"negative":    func(r *Record) { r.Edit(-1, 1, nil) },
		"of null":     func(r *Record) { r.value = nil; r.Edit(0, 0, nil) },
		"of a set one": func(r *Record) {
			r.SetValue([]byte("value"))
			r.Edit(0, 1, nil)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("edits %s are taken", name)
				}
			}()
			edits(NewRecord(Given{Value: []byte("value")}))
		}()
	}
}

func TestATopicIsKnownByTheHostsHash(t *testing.T) {
	for name, want := range map[string]uint32{"": 0x811c9dc5, "a": 0xe40c292c, "foobar": 0xbf9cf968} {
		if got := fnv1a(name); got != want {
			t.Errorf("%q is %x, want %x", name, got, want)
		}
	}
}

// Once there is room, no record costs an allocation, and what was made stays as it is
// until the host has read it.
func TestRoomServesEveryCall(t *testing.T) {
	var made room
	block := NewRecord(Given{Headers: someHeaders()}).headers
	value := bytes.Repeat([]byte("v"), 5000)
	call := func() {
		made.empty()
		for range 100 {
			r := Record{headers: block, room: &made}
			r.SetValue(value)
			r.SetHeader("x", value[:3])
		}
	}
	for range 10 {
		call()
	}
	if n := testing.AllocsPerRun(10, call); n > 0 {
		t.Errorf("%v allocations for 100 records", n)
	}

	made.empty()
	first := made.keep([]byte("first"))
	for range 1000 {
		made.keep(value)
	}
	if string(first) != "first" || len(made.full) == 0 {
		t.Errorf("%q after %d blocks", first, len(made.full))
	}
	made.empty()
	if cap(made.block) > maxRoom {
		t.Errorf("%d bytes are kept for a call to come", cap(made.block))
	}
}

func TestReasonsAreNumberedFromOne(t *testing.T) {
	first := NewReason("a.b")
	second := NewReason("a.c_9")
	if second != first+1 || second.String() != "a.c_9" || Unspecified.String() != "unspecified" {
		t.Errorf("%d %v, %d %v", first, first, second, second)
	}
	if counted := NewMetric("a.seen"); counted != 1 || counted.String() != "a.seen" {
		t.Errorf("the first metric is %d %v", counted, counted)
	}
	if Reason(9999).String() != "undeclared" {
		t.Errorf("9999 is %v", Reason(9999))
	}

	for _, name := range []string{"", "A", "a b", strings.Repeat("a", 65)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is a reason", name)
				}
			}()
			NewReason(name)
		}()
	}
}

func TestATransformWithoutConfigurationRefusesAny(t *testing.T) {
	pass := Func(func(*Record) Verdict { return Pass })
	if err := Configure(pass, nil); err != nil {
		t.Errorf("none: %v", err)
	}
	if err := Configure(pass, []byte("{}")); err == nil {
		t.Error("one was taken")
	}
	if got := pass.Apply(NewRecord(Given{})); got != Pass || Fail.String() != "fail" || Route(1, 0).String() != "route" {
		t.Errorf("got %v", got)
	}
}

// FuzzHeaders: whatever a block is, what is read of it lies in it, and setting a header
// leaves one of its name.
func FuzzHeaders(f *testing.F) {
	f.Add(NewRecord(Given{Headers: someHeaders()}).headers, "x")
	f.Add([]byte{}, "")
	f.Add([]byte("\x7f\x02a"), "a")
	f.Add([]byte("\x00\x02a\x00"), "a")
	f.Fuzz(func(t *testing.T, block []byte, name string) {
		size := 0
		r := &Record{headers: bytes.Clone(block), room: new(room)}
		for h := range r.Headers() {
			size += len(h.Key) + len(h.Value)
		}
		if size > len(block) {
			t.Fatalf("%d bytes were read of %d", size, len(block))
		}

		r.SetHeader(name, []byte("1"))
		found := 0
		for h := range r.Headers() {
			if string(h.Key) == name {
				found++
			}
		}
		if h, _ := r.Header(name); found != 1 || string(h.Value) != "1" {
			t.Fatalf("%d of the name, %q", found, h.Value)
		}
		r.AddHeader(name, nil)
		if h, found := r.Header(name); !found || h.Value != nil {
			t.Fatalf("the added one is %q, %t", h.Value, found)
		}
	})
}
