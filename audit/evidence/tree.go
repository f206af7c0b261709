package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is one of the tree, as RFC 6962 (2.1) makes them.
type Hash = tlog.Hash

// HashOf is the hash of a leaf (RFC 6962, 2.1).
func HashOf(leaf []byte) Hash { return tlog.RecordHash(leaf) }

// Hash is HashOf the leaf's bytes. It makes them in scratch, behind the byte that RFC
// 6962 has before a leaf, and returns that to be used again.
func (l *Leaf) Hash(scratch []byte) (Hash, []byte) {
	scratch = l.Append(append(scratch[:0], 0))
	return sha256.Sum256(scratch), scratch
}

// A tile is 256 neighbouring hashes of the heights 0, 8, 16, … (C2SP tlog-tiles).
const (
	TileHeight = 8
	TileWidth  = 1 << TileHeight
)

// ErrEdge means that bytes are no edge of a tree.
var ErrEdge = errors.New("malformed edge of the tree")

// Edge is a tree as far as appending needs it: the hashes of the tiles that are not
// full yet. The zero Edge is that of the empty tree. It is for one goroutine.
type Edge struct {
	size   int64
	levels [][]Hash // of the last tile of each level; fewer than TileWidth
}

// Size is the number of leaves.
func (e *Edge) Size() int64 { return e.size }

// Append adds a leaf by its hash. Each tile that it fills is given to full, the
// lowest first: its level, its number in that level and its hashes. An error of full
// ends the appending and leaves the edge unusable.
func (e *Edge) Append(leaf Hash, full func(level int, n int64, tile []Hash) error) error {
	e.size++
	for h, level := leaf, 0; ; level++ {
		if level == len(e.levels) {
			e.levels = append(e.levels, nil)
		}
		e.levels[level] = append(e.levels[level], h)
		if len(e.levels[level]) < TileWidth {
			return nil
		}

		n := e.size>>(TileHeight*(level+1)) - 1
		if err := full(level, n, e.levels[level]); err != nil {
			return err
		}

		h = RootOf(e.levels[level])
		e.levels[level] = e.levels[level][:0]
	}
}

// RootOf is the hash above a full tile.
func RootOf(tile []Hash) Hash {
	level := slices.Clone(tile)
	for len(level) > 1 {
		for i := 0; i < len(level); i += 2 {
			level[i/2] = nodeOf(&level[i], &level[i+1])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}

// nodeOf is the hash of a node by those below it (RFC 6962, 2.1). Each leaf costs one
// of these, so it is made in one call and without an allocation.
func nodeOf(left, right *Hash) Hash {
	b := [1 + 2*tlog.HashSize]byte{1}
	copy(b[1:], left[:])
	copy(b[1+tlog.HashSize:], right[:])
	return sha256.Sum256(b[:])
}

func bytesOf(tile []Hash) []byte {
	b := make([]byte, 0, len(tile)*tlog.HashSize)
	for i := range tile {
		b = append(b, tile[i][:]...)
	}
	return b
}

// Root is the root hash. That of the empty tree is SHA-256 of nothing.
func (e *Edge) Root() (Hash, error) {
	h, err := tlog.TreeHash(e.size, tlog.HashReaderFunc(e.read))
	if err != nil {
		return h, fmt.Errorf("computing root hash: %w", err)
	}
	return h, nil
}

// read gives hashes that lie on the edge.
func (e *Edge) read(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, 0, len(indexes))
	for _, x := range indexes {
		tile := tlog.TileForIndex(TileHeight, x)
		data, ok := e.Tile(tile.L, tile.N)
		if !ok {
			return nil, fmt.Errorf("hash %d is not on the edge", x)
		}

		tile.W = len(data) / tlog.HashSize
		h, err := tlog.HashFromTile(tile, data, x)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}

	return hashes, nil
}

// Tile gives the hashes of a tile that is not full, one behind the other; ok is false
// where the edge does not hold that tile.
func (e *Edge) Tile(level int, n int64) (data []byte, ok bool) {
	if level >= len(e.levels) || n != e.size>>(TileHeight*(level+1)) {
		return nil, false
	}
	return bytesOf(e.levels[level]), true
}

// AppendTo writes the edge: its size in 64 bits, big endian, then the hashes of each
// level. How many there are follows from the size.
func (e *Edge) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.size))
	for _, level := range e.levels {
		dst = append(dst, bytesOf(level)...)
	}
	return dst
}

// ParseEdge reads what AppendTo wrote.
func ParseEdge(b []byte) (*Edge, error) {
	if len(b) < 8 || b[0] >= 0x80 {
		return nil, ErrEdge
	}

	e := &Edge{size: int64(binary.BigEndian.Uint64(b))}
	b = b[8:]
	for rest := e.size; rest > 0; rest >>= TileHeight {
		n := int(rest % TileWidth)
		if len(b) < n*tlog.HashSize {
			return nil, ErrEdge
		}

		level := make([]Hash, n, TileWidth)
		for i := range level {
			level[i] = Hash(b[i*tlog.HashSize:])
		}
		e.levels = append(e.levels, level)
		b = b[n*tlog.HashSize:]
	}

	if len(b) > 0 {
		return nil, ErrEdge
	}
	return e, nil
}

// Tiles gives what a tree of some size is made of. The first w hashes of a tile are
// asked for; more may be given.
type Tiles interface {
	Tile(level int, n int64, w int) ([]byte, error)
}

// Prover proves leaves of one tree. What the tiles say is held against the root
// first: a tile that is not the tree's is an error.
type Prover struct {
	size   int64
	root   Hash
	hashes tlog.HashReader
}

// NewProver is for the tree of that size and root.
func NewProver(size int64, root Hash, tiles Tiles) *Prover {
	return &Prover{size, root, tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tileReader{tiles})}
}

// Path proves that the leaf with an index is in the tree (RFC 6962, 2.1.1).
func (p *Prover) Path(index int64) ([]Hash, error) {
	path, err := tlog.ProveRecord(p.size, index, p.hashes)
	if err != nil {
		return nil, fmt.Errorf("proving entry %d of %d: %w", index, p.size, err)
	}
	return path, nil
}

// Hash is one of the tree's by its index (tlog.StoredHashIndex).
func (p *Prover) Hash(index int64) (Hash, error) {
	h, err := p.hashes.ReadHashes([]int64{index})
	if err != nil {
		return Hash{}, fmt.Errorf("reading hash %d: %w", index, err)
	}
	return h[0], nil
}

// RootAt is the root that the tree had at an older size.
func (p *Prover) RootAt(size int64) (Hash, error) {
	h, err := tlog.TreeHash(size, p.hashes)
	if err != nil {
		return h, fmt.Errorf("computing the root of %d entries: %w", size, err)
	}
	return h, nil
}

// Consistency proves that an older tree is a beginning of this one (RFC 6962, 2.1.2).
func (p *Prover) Consistency(size int64) ([]Hash, error) {
	proof, err := tlog.ProveTree(p.size, size, p.hashes)
	if err != nil {
		return nil, fmt.Errorf("proving that %d entries begin %d: %w", size, p.size, err)
	}
	return proof, nil
}

// tileReader is Tiles as tlog reads them. Nothing is kept: what tiles say is checked
// each time.
type tileReader struct{ Tiles }

func (t tileReader) Height() int                     { return TileHeight }
func (t tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	all := make([][]byte, 0, len(tiles))
	for _, tile := range tiles {
		data, err := t.Tile(tile.L, tile.N, tile.W)
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %d of level %d has %d hashes, and %d are asked for", tile.N, tile.L, len(data)/tlog.HashSize, tile.W)
		}
		all = append(all, bytes.Clone(data[:tile.W*tlog.HashSize]))
	}

	return all, nil
}
