package evidence

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// RangeFormat is what a certificate of a range says it is, and ListedRangeFormat one that
// encloses the manifest of the logs. The first version was of one log, and is still read.
const (
	ListedRangeFormat = "guardlock range certificate v3"
	RangeFormat       = "guardlock range certificate v2"
	FirstRangeFormat  = "guardlock range certificate v1"
)

// MaxRangeBytes bounds a certificate, and maxPacked the leaves of all logs in it once
// they are unpacked.
const (
	MaxRangeBytes = 64 << 20
	maxPacked     = 512 << 20
)

// Range is a stretch of offsets of a partition, First and Last included.
type Range struct {
	Cluster   string `json:"cluster"`
	Topic     string `json:"topic"`
	Partition uint32 `json:"partition"`
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
}

// Certificate proves what became of every record of a range, by the logs of all gateways
// that stored some of it.
type Certificate struct {
	Format string `json:"format"`
	Range  Range  `json:"range"`
	Gaps   []Gap  `json:"gaps,omitempty"` // offsets without a decision, and why
	// Manifest says which logs there are, each of which is then in the certificate.
	Manifest *Manifest `json:"manifest,omitempty"`
	Logs     []Section `json:"logs"` // ascending by their origins, so that none is in it twice
	// Names are behind digests in the leaves, as far as they are told.
	Names     []Opened `json:"names,omitempty"`
	Approvals [][]byte `json:"approvals,omitempty"` // as in a File
}

// Manifest is the signed list of a cluster's logs, as audit/manifest has it. It is checked
// by whoever has a trust root: here it is bytes.
type Manifest struct {
	File       []byte   `json:"file"`
	Signatures [][]byte `json:"signatures"`
	// Digest is the SHA-256 of the file and of each signature, each behind its length in u32:
	// no changed bit may go unseen, also of what a signature says beside itself.
	Digest []byte `json:"digest"`
}

// NewManifest encloses a manifest and the signatures that count.
func NewManifest(file []byte, signatures [][]byte) *Manifest {
	m := &Manifest{File: file, Signatures: signatures}
	m.Digest = m.digest()
	return m
}

func (m *Manifest) digest() []byte {
	h := sha256.New()
	for _, b := range append([][]byte{m.File}, m.Signatures...) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		h.Write(b)
	}
	return h.Sum(nil)
}

// Bare is the section of a log that says nothing of the range. No proof says that it has no
// entry about it: the checkpoint shows which log it is, and how long.
func Bare(checkpoint string) Section {
	return Section{Checkpoint: checkpoint, Leaves: []byte{}, Digest: []byte{}, Proof: []byte{}}
}

// bare reports whether the section is one of Bare.
func (s *Section) bare() bool {
	written := s.Leaves != nil && s.Digest != nil && s.Proof != nil
	return written && len(s.Leaves)+len(s.Digest)+len(s.Proof) == 0
}

// Section is what one log says of a range. Leaves stand packed in it, since neighbours
// say mostly the same, and one proof serves all of them.
type Section struct {
	Checkpoint string `json:"checkpoint"` // a signed note
	// Leaves are the entries in the order of the tree, packed by zlib: u64 index, u32
	// length, leaf. Digest is the SHA-256 of the packed bytes: one thing can be packed
	// in many ways, and no changed bit may go unseen.
	Leaves []byte `json:"leaves"`
	Digest []byte `json:"digest"`
	Proof  []byte `json:"proof"` // hashes, as Prover.Multi gives them
}

// firstCertificate is how the first version is written.
type firstCertificate struct {
	Format string `json:"format"`
	Range  Range  `json:"range"`
	Gaps   []Gap  `json:"gaps,omitempty"`
	Section
	Names     []Opened `json:"names,omitempty"`
	Approvals [][]byte `json:"approvals,omitempty"`
}

// indexed is a leaf with its place in the tree.
type indexed struct {
	index int64
	raw   []byte
}

// Pack puts leaves and their proof into the section. They ascend by index.
func (s *Section) Pack(indexes []int64, leaves [][]byte, proof []Hash) error {
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, zlib.BestCompression)
	if err != nil {
		return fmt.Errorf("packing leaves: %w", err)
	}

	for i, leaf := range leaves {
		head := binary.BigEndian.AppendUint64(nil, uint64(indexes[i]))
		head = binary.BigEndian.AppendUint32(head, uint32(len(leaf)))
		if _, err := z.Write(append(head, leaf...)); err != nil {
			return fmt.Errorf("packing leaves: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("packing leaves: %w", err)
	}

	sum := sha256.Sum256(b.Bytes())
	s.Leaves = b.Bytes()
	s.Digest = sum[:]
	s.Proof = []byte{} // not null, where the leaves are the whole tree
	for _, h := range proof {
		s.Proof = append(s.Proof, h[:]...)
	}
	return nil
}

// unpack is the inverse of Pack. Its leaves must be no more bytes than most.
func (s *Section) unpack(most int) (leaves []indexed, proof []Hash, err error) {
	if sum := sha256.Sum256(s.Leaves); !bytes.Equal(sum[:], s.Digest) {
		return nil, nil, fmt.Errorf("%w: its leaves are not those that it was written with", ErrFile)
	}
	packed := bytes.NewReader(s.Leaves)
	z, err := zlib.NewReader(packed)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: unpacking leaves: %w", ErrFile, err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, int64(most)+1))
	if err != nil || len(raw) > most || packed.Len() > 0 {
		return nil, nil, fmt.Errorf("%w: its leaves cannot be unpacked, or are more than %d bytes", ErrFile, maxPacked)
	}

	last := int64(-1)
	for len(raw) > 0 {
		if len(raw) < 12 {
			return nil, nil, fmt.Errorf("%w: a leaf is cut", ErrFile)
		}
		index := int64(binary.BigEndian.Uint64(raw))
		size := int64(binary.BigEndian.Uint32(raw[8:]))
		raw = raw[12:]
		if index <= last || size > int64(len(raw)) {
			return nil, nil, fmt.Errorf("%w: a leaf is cut, or out of its order", ErrFile)
		}
		leaves = append(leaves, indexed{index, raw[:size]})
		raw = raw[size:]
		last = index
	}

	if len(s.Proof)%tlog.HashSize != 0 {
		return nil, nil, fmt.Errorf("%w: its proof is cut", ErrFile)
	}
	for b := s.Proof; len(b) > 0; b = b[tlog.HashSize:] {
		proof = append(proof, Hash(b[:tlog.HashSize]))
	}
	return leaves, proof, nil
}

// Encode gives the one way to write the certificate, which is that of a File.
func (c *Certificate) Encode() ([]byte, error) {
	if c.Format != FirstRangeFormat {
		return encode(c)
	}
	if len(c.Logs) != 1 {
		return nil, fmt.Errorf("encoding evidence: %q is of one log", c.Format)
	}
	return encode(&firstCertificate{c.Format, c.Range, c.Gaps, c.Logs[0], c.Names, c.Approvals})
}

// IsCertificate reports whether bytes say that they are a certificate of a range.
func IsCertificate(b []byte) bool {
	format := formatOf(b)
	return format == ListedRangeFormat || format == RangeFormat || format == FirstRangeFormat
}

// formatOf is what bytes say they are.
func formatOf(b []byte) string {
	var f struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return ""
	}
	return f.Format
}

// DecodeCertificate reads a certificate. One that Encode would write in another way is
// ErrFile. Nothing of it is proven by that.
func DecodeCertificate(b []byte) (*Certificate, error) {
	if len(b) > MaxRangeBytes {
		return nil, fmt.Errorf("%w: %d bytes, and none has more than %d", ErrFile, len(b), MaxRangeBytes)
	}

	if formatOf(b) == FirstRangeFormat {
		f := new(firstCertificate)
		if err := decode(b, f); err != nil {
			return nil, err
		}
		return &Certificate{Format: f.Format, Range: f.Range, Gaps: f.Gaps, Logs: []Section{f.Section}, Names: f.Names, Approvals: f.Approvals}, nil
	}

	c := new(Certificate)
	if err := decode(b, c); err != nil {
		return nil, err
	}
	if c.Format != RangeFormat && c.Format != ListedRangeFormat {
		return nil, fmt.Errorf("%w: its format is %q, and this program reads %q", ErrFile, c.Format, ListedRangeFormat)
	}
	if (c.Manifest != nil) != (c.Format == ListedRangeFormat) {
		return nil, fmt.Errorf("%w: a manifest is in %q, and only there", ErrFile, ListedRangeFormat)
	}
	return c, nil
}
