// Package recordbatch reads and writes Kafka record batches, magic 2 (KIP-98).
//
// A batch on the wire is a 61-byte header and, behind it, the records: plain,
// or compressed as one piece with the codec that the header's attributes name.
// The header's CRC32C covers everything from the attributes to the end; base
// offset, length, leader epoch and magic lie before it, so that brokers may
// set them without touching the sum.
//
//	 0 i64 base offset        21 i16 attributes           43 i64 producer id
//	 8 i32 length after here  23 i32 last offset delta    51 i16 producer epoch
//	12 i32 leader epoch       27 i64 base timestamp       53 i32 base sequence
//	16 i8  magic              35 i64 max timestamp        57 i32 record count
//	17 u32 CRC32C             61 ... records
//
// A record is a length and, within it, attributes, timestamp delta, offset
// delta, key, value and headers; all numbers are zigzag varints.
//
// Every byte given to Decode, Strip and SplitBatches comes from outside and is
// hostile until shown otherwise. Nothing is allocated by a length read off the
// wire: output grows only as far as the bytes at hand can expand, and never
// past Limits. What was decoded is exactly what every other reader sees: left
// over bytes, in the batch or behind the compressed stream, are refused, so
// that nothing can hide from a transform. Errors hold no record bytes.
//
// A Codec keeps the state of all compressors and the scratch buffers; with
// reused batches and destinations nothing is allocated per record or per batch.
package recordbatch

import (
	"errors"
	"fmt"
	"math"

	"github.com/guardlock/guardlock/transforms/record"
)

// The errors on which callers branch. All others wrap one of them.
var (
	ErrCorrupt                = errors.New("corrupt record batch")
	ErrTooLarge               = errors.New("record batch exceeds its bounds")
	ErrTruncated              = errors.New("truncated record batch")
	ErrUnsupportedMagic       = errors.New("unsupported record batch magic")
	ErrUnsupportedCompression = errors.New("unsupported record batch compression")
	// ErrControl is returned for a control batch (transaction markers), which
	// is never altered, and which no producer sends.
	ErrControl = errors.New("control batch cannot be altered")
	// ErrRejected is returned for a batch that holds a rejected record, which
	// is never encoded: the whole batch is refused.
	ErrRejected = errors.New("record batch holds a rejected record")
)

// Limits bound what one batch may cost, whatever its header claims. Zero fields
// take the defaults.
type Limits struct {
	MaxDecompressed int // bytes of records after decompression; default 64 MiB
	MaxRecords      int // records per batch; default 1,048,576
}

const (
	defaultMaxDecompressed = 64 << 20
	defaultMaxRecords      = 1 << 20
	// maxRetained is the largest scratch buffer that a Codec keeps between
	// batches: one huge batch must not pin its size for ever.
	maxRetained = 4 << 20
)

func (l Limits) withDefaults() Limits {
	if l.MaxDecompressed <= 0 {
		l.MaxDecompressed = defaultMaxDecompressed
	}
	if l.MaxRecords <= 0 {
		l.MaxRecords = defaultMaxRecords
	}

	l.MaxDecompressed = min(l.MaxDecompressed, math.MaxInt32)
	l.MaxRecords = min(l.MaxRecords, math.MaxInt32)
	return l
}

// Codec decodes and encodes batches. It owns the compressors' state, made on
// first use, and is used by one goroutine at a time.
type Codec struct {
	limits Limits // fixed after NewCodec

	plain []byte       // records before compression
	strip record.Batch // what Strip decodes into

	gzip gzipState
	lz4  lz4State
	zstd zstdState
}

// NewCodec returns a codec that refuses batches beyond l. A codec is for one
// goroutine at a time.
func NewCodec(l Limits) *Codec {
	return &Codec{limits: l.withDefaults()}
}

// Compression is a codec, numbered as the lowest three attribute bits of a
// batch have it.
type Compression int8

// The codecs that Kafka's clients and brokers know.
const (
	None   Compression = 0
	Gzip   Compression = 1
	Snappy Compression = 2
	LZ4    Compression = 3
	Zstd   Compression = 4
)

var compressionNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String returns Kafka's name of the codec, as in the setting compression.type.
func (c Compression) String() string {
	if c >= 0 && int(c) < len(compressionNames) {
		return compressionNames[c]
	}
	return fmt.Sprintf("compression(%d)", int8(c))
}

// ParseCompression reads a codec's name as String spells it. Other words are
// errors.
func ParseCompression(s string) (Compression, error) {
	for i, name := range compressionNames {
		if s == name {
			return Compression(i), nil
		}
	}
	return None, fmt.Errorf("parsing compression %q: want none, gzip, snappy, lz4 or zstd", s)
}
