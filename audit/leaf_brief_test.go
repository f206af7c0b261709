package audit

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/guardlock/guardlock/audit/evidence"
)

// TestLeavesAreTheSameWithAndWithoutTemplates, and so is what the seal says of strings that
// stand in place.
func TestLeavesAreTheSameWithAndWithoutTemplates(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	names := func(s string) evidence.Name { return evidence.Name{byte(len(s)), 1} }
	for range 200 {
		d, plain := newDict(), newDict()
		kinds := []*BatchEntry{randomBatch(r), randomBatch(r), randomBatch(r)}
		brief, whole := &chunk{seq: 3, base: 9}, &chunk{seq: 3, base: 9}
		for range 12 {
			e := *kinds[r.IntN(len(kinds))]
			enc := brief.encoder(d, nil)
			enc.batch(&e, 9)
			brief.add(&enc)
			enc = encoder{dict: plain, defs: whole.defs}
			enc.batch(&e, 9)
			whole.add(&enc)
		}

		leaves := func(c *chunk, d *dict) (all []string) {
			briefly(t, c, d, func(e *Entry) {
				l := e.Leaf(names)
				all = append(all, string(l.Append(nil)))
			})
			return all
		}
		if got, want := leaves(brief, d), leaves(whole, plain); !slices.Equal(got, want) || len(got) != 12 {
			t.Fatalf("%d leaves\n%x\n%x", len(got), got, want)
		}
		if d.overflow != plain.overflow {
			t.Fatalf("places of strings in place: %b, want %b", d.overflow, plain.overflow)
		}
	}
}
