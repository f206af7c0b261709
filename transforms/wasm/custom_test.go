package wasm

import (
	"bytes"
	"slices"
	"testing"
)

// withCustom adds custom sections behind a file, as name and contents in turn.
func withCustom(file []byte, sections ...string) []byte {
	out := bytes.Clone(file)
	for pair := range slices.Chunk(sections, 2) {
		body := append(appendU32(nil, uint32(len(pair[0]))), pair[0]...)
		out = appendSection(out, 0, append(body, pair[1]...))
	}

	return out
}

func TestStripTakesWhatOnlyADebuggerReads(t *testing.T) {
	file := testdata(t, "copy.wasm")
	const reasons = "guardlock.reasons"
	full := withCustom(file, ".debug_info", "DWARF", reasons, "a.b", "name", "\x01\x01\x00", "sourceMappingURL", "/home/me")

	want := withCustom(file, reasons, "a.b", "name", "\x01\x01\x00")
	if got := Strip(full); !bytes.Equal(got, want) {
		t.Errorf("stripped to %q, want %q", got[len(file):], want[len(file):])
	}
	if got := Strip(file); !bytes.Equal(got, file) {
		t.Error("a file without such sections was changed")
	}
}

func TestCataloguesReplaceThoseThatAFileHas(t *testing.T) {
	file := testdata(t, "copy.wasm")
	const reasons = "guardlock.reasons"
	first := withCustom(file, reasons, "a.old\n", "producers", "\x00", "guardlock.metrics", "m.old\n")

	got := WithCatalogues(first, []string{"a.b", "a.c"}, []string{"m"})
	if want := withCustom(file, "producers", "\x00", reasons, "a.b\na.c\n", "guardlock.metrics", "m\n"); !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got[len(file):], want[len(file):])
	}
	if got := WithCatalogues(got, nil, nil); !bytes.Equal(got, withCustom(file, "producers", "\x00")) {
		t.Errorf("without names it is %q", got[len(file):])
	}

	scanned, err := Scan(WithCatalogues(file, []string{"a.b", "a.c"}, []string{"m"}), ScanLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if info := scanned.Info(); !slices.Equal(info.Reasons, []string{"a.b", "a.c"}) || !slices.Equal(info.Metrics, []string{"m"}) {
		t.Errorf("the scan finds %v and %v", info.Reasons, info.Metrics)
	}
}

func TestNamesAndProducersAreReadAsFarAsTheyGo(t *testing.T) {
	file := withCustom(testdata(t, "copy.wasm"),
		"name", "\x00\x02\x01m"+"\x01\x09\x02"+"\x00\x03one"+"\x05\x01x",
		"producers", "\x01\x0cprocessed-by\x02"+"\x05rustc\x031.9"+"\x05clang\x0219")

	names := FunctionNames(file)
	if len(names) != 2 || names[0] != "one" || names[5] != "x" {
		t.Errorf("names are %v", names)
	}

	want := []Producer{{"processed-by", "rustc", "1.9"}, {"processed-by", "clang", "19"}}
	if got := Producers(file); !slices.Equal(got, want) {
		t.Errorf("producers are %v, want %v", got, want)
	}

	broken := withCustom(testdata(t, "copy.wasm"), "name", "\x01\x7f\x02\x00\x03one\x05\xff", "producers", "\xff\xff\x03x")
	if names := FunctionNames(broken); len(names) > 1 {
		t.Errorf("of a truncated section the names are %v", names)
	}
	if got := Producers(broken); len(got) != 0 {
		t.Errorf("of a truncated section the producers are %v", got)
	}
}

func TestOriginalFunctionIsTheOtherWayRound(t *testing.T) {
	const imported, end = 3, 10
	w := &rewriter{yield: imported}
	for i := range uint32(end) {
		if got, own := OriginalFunction(w.function(i), imported, end); got != i || !own {
			t.Errorf("function %d comes back as %d, %t", i, got, own)
		}
	}

	for _, added := range []uint32{imported, end + 1, end + 2, end + 3} {
		if _, own := OriginalFunction(added, imported, end); own {
			t.Errorf("function %d, which the meter added, counts as the file's", added)
		}
	}
}

// FuzzCustomSections: whatever the bytes, what is read of them lies in them, and a
// stripped file has nothing left to take away.
func FuzzCustomSections(f *testing.F) {
	copied := testdata(f, "copy.wasm")
	f.Add(copied)
	f.Add(withCustom(copied, ".debug_line", "x", "name", "\x01\x05\x01\x00\x02ab", "producers", "\x01\x01a\x01\x01b\x01c"))
	f.Fuzz(func(t *testing.T, file []byte) {
		FunctionNames(file)
		Producers(file)

		once := Strip(file)
		if len(once) > len(file) {
			t.Fatalf("stripping made %d of %d bytes", len(once), len(file))
		}

		for _, s := range CustomSections(file) {
			if s.end > len(file) || s.start >= s.end {
				t.Fatalf("section %q lies at %d to %d of %d", s.Name, s.start, s.end, len(file))
			}
		}

		if again := Strip(once); !bytes.Equal(again, once) {
			t.Fatal("stripping twice takes away more than once")
		}
	})
}
