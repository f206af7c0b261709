package transforms

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every stock toolchain's modules load and run, debug and release. Each of these
// guests calls through a table, whose index newer linkers pad to five bytes;
// testdata/toolchains/build.sh says how they were built.
func TestModulesOfStockToolchainsLoad(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "toolchains", "*.wasm"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d guests, %v", len(files), err)
	}

	padded := 0
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".wasm"), func(t *testing.T) {
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(file, []byte{0x80, 0x80, 0x80, 0x80, 0x00}) {
				padded++
			}

			batch := values("hello, World", "", "ünïcode")
			if err := NewChain(load(t, newRuntime(t, Config{}), Spec{Wasm: file})).Run(t.Context(), batch, Origin{}); err != nil {
				t.Fatal(err)
			}

			for n, want := range []string{"HELLO, WORLD", "", "üNïCODE"} {
				if got := string(batch.Bytes(batch.Records[n].Value)); got != want {
					t.Errorf("record %d is %q, want %q", n, got, want)
				}
			}
		})
	}

	if padded < 5 {
		t.Errorf("%d guests have a padded index: the test tests nothing", padded)
	}
}
