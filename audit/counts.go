package audit

import (
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/internal/meter"
)

// logCounts are what the committer did since the log was opened.
type logCounts struct {
	entries atomic.Uint64
	syncs   meter.Histogram
}

func (c *logCounts) committed(took time.Duration, entries uint64) {
	c.entries.Add(entries)
	c.syncs.Observe(took)
}

// LogCount is how a log fares. Entries divided by commits is how many share one.
type LogCount struct {
	Entries uint64        // committed since the log was opened
	Commits meter.Reading // how long each took, with the wait for the disk
	Pending int           // bytes that wait for a commit
	Open    int           // batches whose place is not known yet
	NextSeq uint64        // behind the last durable entry
	Full    bool          // the disk has no room: it takes no batches until there is more
	Err     error         // not nil: it takes no entries any more
}

// Count reads how the log fares.
func (l *Log) Count() LogCount {
	n := LogCount{
		Entries: l.counts.entries.Load(),
		Commits: l.counts.syncs.Read(),
		NextSeq: l.committed.Load().NextSeq,
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	n.Pending = l.w.pending
	n.Open = len(l.w.open)
	n.Full = l.w.full()
	n.Err = l.err

	return n
}
