package transforms

import (
	"errors"
	"strconv"
	"strings"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// traced is a failure with the way that the guest took to it. The way is not in
// its text: who logs a failure logs no more than its kind and cause.
type traced struct {
	error
	functions []uint32
}

// Unwrap is the failure alone, without the functions that it came from.
func (t *traced) Unwrap() error { return t.error }

// Backtrace is how the guest came to where it failed: the functions that were
// running, by their indices in the module's file, the innermost first. At most the
// innermost 30 are known; of what is no failure of a running guest, none.
func Backtrace(err error) []uint32 {
	t, ok := errors.AsType[*traced](err)
	if !ok {
		return nil
	}

	return t.functions
}

// trace gives a failure the functions that the engine's own error lists.
func (c *Code) trace(failure, engine error) error {
	imported := uint32(0)
	for _, im := range c.info.Imports {
		if im.Kind == "func" {
			imported++
		}
	}

	end := imported + uint32(c.info.Functions)

	t := &traced{error: failure}
	_, frames, _ := strings.Cut(engine.Error(), "wasm stack trace:\n")
	for line := range strings.Lines(frames) {
		number, found := strings.CutPrefix(strings.TrimSpace(line), ".$")
		if !found {
			continue
		}

		digits, _, _ := strings.Cut(number, "(")
		index, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			continue
		}
		if f, own := wasm.OriginalFunction(uint32(index), imported, end); own {
			t.functions = append(t.functions, f)
		}
	}

	return t
}
