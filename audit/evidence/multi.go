package evidence

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// split is where a tree of n leaves, two or more, has its two halves (RFC 6962, 2.1):
// the greatest power of two below n.
func split(n int64) int64 {
	k := int64(1)
	for k*2 < n {
		k *= 2
	}
	return k
}

// Multi proves that many leaves are in the tree: the hashes of the greatest subtrees
// that hold none of them, from left to right. The indexes ascend. All hashes are read
// at once, so that no tile is read twice.
func (p *Prover) Multi(indexes []int64) ([]Hash, error) {
	trees := without(nil, indexes, subtree{0, p.size})
	var stored []int64
	for _, t := range trees {
		stored = t.stored(stored)
	}
	hashes, err := p.hashes.ReadHashes(stored)
	if err != nil {
		return nil, fmt.Errorf("reading %d hashes: %w", len(stored), err)
	}

	proof := make([]Hash, 0, len(trees))
	for _, t := range trees {
		n := len(t.stored(nil))
		h := hashes[n-1]
		for i := n - 2; i >= 0; i-- {
			h = tlog.NodeHash(hashes[i], h)
		}
		proof = append(proof, h)
		hashes = hashes[n:]
	}
	return proof, nil
}

// subtree is that of size leaves from an index on.
type subtree struct{ from, size int64 }

// without appends the greatest subtrees of one that hold none of the leaves.
func without(trees []subtree, indexes []int64, t subtree) []subtree {
	if len(indexes) == 0 {
		return append(trees, t)
	}
	if t.size == 1 {
		return trees
	}

	half := split(t.size)
	left := below(len(indexes), func(i int) int64 { return indexes[i] }, t.from+half)
	trees = without(trees, indexes[:left], subtree{t.from, half})
	return without(trees, indexes[left:], subtree{t.from + half, t.size - half})
}

// stored appends the indexes of the hashes that one is made of, from left to right: of
// powers of two, each less than the one before. Only the tree's right edge has several.
func (t subtree) stored(all []int64) []int64 {
	from := t.from
	for left := t.size; left > 0; {
		level := bits.Len64(uint64(left)) - 1
		all = append(all, tlog.StoredHashIndex(level, from>>level))
		from += 1 << level
		left -= 1 << level
	}
	return all
}

// rootOf is the root of a tree of size leaves from an index on: of some leaves, and the
// hashes of what holds none of them. It returns the hashes that it did not need.
func rootOf(leaves []indexed, proof []Hash, from, size int64) (Hash, []Hash, error) {
	if len(leaves) == 0 {
		if len(proof) == 0 {
			return Hash{}, nil, fmt.Errorf("%w: the proof is too short", ErrFile)
		}
		return proof[0], proof[1:], nil
	}
	if size == 1 {
		return HashOf(leaves[0].raw), proof, nil
	}

	half := split(size)
	at := below(len(leaves), func(i int) int64 { return leaves[i].index }, from+half)
	left, proof, err := rootOf(leaves[:at], proof, from, half)
	if err != nil {
		return left, nil, err
	}
	right, proof, err := rootOf(leaves[at:], proof, from+half, size-half)
	return tlog.NodeHash(left, right), proof, err
}

// below counts those of n ascending numbers that are less than a bound.
func below(n int, number func(int) int64, bound int64) int {
	low := 0
	for low < n {
		if middle := (low + n) / 2; number(middle) < bound {
			low = middle + 1
		} else {
			n = middle
		}
	}
	return low
}
