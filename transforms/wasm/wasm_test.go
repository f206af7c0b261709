package wasm

import (
	"os"
	"path/filepath"
	"testing"
)

func testdata(tb testing.TB, name string) []byte {
	tb.Helper()

	file, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

func TestEveryTruncationIsRefusedOrWhole(t *testing.T) {
	for _, name := range []string{"copy.wasm", "upper_simd.wasm", "parse.wasm"} {
		file := testdata(t, name)
		for n := range file {
			b, err := Scan(file[:n], ScanLimits{})
			if err == nil && b.Info().CodeBytes == 0 {
				t.Errorf("%s cut to %d bytes passed", name, n)
			}
		}
	}
}

// FuzzMeter holds package transforms' FuzzInspect to its part here: neither half
// panics, and what was metered can be scanned again, but for the names that the
// meter added.
func FuzzMeter(f *testing.F) {
	for _, name := range []string{"copy.wasm", "upper.wasm", "upper_simd.wasm", "parse.wasm"} {
		f.Add(testdata(f, name))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		b, err := Scan(file, ScanLimits{})
		if err != nil {
			return
		}

		metered := Meter(b, 1<<20)
		again, err := Scan(metered, ScanLimits{Branches: 1 << 20, CompileWork: 1 << 40, BodyBytes: 1 << 24, Locals: 1 << 20})
		if err != nil {
			t.Fatalf("the metered module does not scan: %v", err)
		}
		if got, want := again.Info().Functions, b.Info().Functions+3; got != want {
			t.Errorf("%d functions were metered as %d", want-3, got)
		}
	})
}
