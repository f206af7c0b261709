package audit

import (
	"context"
	"fmt"

	"github.com/guardlock/guardlock/audit/segment"
)

// What tests outside of the package know of its inside.
const (
	BindDelay           = bindDelay
	DefaultSegmentBytes = defaultSegmentBytes
	MaxPendingBytes     = maxPendingBytes
	MaxStringBytes      = maxStringBytes
	MinSegmentBytes     = minSegmentBytes
)

// KeyAndNonce is what the MAC of a batch was made with: never twice the same.
func (r BatchRef) KeyAndNonce(key [32]byte) string {
	return string(deriveKey(key, "guardlock audit batch mac v1", r.mac.epoch[:])) + fmt.Sprint(r.mac.nonce)
}

// IndexOnce makes the indexes that are missing now.
func (l *Log) IndexOnce(ctx context.Context) error { return l.indexFinished(ctx, map[uint32]bool{}) }

// NewKeepingReader leaves the indexes that it makes where it may, as OpenReader's.
func NewKeepingReader(d segment.Files) *Reader {
	r := NewReader(d, func() (*segment.Mark, error) { return CommittedMark(d) })
	r.keep = true
	return r
}

// ChainKey is the key of the tags under an audit key.
func ChainKey(key [32]byte) (*segment.Key, error) { return chainKey(key) }

// CommittedMark says how far the log is durable.
func (l *Log) CommittedMark() *segment.Mark { return l.committed.Load() }

// AskedOfHead is what a verification that has a kept head says of that.
func AskedOfHead(d segment.Files, key [32]byte, kept *Head) error {
	v, err := newVerifier(d, Known{Keys: [][32]byte{key}, Head: kept})
	if err == nil {
		err = v.verify()
	}
	if err == nil {
		err = v.complete()
	}
	return err
}

// KnownKind reports whether a log may have entries of a kind, in whatever segment.
func KnownKind(kind uint8) bool {
	p := payload{firstSeq: 1, entries: appendEntry(nil, []byte{kind, byte(KindBatch), 0}), redacts: true}
	err := p.each(func(rawEntry) error { return nil })
	return err == nil
}
