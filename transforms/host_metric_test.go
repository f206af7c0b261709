package transforms

import (
	"slices"
	"testing"
)

func counting(metrics string, calls ...[]byte) []byte {
	return asm{metrics: metrics, imports: [][]byte{importFunc("guardlock_metric", "add", typLog)}, transform: tampered(calls...)}.wasm()
}

func TestMetricsCountNamesOfTheCatalogueAlone(t *testing.T) {
	add := func(metric, amount int32) []byte { return cat(i32c(metric), i32c(amount), call(0)) }
	wasm := counting("card.seen\ncard.blocked", add(1, 2), add(2, 1), add(0, 100), add(3, 100), add(-1, 100), add(1, -1))
	r := newRuntime(t, Config{})
	spec := Spec{Name: "counter", Wasm: wasm, Grant: Grant{HostFunctions: []string{"guardlock_metric.add"}}}
	m := load(t, r, spec)
	for range 3 {
		if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err != nil {
			t.Fatal(err)
		}
	}

	want := []Metric{{"counter", "card.blocked", 3}, {"counter", "card.seen", 3 * (2 + maxAmount)}}
	if got := r.Metrics(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}

	// A reload does not begin anew.
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := NewChain(load(t, r, spec)).Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Fatal(err)
	}
	if got := r.Metrics(); got[0].Value != 4 {
		t.Errorf("after a reload: %v", got)
	}
}

func TestModuleWithoutMetricsCountsNothing(t *testing.T) {
	r := newRuntime(t, Config{})
	wasm := counting("", cat(i32c(1), i32c(1), call(0)))
	m := load(t, r, Spec{Name: "counter", Wasm: wasm, Grant: Grant{HostFunctions: []string{"guardlock_metric.add"}}})
	if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Fatal(err)
	}
	if got := r.Metrics(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
