package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestWhatAManifestTakesAwayIsLost: whoever signs is told of each thing that is demanded
// no more, and of everything else that differs.
func TestWhatAManifestTakesAwayIsLost(t *testing.T) {
	key := logKey(t)
	for name, tc := range map[string]struct {
		change func(m *Manifest)
		want   []string // effect, of and log
	}{
		"nothing":              {func(*Manifest) {}, nil},
		"another cluster":      {func(m *Manifest) { m.Cluster = "orders" }, []string{"lost cluster "}},
		"the same revision":    {func(m *Manifest) { m.Revision = 3; m.raw = []byte("other") }, []string{"lost revision "}},
		"an older revision":    {func(m *Manifest) { m.Revision = 2; m.raw = []byte("other") }, []string{"lost revision "}},
		"a gateway left out":   {func(m *Manifest) { m.Gateways = m.Gateways[:1] }, []string{"lost log 0123456789abcdef", "lost log 8899aabbccddeeff"}},
		"a former one":         {func(m *Manifest) { m.Gateways[1].Former = nil }, []string{"lost log 8899aabbccddeeff"}},
		"a key":                {func(m *Manifest) { m.Gateways[0].Key = key }, []string{"lost key 0011223344556677"}},
		"a former one is lost": {func(m *Manifest) { m.Gateways[1].Former[0].Lost = "INC-1" }, []string{"lost lost 8899aabbccddeeff"}},
		"a new gateway":        {func(m *Manifest) { m.Add("gw-c", Log{ID: "00000000000000cc", Key: key}) }, []string{"gained log 00000000000000cc"}},
		"another log": {func(m *Manifest) { m.Add("gw-a", Log{ID: "00000000000000aa", Key: key}) },
			[]string{"gained log 00000000000000aa", "changed former 0011223344556677"}},
		"a former one again": {func(m *Manifest) { g := &m.Gateways[1]; g.Log, g.Former[0] = g.Former[0], g.Log },
			[]string{"changed former 0123456789abcdef", "changed former 8899aabbccddeeff"}},
		"a gateway's name": {func(m *Manifest) { m.Gateways[0].Name = "gw-x" }, []string{"changed gateway 0011223344556677"}},
		"a directory":      {func(m *Manifest) { m.Gateways[0].Dir = "elsewhere" }, []string{"changed dir 0011223344556677"}},
	} {
		before := two(t)
		after := before.Next()
		tc.change(after)

		var got []string
		for _, c := range after.Since(before) {
			got = append(got, fmt.Sprintf("%s %s %s", c.Effect, c.Of, c.Log))
			if c.Text == "" || c.Log != "" && !strings.Contains(c.Text, c.Log+" of "+c.Gateway) {
				t.Errorf("%s: %q", name, c.Text)
			}
		}
		slices.Sort(got)
		slices.Sort(tc.want)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}

	lost := two(t)
	lost.Gateways[1].Former[0].Lost = "INC-1"
	for reason, want := range map[string]Effect{"": Gained, "INC-2": Changed} {
		next := lost.Next()
		next.Gateways[1].Former[0].Lost = reason
		if got := next.Since(lost); len(got) != 1 || got[0].Effect != want || got[0].Of != OfLost {
			t.Errorf("%q: %+v", reason, got)
		}
	}
}
