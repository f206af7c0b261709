package tree

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

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
	stampedName    = "stamped"
	edgeMagic      = "GLEDGE01"
	namesMagic     = "GLNAMES1"
	maxStoredBytes = 1 << 20 // more than any file of a tree has
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
type names struct {
	segment uint32
	first   int64
	secret  [32]byte
	known   map[string]evidence.Name // some of those that were asked for
}

// maxKnown bounds the names that are remembered: clients choose some of them.
const maxKnown = 4096

func namesName(segment uint32) string { return fmt.Sprintf("names-%08d", segment) }

// salt is HMAC-SHA256 of the value under the secret, its first half.
func (n *names) salt(value string) evidence.Salt {
	h := hmac.New(sha256.New, n.secret[:])
	h.Write([]byte(value))
	return evidence.Salt(h.Sum(nil)[:len(evidence.Salt{})])
}

func (n *names) of(value string) evidence.Name {
	if name, ok := n.known[value]; ok || value == "" {
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
	b, err := s.read(namesName(segment))
	if err != nil {
		return nil, fmt.Errorf("reading names of segment %d: %w", segment, err)
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
