// Package pattern matches names of topics, principals and clients. In a pattern
// each '*' stands for any run of characters, the empty one and dots included;
// everything else stands for itself. Configuration, approvals and policy all mean
// this by it: a test holds it to OPA's glob, which the built-in policy uses.
//
// Trust: patterns and names may be hostile. Matching takes time in proportion to
// the product of their lengths, and no memory.
package pattern

import (
	"slices"
	"strings"
)

// Match reports whether pattern matches all of name. It compares bytes: no case
// is folded, and no character but '*' is special.
func Match(pattern, name string) bool {
	p := 0
	n := 0
	star := -1 // the last '*' of pattern that was met, -1 before the first
	tail := 0  // where in name the part after that '*' is tried

	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star = p
			tail = n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			tail++
			n = tail
			p = star + 1
		default:
			return false
		}
	}

	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// Any reports whether one of patterns matches all of name. No pattern matches
// nothing.
func Any(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return Match(p, name) })
}

// Contains reports whether outer matches every name that inner does. A '*' of
// inner may stand for a character that outer does not mention, so that only a '*'
// of outer can meet it: inner is matched as if it were a name.
func Contains(outer, inner string) bool { return Match(outer, inner) }

// Covered reports whether one of patterns contains inner. Patterns that contain it
// only together do not count: each was approved for itself.
func Covered(patterns []string, inner string) bool { return Any(patterns, inner) }

// Overlap reports whether there is a name that both patterns match.
func Overlap(a, b string) bool {
	starA := strings.IndexByte(a, '*')
	starB := strings.IndexByte(b, '*')
	switch {
	case starA < 0:
		return Match(b, a)
	case starB < 0:
		return Match(a, b)
	}

	// What stands before the first '*' begins every name that the pattern matches.
	n := min(starA, starB)
	if a[:n] != b[:n] {
		return false
	}
	return overlap(a[n:], b[n:])
}

// overlap looks at the ends of both patterns from the last to the first: row[j] is
// whether what is left of a shares a name with b[j:].
func overlap(a, b string) bool {
	row := make([]bool, len(b)+1)
	row[len(b)] = true
	for j := len(b) - 1; j >= 0 && b[j] == '*'; j-- {
		row[j] = true
	}

	below := make([]bool, len(b)+1)
	for i := len(a) - 1; i >= 0; i-- {
		row, below = below, row
		row[len(b)] = a[i] == '*' && below[len(b)]
		for j := len(b) - 1; j >= 0; j-- {
			switch {
			case a[i] == '*' || b[j] == '*':
				row[j] = below[j] || row[j+1]
			default:
				row[j] = a[i] == b[j] && below[j+1]
			}
		}
	}

	return row[0]
}
