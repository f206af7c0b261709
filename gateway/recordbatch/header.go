package recordbatch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"iter"
)

const (
	lengthAt       = 8
	lengthEnd      = 12 // Length counts from here
	magicAt        = 16
	crcAt          = 17
	attributesAt   = 21 // the CRC covers the batch from here
	maxTimestampAt = 35
	headerSize     = 61

	codecMask        = 0x07
	logAppendTimeBit = 0x08
	transactionalBit = 0x10
	controlBit       = 0x20
)

// Header is a batch header as it was on the wire. Times are in milliseconds
// since the epoch.
type Header struct {
	BaseOffset           int64
	Length               int32 // bytes behind the length field
	PartitionLeaderEpoch int32
	Magic                int8
	CRC                  uint32
	Attributes           int16
	LastOffsetDelta      int32
	BaseTimestamp        int64
	MaxTimestamp         int64
	ProducerID           int64 // -1: neither idempotent nor transactional
	ProducerEpoch        int16
	BaseSequence         int32
	NumRecords           int32
}

// ParseHeader reads the header at the start of raw, without looking at what
// follows it.
func ParseHeader(raw []byte) (Header, error) {
	if len(raw) > magicAt && raw[magicAt] != 2 {
		return Header{}, fmt.Errorf("reading batch header: magic %d: %w", int8(raw[magicAt]), ErrUnsupportedMagic)
	}
	if len(raw) < headerSize {
		return Header{}, fmt.Errorf("reading batch header: %d bytes: %w", len(raw), ErrCorrupt)
	}

	be := binary.BigEndian
	raw = raw[:headerSize]
	return Header{
		BaseOffset:           int64(be.Uint64(raw[0:])),
		Length:               int32(be.Uint32(raw[8:])),
		PartitionLeaderEpoch: int32(be.Uint32(raw[12:])),
		Magic:                int8(raw[16]),
		CRC:                  be.Uint32(raw[17:]),
		Attributes:           int16(be.Uint16(raw[21:])),
		LastOffsetDelta:      int32(be.Uint32(raw[23:])),
		BaseTimestamp:        int64(be.Uint64(raw[27:])),
		MaxTimestamp:         int64(be.Uint64(raw[35:])),
		ProducerID:           int64(be.Uint64(raw[43:])),
		ProducerEpoch:        int16(be.Uint16(raw[51:])),
		BaseSequence:         int32(be.Uint32(raw[53:])),
		NumRecords:           int32(be.Uint32(raw[57:])),
	}, nil
}

// Compression returns the codec of the batch, which may be one that Kafka does
// not know.
func (h Header) Compression() Compression { return Compression(h.Attributes & codecMask) }

// IsControl reports whether the batch holds transaction markers, which are the
// broker's and no records.
func (h Header) IsControl() bool { return h.Attributes&controlBit != 0 }

// IsTransactional reports whether the batch belongs to a transaction, which may
// still be aborted.
func (h Header) IsTransactional() bool { return h.Attributes&transactionalBit != 0 }

// HasAppendTime reports whether the broker has set the batch's time (a topic with
// message.timestamp.type=LogAppendTime, KIP-32).
func (h Header) HasAppendTime() bool { return h.Attributes&logAppendTimeBit != 0 }

// CheckProduced checks what brokers demand of a batch that a client produces,
// and what a transform relies on: records counted without gaps, no control
// batch, times set by the producer, a sequence where there is a producer id.
func (h Header) CheckProduced() error {
	switch {
	case h.IsControl():
		return fmt.Errorf("checking produced batch: control batch: %w", ErrCorrupt)
	case h.NumRecords <= 0 || int64(h.LastOffsetDelta)+1 != int64(h.NumRecords):
		return fmt.Errorf("checking produced batch: %d records, last offset delta %d: %w", h.NumRecords, h.LastOffsetDelta, ErrCorrupt)
	case h.HasAppendTime():
		return fmt.Errorf("checking produced batch: log append time: %w", ErrCorrupt)
	case h.ProducerID >= 0 && (h.BaseSequence < 0 || h.ProducerEpoch < 0):
		return fmt.Errorf("checking produced batch: producer id without sequence: %w", ErrCorrupt)
	}
	return nil
}

// Append appends a whole batch of plain records, which are framed already, under
// a header of ours: length and CRC are set here.
func Append(dst []byte, h Header, records []byte) []byte {
	start := len(dst)
	h.Magic = 2
	dst = h.append(dst)
	dst = append(dst, records...)
	finish(dst[start:])
	return dst
}

// append writes the header as it is; finish sets length and CRC afterwards.
func (h Header) append(dst []byte) []byte {
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(h.BaseOffset))
	dst = be.AppendUint32(dst, uint32(h.Length))
	dst = be.AppendUint32(dst, uint32(h.PartitionLeaderEpoch))
	dst = append(dst, byte(h.Magic))
	dst = be.AppendUint32(dst, h.CRC)
	dst = be.AppendUint16(dst, uint16(h.Attributes))
	dst = be.AppendUint32(dst, uint32(h.LastOffsetDelta))
	dst = be.AppendUint64(dst, uint64(h.BaseTimestamp))
	dst = be.AppendUint64(dst, uint64(h.MaxTimestamp))
	dst = be.AppendUint64(dst, uint64(h.ProducerID))
	dst = be.AppendUint16(dst, uint16(h.ProducerEpoch))
	dst = be.AppendUint32(dst, uint32(h.BaseSequence))

	return be.AppendUint32(dst, uint32(h.NumRecords))
}

// finish sets length and CRC of a whole batch, which are its last bytes to be
// known.
func finish(batch []byte) {
	binary.BigEndian.PutUint32(batch[lengthAt:], uint32(len(batch)-lengthEnd))
	binary.BigEndian.PutUint32(batch[crcAt:], checksum(batch))
}

// checksum is the CRC32C of a whole batch. MakeTable returns the one table of
// the standard library for this polynomial; the hardware does the work.
func checksum(batch []byte) uint32 {
	return crc32.Checksum(batch[attributesAt:], crc32.MakeTable(crc32.Castagnoli))
}

// verify checks what can be known of a whole batch without its records: its
// length, CRC, counts and codec.
func verify(raw []byte) (Header, error) {
	h, err := ParseHeader(raw)
	switch {
	case err != nil:
		return h, err
	case int64(h.Length) != int64(len(raw)-lengthEnd):
		return h, fmt.Errorf("checking batch: length %d, %d bytes at hand: %w", h.Length, len(raw)-lengthEnd, ErrCorrupt)
	case h.CRC != checksum(raw):
		return h, fmt.Errorf("checking batch: CRC differs: %w", ErrCorrupt)
	case h.Compression() > Zstd:
		return h, fmt.Errorf("checking batch: codec %d: %w", h.Compression(), ErrUnsupportedCompression)
	case h.NumRecords < 0 || h.LastOffsetDelta < 0 || int64(h.NumRecords) > int64(h.LastOffsetDelta)+1:
		return h, fmt.Errorf("checking batch: %d records, last offset delta %d: %w", h.NumRecords, h.LastOffsetDelta, ErrCorrupt)
	}

	return h, nil
}

// SplitBatches yields the batches of a records field one by one, of any magic
// and unverified; each is a view into records. A broker may cut the last one
// short (a fetch is bounded in bytes): that rest comes with ErrTruncated. A
// length that no batch can have ends the sequence with ErrCorrupt.
func SplitBatches(records []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(records) > 0 {
			if len(records) < lengthEnd {
				yield(records, ErrTruncated)
				return
			}

			length := int32(binary.BigEndian.Uint32(records[lengthAt:]))
			// 14 bytes behind the length is the smallest message of magic 0.
			if length < 14 {
				yield(records, ErrCorrupt)
				return
			}

			if int64(length) > int64(len(records)-lengthEnd) {
				yield(records, ErrTruncated)
				return
			}

			end := lengthEnd + int(length)
			if !yield(records[:end:end], nil) {
				return
			}

			records = records[end:]
		}
	}
}
