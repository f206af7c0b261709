package pattern

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAStarStandsForAnyRunOfCharactersAndNothingElseDoes(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "ab", false}, {"*", "", true}, {"*", "x.y", true},
		{"a.*", "a.", true}, {"a.*", "a", false}, {"a.*", "a.b.c", true}, {"*.b", "a.b", true}, {"*.b", "a.bc", false},
		{"a*b*c", "a-b-b-c", true}, {"a*b*c", "a-c-b", false}, {"**", "x", true}, {"a?", "ab", false}, {"[ab]", "a", false},
		{"a.b", "axb", false}, {"", "", true}, {"", "x", false}, {"a*", "", false},
	} {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestAPatternContainsWhatItMatchesWhateverTheInnerStarsStandFor(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"customers*", "customers", true}, {"customers*", "customers.*", true}, {"customers.*", "customers*", false},
		{"customers*", "*", false}, {"*", "customers*", true}, {"customers", "customers*", false}, {"a*c", "a*b*c", true},
		{"a*b*c", "a*c", false}, {"*b*", "a*b", true}, {"*b*", "a*", false}, {"a**", "a*", true}, {"a*", "a**", true},
	} {
		if got := Contains(c.outer, c.inner); got != c.want {
			t.Errorf("Contains(%q, %q) = %v", c.outer, c.inner, got)
		}
	}
}

// words are all names of at most most letters of the alphabet.
func words(alphabet string, most int) []string {
	all := []string{""}
	last := all
	for range most {
		var longer []string
		for _, w := range last {
			for _, letter := range alphabet {
				longer = append(longer, w+string(letter))
			}
		}

		all = append(all, longer...)
		last = longer
	}

	return all
}

// Patterns of a and b are held against names that also have a third letter, which
// is what a '*' may stand for.
func TestContainmentIsThatOfTheSetsOfNames(t *testing.T) {
	names := words("abc", 5)
	patterns := words("a*b", 3)
	matched := map[string]string{} // by pattern, one digit a name
	for _, p := range patterns {
		var set strings.Builder
		for _, n := range names {
			if Match(p, n) {
				set.WriteByte('1')
			} else {
				set.WriteByte('0')
			}
		}

		matched[p] = set.String()
	}

	for _, outer := range patterns {
		for _, inner := range patterns {
			want := true
			for i := range names {
				want = want && (matched[inner][i] == '0' || matched[outer][i] == '1')
			}

			if got := Contains(outer, inner); got != want {
				t.Errorf("Contains(%q, %q) = %v", outer, inner, got)
			}
		}
	}
}

// A name that two patterns share needs no more letters than both have together.
func TestPatternsOverlapWhereTheyShareAName(t *testing.T) {
	names := words("ab", 6)
	patterns := words("a*b", 3)
	for _, a := range patterns {
		for _, b := range patterns {
			want := slices.ContainsFunc(names, func(n string) bool { return Match(a, n) && Match(b, n) })
			if got := Overlap(a, b); got != want {
				t.Errorf("Overlap(%q, %q) = %v", a, b, got)
			}
		}
	}
}

func TestCoveredAsksForOnePatternThatContainsAll(t *testing.T) {
	granted := []string{"orders", "customers.*"}
	if !Covered(granted, "customers.eu*") || !Any(granted, "orders") || Covered(granted, "orders*") || Covered(nil, "") {
		t.Error("what is covered is not what one of the patterns contains")
	}
}

func TestHostilePatternsTakeNoExponentialTime(t *testing.T) {
	done := make(chan bool, 1)
	go func() { done <- Match(strings.Repeat("*a", 500)+"b", strings.Repeat("a", 5000)) }()

	select {
	case got := <-done:
		if got {
			t.Error("matched")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("matching takes more than 5 s")
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b", "axxb", "x")
	f.Add("*", "", "")
	f.Fuzz(func(t *testing.T, pattern, name, filling string) {
		got := Match(pattern, name)
		if !strings.Contains(pattern, "*") && got != (pattern == name) {
			t.Errorf("Match(%q, %q) = %v without a star", pattern, name, got)
		}
		if !Match("*", name) || !Match(name+"*", name) || !Match(pattern, strings.ReplaceAll(pattern, "*", filling)) {
			t.Errorf("%q and %q are not matched by what they are made of", pattern, name)
		}
		if Contains(pattern, name) && !Match(pattern, strings.ReplaceAll(name, "*", filling)) {
			t.Errorf("%q contains %q, yet does not match it with %q", pattern, name, filling)
		}
	})
}
