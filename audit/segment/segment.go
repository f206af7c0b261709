// Package segment is the decision log as bytes: segment files of checksummed and
// chained frames, the mark that says how far they are durable, and the one
// goroutine's worth of writing them. What stands in a frame's payload it does not
// know; package audit does. docs/log-format.md specifies every byte.
//
//	audit-00000001.wal      header | frame | frame | … | seal | footer
//	audit-00000002.wal      header | frame | frame | torn frame, zeros
//	committed               mark
//
// Trust: the disk is trusted to keep what a flush said it kept, and with nothing
// else. What no crash can leave behind is ErrCorrupt, and never repaired.
package segment

import "errors"

var (
	// ErrCorrupt means that the log's bytes are not what was committed.
	ErrCorrupt = errors.New("decision log corrupt")
	// ErrNoMark means that the committed mark is missing or torn.
	ErrNoMark = errors.New("the committed mark is missing or torn, so that entries cut off at the end would not show")
	// ErrTakenOver means that somebody else writes the log, or took its files away.
	ErrTakenOver = errors.New("decision log was taken over")
	// ErrLocked means that another gateway holds the directory.
	ErrLocked = errors.New("directory of the decision log is in use by another gateway")
)

// MaxNodeBytes bounds the name of a gateway in a header.
const MaxNodeBytes = 64
