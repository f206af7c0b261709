package audit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/audit/segment"
	"github.com/guardlock/guardlock/audit/segment/segmenttest"
)

func openMem(t testing.TB, d *memFiles, o audit.Options) *audit.Log {
	t.Helper()
	o.Key = testKey
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 256 << 10 // space that is set aside takes memory here
	}

	l, err := audit.OpenFiles(d, o)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { l.Close() })
	return l
}

// smallLog has two sealed segments and a last one with a few frames.
func smallLog(t testing.TB) *memFiles {
	t.Helper()
	d := newMemFiles()
	l := openMem(t, d, audit.Options{SegmentBytes: audit.MinSegmentBytes})
	for i := 0; len(segmentsOf(d)) < 3 || i%4 != 0; i++ {
		seq := mustAppend(t, l, batchOf("cards", 0, 300+i), []byte{byte(i)})
		l.Place(seq, audit.Placement{BaseOffset: int64(1000 * i)})
	}

	mustClose(t, l)
	return d
}

func segmentsOf(d *memFiles) (out []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := range d.live {
		if _, ok := segment.ParseSegmentName(n); ok {
			out = append(out, n)
		}
	}

	slices.Sort(out)
	return out
}

// ends lists where the frames of a segment end.
func ends(t testing.TB, f *memFile) (out []int64) {
	t.Helper()
	w := segment.NewWindow(f, int64(len(f.cache)))
	h, err := segment.ParseHeader(f.cache)
	if err != nil {
		t.Fatal(err)
	}

	for off := int64(segment.HeaderSize); ; {
		fr, err := segment.ReadFrame(w, &h, off)
		if err != nil {
			return out
		}
		off = fr.End()
		out = append(out, off)
	}
}

// verifyMem verifies as somebody who has the audit key.
func verifyMem(d *memFiles) (audit.Report, error) {
	return audit.VerifyFiles(d, audit.Known{Keys: [][32]byte{testKey}})
}

func reopens(d *memFiles) error {
	l, err := audit.OpenFiles(d, audit.Options{Key: testKey, SegmentBytes: audit.MinSegmentBytes})
	if err != nil {
		return err
	}
	return l.Close()
}

func TestTornTailIsCutAtEveryByte(t *testing.T) {
	base := smallLog(t)
	name := segmentsOf(base)[2]
	at := ends(t, base.live[name])
	from := at[len(at)-2]
	to := at[len(at)-1]
	for cut := from; cut < to; cut++ {
		for _, rest := range []byte{0x00, 0xff} { // what the disk held where the frame was not written
			d := base.killed()
			ageMark(d)
			f := d.live[name]
			if rest == 0 && onlyZeros(f.cache[cut:to]) {
				continue // the frame is whole: what is cut is its padding
			}

			for i := cut; i < to; i++ {
				f.cache[i] = rest
			}
			if _, err := verifyMem(d.killed()); err != nil {
				t.Fatalf("cut at %d: verifying: %v", cut-from, err)
			}
			if err := reopens(d); err != nil {
				t.Fatalf("cut at %d: %v", cut-from, err)
			}
			if got := ends(t, f); len(got) != len(at) || got[len(got)-2] != from {
				t.Fatalf("cut at %d: frames end at %v, want the torn one replaced", cut-from, got)
			}
			if rep, err := verifyMem(d); err != nil || rep.TornBytes != 0 {
				t.Fatalf("cut at %d: %+v, %v", cut-from, rep, err)
			}
		}
	}
}

// ageMark makes the mark what it may be after a power cut: older than the frames.
func ageMark(d *memFiles) {
	m := d.live[segment.MarkName]
	m.cache = slices.Clone(m.disk)
}

func onlyZeros(b []byte) bool { return strings.Trim(string(b), "\x00") == "" }

func TestFramesMissingBelowTheMarkAreRefused(t *testing.T) {
	d := smallLog(t)
	f := d.live[segmentsOf(d)[2]]
	at := ends(t, f)
	clear(f.cache[at[len(at)-2]:])

	if err := reopens(d); !errors.Is(err, audit.ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
	if _, err := verifyMem(d); !errors.Is(err, audit.ErrCorrupt) {
		t.Fatalf("verifying: got %v, want ErrCorrupt", err)
	}
}

// TestEveryFlippedByteIsFound flips each byte of each segment.
func TestEveryFlippedByteIsFound(t *testing.T) {
	base := smallLog(t)
	for i, name := range segmentsOf(base) {
		size := len(base.live[name].cache)
		if i == 2 {
			at := ends(t, base.live[name])
			size = int(at[len(at)-1])
		}

		for pos := range size {
			d := base.killed()
			d.live[name].cache[pos] ^= 0x20
			if _, err := verifyMem(d); !errors.Is(err, audit.ErrCorrupt) {
				t.Fatalf("%s, byte %d: verifying: got %v, want ErrCorrupt", name, pos, err)
			}
			if i == 2 && !errors.Is(reopens(d), audit.ErrCorrupt) {
				t.Fatalf("%s, byte %d: Open took it", name, pos)
			}
		}
	}
}

// TestCursorPassesOverNoDamage flips a byte of each frame of each segment. While a gateway
// writes, its mark vouches for the last frame as well; else that may be torn.
func TestCursorPassesOverNoDamage(t *testing.T) {
	base := smallLog(t)
	mark, ok, err := segment.ReadMark(base)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}

	for i, name := range segmentsOf(base) {
		at := ends(t, base.live[name])
		for n, end := range at {
			d := base.killed()
			d.live[name].cache[end-1] ^= 0x20
			for writing, position := range map[bool]func() (*segment.Mark, error){
				false: func() (*segment.Mark, error) { return nil, nil },
				true:  func() (*segment.Mark, error) { return &mark, nil },
			} {
				err := audit.NewReader(d, position).Cursor(audit.Position{}).Read(t.Context(), func(*audit.Frame) error { return nil })
				torn := !writing && i == 2 && n == len(at)-1
				if errors.Is(err, audit.ErrCorrupt) == torn {
					t.Errorf("%s, byte %d, a gateway writes: %v: %v", name, end-1, writing, err)
				}
			}
		}
	}
}

func TestBadFrameBeforeGoodOnesIsCorruption(t *testing.T) {
	d := smallLog(t)
	ageMark(d)
	f := d.live[segmentsOf(d)[2]]
	f.cache[segment.HeaderSize+60] ^= 1

	err := reopens(d)
	if !errors.Is(err, audit.ErrCorrupt) || !strings.Contains(err.Error(), "a good one follows") {
		t.Fatalf("got %v, want ErrCorrupt that says a good frame follows", err)
	}

	r := audit.NewReader(d, func() (*segment.Mark, error) { return audit.CommittedMark(d) })
	if _, err := query.New(r).Summarize(t.Context(), query.Filter{}); !errors.Is(err, audit.ErrCorrupt) {
		t.Fatalf("reader: got %v, want ErrCorrupt", err)
	}
}

func TestMissingAndSwappedSegmentsAreFound(t *testing.T) {
	other := smallLog(t)
	names := segmentsOf(other)
	for what, damage := range map[string]func(*memFiles){
		"first missing":  func(d *memFiles) { delete(d.live, names[0]) },
		"middle missing": func(d *memFiles) { delete(d.live, names[1]) },
		"last missing":   func(d *memFiles) { delete(d.live, names[2]) },
		"all missing":    func(d *memFiles) { clear(d.live); d.live[segment.MarkName] = other.live[segment.MarkName] },
		"swapped":        func(d *memFiles) { d.live[names[0]], d.live[names[1]] = d.live[names[1]], d.live[names[0]] },
		"of another log": func(d *memFiles) { d.live[names[1]] = other.live[names[1]] },
		"last of another": func(d *memFiles) {
			d.live[names[2]] = other.live[names[2]]
		},
		"copy of another": func(d *memFiles) { d.live[names[1]] = d.live[names[0]] },
		"seal cut off":    func(d *memFiles) { f := d.live[names[0]]; f.cache = f.cache[:len(f.cache)-segment.FooterSize] },
		"bytes appended":  func(d *memFiles) { f := d.live[names[0]]; f.cache = append(f.cache, 1) },
	} {
		d := smallLog(t)
		damage(d)
		if _, err := verifyMem(d); !errors.Is(err, audit.ErrCorrupt) {
			t.Errorf("%s: verifying: got %v, want ErrCorrupt", what, err)
		}
		if err := reopens(d); !errors.Is(err, audit.ErrCorrupt) {
			t.Errorf("%s: opening: got %v, want ErrCorrupt", what, err)
		}
	}
}

// TestRewrittenEntryBreaksTheChain edits an entry and mends the checksum.
func TestRewrittenEntryBreaksTheChain(t *testing.T) {
	d := smallLog(t)
	f := d.live[segmentsOf(d)[0]]
	h, _ := segment.ParseHeader(f.cache)
	w := segment.NewWindow(f, int64(len(f.cache)))

	fr, err := segment.ReadFrame(w, &h, segment.HeaderSize)
	if err != nil {
		t.Fatal(err)
	}

	edited, _ := segment.AppendFrame(nil, &h, segmenttest.Forger(&h), h.Chain(), fr.Flags, fr.Payload[:len(fr.Payload)-1], []byte{fr.Payload[len(fr.Payload)-1] ^ 1})
	copy(f.cache[segment.HeaderSize:], edited)
	if _, err := verifyMem(d); !errors.Is(err, audit.ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
}
