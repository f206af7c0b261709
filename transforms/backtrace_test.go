package transforms

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// A failure of a guest says by which functions it came there, in the numbers of the
// file and not of the metered one; its text stays without them.
func TestBacktraceNamesTheFunctionsOfTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		inner  []byte
		limits Limits
	}{"a trap": {op(opUnreachable), ample}, "a loop without end": {loopForever(nil), quick}} {
		t.Run(name, func(t *testing.T) {
			file := asm{
				imports:   [][]byte{importFunc("guardlock_log", "log", typLog)},
				transform: cat(call(3), copyDescs(), count()),
				extra:     []asmFunc{{typ: typVoid, code: call(4)}, {typ: typVoid, code: c.inner}},
			}.wasm()

			m := load(t, newRuntime(t, Config{}), Spec{Wasm: file, Grant: Grant{
				HostFunctions: []string{"guardlock_log.log"},
				Limits:        c.limits,
			}})

			err := NewChain(m).Run(t.Context(), values("x"), Origin{})
			if got := Backtrace(err); !slices.Equal(got, []uint32{4, 3, 1}) {
				t.Errorf("the functions are %v, want 4, 3, 1: %v", got, err)
			}
			if strings.Contains(err.Error(), "$") {
				t.Errorf("the text names functions: %v", err)
			}
		})
	}

	if got := Backtrace(errors.New("x")); got != nil {
		t.Errorf("of another error the functions are %v", got)
	}
}

func TestMemoryBytesIsWhatAnInstanceHasGrownTo(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: asm{pages: 40}.wasm()})
	if got := m.MemoryBytes(); got != 40*wasmPage {
		t.Errorf("%d bytes, want %d", got, 40*wasmPage)
	}
	if err := m.Close(context.Background()); err != nil || m.MemoryBytes() != 0 {
		t.Errorf("%d bytes after its end, %v", m.MemoryBytes(), err)
	}
}
