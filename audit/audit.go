// Package audit is the decision log: an append-only, group-committed,
// hash-chained record of what became of every record that met the gateway, and
// of every admission and configuration that let it.
//
// # Order
//
// One entry stands for one produce batch of one cluster: a gateway may serve
// several, so a record's place is cluster, topic, partition and offset. Its
// ticket resolves when the entry is durable; the gateway forwards the batch
// only then. The broker's answer is appended later as a binding. The crash
// points, in order:
//
//  1. before the frame is durable: nothing was forwarded, nothing is lost;
//  2. durable, not forwarded: the entry is found in Unplaced, and the partition
//     shows that the batch never came;
//  3. forwarded, not bound: the entry is found in Unplaced, and the partition
//     shows the batch (same producer facts or same MAC), which gives its offset;
//  4. bound, not flushed: as 3.
//
// # Format
//
// A directory holds segments audit-00000001.wal, audit-00000002.wal, …, a lock
// and the committed mark. A segment is a header, frames, and zeros. The header
// carries the chain value that the segment before it ended with. A frame is one
// group commit: marker, length, CRC32C, chain value, tag, payload. Its chain value
// is SHA-256 over the one before and its own payload; its tag is a MAC of the
// chain value under the audit key. The marker is random for
// each segment, so that no client can put a frame inside a frame. Strings are
// interned: defined once for each segment, then named by number. The last frame
// of a finished segment is its seal: a summary that lets queries pass over it.
// Beside it may lie an index, audit-00000001.idx, which is derived and says where
// in the segment things are.
// docs/log-format.md gives the bytes.
//
// # Trust
//
// The log holds no byte and no unkeyed hash of a record: batches are named by an
// AES-256-GMAC under the audit key. CRC finds accidents; the tags find edits by
// anyone without the audit key, as long as a reader has it. What somebody with
// the key rewrote, and a log that was put back to what it once was, mark and
// all, is found by comparing a chain value kept elsewhere (Log.Head). Queries need
// no key.
package audit

import (
	"errors"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// The errors that callers branch on.
var (
	// ErrUnavailable means that the decision cannot be made durable. The log
	// has failed for good (a failed fsync may have dropped the pages, so no
	// retry is honest); only a new Open helps.
	ErrUnavailable = errors.New("decision log unavailable")
	// ErrClosed is ErrUnavailable after Close.
	ErrClosed = errors.New("decision log closed")
	// ErrOverloaded means that more decisions wait for the disk than the log
	// will hold in memory. Unlike ErrUnavailable it passes.
	ErrOverloaded = errors.New("decision log overloaded")
	// ErrDiskFull means that the disk has no room for more decisions: see Log.SetFree.
	// Like ErrOverloaded it passes.
	ErrDiskFull = errors.New("decision log has no room on its disk")
	// ErrCorrupt means that the log's bytes are not what was committed.
	ErrCorrupt = segment.ErrCorrupt
	// ErrPruned means that what is asked for was pruned, perhaps in this moment.
	ErrPruned = errors.New("pruned")
	// ErrNoMark means that the committed mark is missing or torn.
	ErrNoMark = segment.ErrNoMark
	// ErrUntagged means that a log is of the version before there were tags, which
	// anybody can write who can write its directory.
	ErrUntagged = errors.New("decision log has no tags under an audit key")
	// ErrForeign means that a log is another gateway's, or under another key.
	ErrForeign = errors.New("decision log is not this gateway's")
	// ErrTakenOver means that somebody else writes the log, or took its files away.
	ErrTakenOver = segment.ErrTakenOver
	// ErrLocked means that another gateway holds the directory.
	ErrLocked = segment.ErrLocked
	// ErrInvalidEntry means that an entry breaks its own rules (counts, sizes).
	ErrInvalidEntry = errors.New("invalid audit entry")
	// ErrNoPosition means that a log has no such place as a cursor was to begin at.
	ErrNoPosition = errors.New("decision log never came so far")
	// ErrNotFound means that no decision has the id asked for.
	ErrNotFound = errors.New("decision not found")
)

// Options configure Open.
type Options struct {
	// Key is the audit key: MACs of batches, and tags of the chain, are made under
	// keys derived from it.
	Key [32]byte
	// PreviousKey, if not nil, is the audit key of a log that goes on under Key.
	PreviousKey *[32]byte
	// Node names the gateway in segment headers, at most 64 bytes.
	Node string
	// Adopt names the gateway whose log is continued though Node is another one.
	// When it is Node itself, a log without its mark is continued as it is found.
	Adopt string
	// SegmentBytes is the size at which a segment is sealed; default 64 MiB.
	SegmentBytes int64
	// SegmentAge is how long a segment takes entries; default 1 h. So a log of few
	// entries has finished segments, which can be pruned.
	SegmentAge time.Duration
	// NewSegment has the opening begin a segment, so that all before it is in finished ones.
	NewSegment bool
	// Linger is how long a commit waits for company; default 0. Under load,
	// company comes by itself while the flush before is under way.
	Linger time.Duration
	// InsecureNoSync leaves out every flush: a power cut then loses decisions
	// of acknowledged records. For benchmarks.
	InsecureNoSync bool
	// Now is the clock; default time.Now.
	Now func() time.Time
}

const (
	defaultSegmentBytes = 64 << 20
	defaultSegmentAge   = time.Hour
	minSegmentBytes     = 4 << 10
	maxPendingBytes     = 32 << 20 // in memory, waiting for the disk
	diskReserve         = 16 << 20 // beside the next segment: for answers, control entries, index and tree
	maxEntryBytes       = 8 << 20
	maxStringBytes      = 32767 // Kafka's own limit of a STRING
)

func (o Options) withDefaults() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = max(o.SegmentBytes, minSegmentBytes)
	if o.SegmentAge == 0 {
		o.SegmentAge = defaultSegmentAge
	}
	if o.Now == nil {
		o.Now = time.Now
	}

	return o
}
