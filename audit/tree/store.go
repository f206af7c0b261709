package tree

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/internal/disk"
)

// store is the directory of a tree. Whatever it writes is durable when it returns.
type store struct {
	dir  string
	disk disk.System
}

// CheckpointName is that of the last checkpoint in a tree's directory.
const CheckpointName = "checkpoint"

const (
	edgeName       = "edge"
	witnessedName  = "witnessed"
	stampedName    = "stamped"
	edgeMagic      = "GLEDGE01"
	namesMagic     = "GLNAMES1"
	names2Magic    = "GLNAMES2" // of a segment that an erasure rewrote
	maxStoredBytes = 1 << 20    // more than any other file of a tree has
	maxNamesBytes  = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a magic before a content and a checksum behind it.
func seal(magic string, content []byte) []byte {
	b := append([]byte(magic), content...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func unseal(magic string, b []byte) ([]byte, bool) {
	n := len(b) - crc32.Size
	if n < len(magic) || string(b[:len(magic)]) != magic || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil, false
	}
	return b[len(magic):n], true
}

func (s store) path(name string) string { return filepath.Join(s.dir, name) }

func (s store) read(name string) ([]byte, error) {
	return s.disk.Read(s.path(name), maxStoredBytes)
}

func (s store) write(name string, content []byte) error {
	if err := disk.Keep(s.disk, s.path(name), content, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// tileName is a tile's path as C2SP tlog-tiles spells it.
func tileName(level int, n int64) string {
	name := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	return fmt.Sprintf("tile/%d/%s", level, name)
}

// tile keeps a full tile.
func (s store) tile(level int, n int64, hashes []evidence.Hash) error {
	name := tileName(level, n)
	if err := disk.MakeDirs(s.disk, s.dir, filepath.Dir(s.path(name)), 0o700); err != nil {
		return fmt.Errorf("keeping tile %d of level %d: %w", n, level, err)
	}
	return s.write(name, tileBytes(hashes))
}

// tileBytes are the hashes one behind the other.
func tileBytes(hashes []evidence.Hash) []byte {
	b := make([]byte, 0, len(hashes)*len(evidence.Hash{}))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// edge is what the tree was when its last checkpoint was about to be made, and how
// far of the log it reaches. The empty tree is that of a directory without one.
func (s store) edge() (*evidence.Edge, audit.Position, error) {
	b, err := s.read(edgeName)
	if errors.Is(err, fs.ErrNotExist) {
		return new(evidence.Edge), audit.Position{}, nil
	}
	if err != nil {
		return nil, audit.Position{}, fmt.Errorf("reading the tree's edge: %w", err)
	}

	const head = 4 + 8 + 8 + 32
	content, ok := unseal(edgeMagic, b)
	if !ok || len(content) < head {
		return nil, audit.Position{}, fmt.Errorf("%w: %s is damaged", ErrDamaged, s.path(edgeName))
	}

	at := audit.Position{
		Segment: binary.BigEndian.Uint32(content),
		Offset:  int64(binary.BigEndian.Uint64(content[4:])),
		Next:    binary.BigEndian.Uint64(content[12:]),
	}
	copy(at.Chain[:], content[20:])
	e, err := evidence.ParseEdge(content[head:])
	if err != nil {
		return nil, at, fmt.Errorf("%w: %s: %w", ErrDamaged, s.path(edgeName), err)
	}
	return e, at, nil
}

func (s store) putEdge(e *evidence.Edge, at audit.Position) error {
	b := binary.BigEndian.AppendUint32(nil, at.Segment)
	b = binary.BigEndian.AppendUint64(b, uint64(at.Offset))
	b = binary.BigEndian.AppendUint64(b, at.Next)
	b = append(b, at.Chain[:]...)
	return s.write(edgeName, seal(edgeMagic, e.AppendTo(b)))
}

// names are what the names of one segment's leaves are made with: a secret, from
// which each value's salt follows. Without the file nobody can tell by trying whether
// a digest is of a value. first is the index of the segment's first leaf.
//
// Of a segment that an erasure rewrote the salts themselves are kept, of what is still
// there, since from the secret the others followed, too. Then the secret is another: what
// a salt is looked up by.
type names struct {
	segment uint32
	first   int64
	secret  [32]byte
	salts   map[lookup]evidence.Salt // nil: they follow from the secret
	known   map[string]evidence.Name // some of those that were asked for
}

// maxKnown bounds the names that are remembered: clients choose some of them.
const maxKnown = 4096

func namesName(segment uint32) string { return fmt.Sprintf("names-%08d", segment) }

// lookup is what a value's salt is found by.
type lookup [16]byte

// lookup is HMAC-SHA256 of the value under the secret, its first half.
func (n *names) lookup(value string) lookup {
	h := hmac.New(sha256.New, n.secret[:])
	h.Write([]byte(value))
	return lookup(h.Sum(nil)[:len(lookup{})])
}

// saltOf is the salt of a value; ok is false for one that was erased, or never there.
func (n *names) saltOf(value string) (salt evidence.Salt, ok bool) {
	at := n.lookup(value)
	if n.salts == nil {
		return evidence.Salt(at), true
	}
	salt, ok = n.salts[at]
	return salt, ok
}

// salt is saltOf a value that a leaf has. Without its salt the name is another's, and no
// proof holds.
func (n *names) salt(value string) evidence.Salt {
	salt, _ := n.saltOf(value)
	return salt
}

// encode gives the file of a table of salts.
func (n *names) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(n.first))
	b = append(b, n.secret[:]...)
	byBytes := func(a, b lookup) int { return bytes.Compare(a[:], b[:]) }
	for _, at := range slices.SortedFunc(maps.Keys(n.salts), byBytes) {
		salt := n.salts[at]
		b = append(b, at[:]...)
		b = append(b, salt[:]...)
	}
	return seal(names2Magic, b)
}

func (n *names) of(value string) evidence.Name {
	if value == "" {
		return evidence.Name{}
	}
	if name, ok := n.known[value]; ok {
		return name
	}
	if n.known == nil || len(n.known) >= maxKnown {
		n.known = make(map[string]evidence.Name)
	}

	name := evidence.NameOf(n.salt(value), value)
	n.known[value] = name
	return name
}

// names reads a segment's, fs.ErrNotExist where it has none.
func (s store) names(segment uint32) (*names, error) {
	b, err := s.disk.Read(s.path(namesName(segment)), maxNamesBytes)
	if err != nil {
		return nil, fmt.Errorf("reading names of segment %d: %w", segment, err)
	}

	if content, ok := unseal(names2Magic, b); ok {
		if n, ok := parseNames2(content); ok {
			n.segment = segment
			return n, nil
		}
	}

	content, ok := unseal(namesMagic, b)
	if !ok || len(content) != 8+len(names{}.secret) {
		return nil, fmt.Errorf("%w: %s is damaged", ErrDamaged, s.path(namesName(segment)))
	}
	n := &names{segment: segment, first: int64(binary.BigEndian.Uint64(content))}
	copy(n.secret[:], content[8:])
	return n, nil
}

// makeNames begins a segment.
func (s store) makeNames(segment uint32, first int64) (*names, error) {
	n := &names{segment: segment, first: first}
	rand.Read(n.secret[:])
	b := binary.BigEndian.AppendUint64(nil, uint64(first))
	return n, s.write(namesName(segment), seal(namesMagic, append(b, n.secret[:]...)))
}
