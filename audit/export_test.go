package audit

import (
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

// CommittedMark says how far the log is durable.
func (l *Log) CommittedMark() *segment.Mark { return l.committed.Load() }
