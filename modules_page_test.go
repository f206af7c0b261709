//go:build slow

package guardlock_test

import "testing"

// The pages about writing modules need toolchains that not every machine has, so
// .ci/run runs them apart from the quick tests.
func TestModulePagesWorkAsPrinted(t *testing.T) {
	r := newReader(t)
	for _, page := range modulePages {
		if r.follow(page) == 0 {
			t.Errorf("%s has no block to run", page)
		}
	}
}
