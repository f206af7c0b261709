package audit

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// The outcomes of entries about a reconciliation. Where it found what must not be, that
// is the outcome, also where it could not look at everything.
const (
	ReconciledComplete = "complete"      // all was looked at, and nothing went around
	ReconciledBypass   = "bypass"        // records are stored that no gateway decided about
	ReconciledBeyond   = "beyond"        // decisions name offsets that their partitions have not got
	NotReconciled      = "not_concluded" // something could not be looked at
)

// ReconciledOutcomes lists them.
func ReconciledOutcomes() []string {
	return []string{ReconciledComplete, ReconciledBypass, ReconciledBeyond, NotReconciled}
}

// The facts of an entry about a reconciliation, in their order. Those of classes and logs
// come once for each.
const (
	factAsked      = "asked"      // when the cluster was asked for ends of partitions, RFC 3339
	factEnded      = "ended"      // when the last of them was looked at
	factPartitions = "partitions" // that were looked at
	factGone       = "gone"       // that decisions are about, and the cluster has not got
	factOffsets    = "offsets"    // between the beginnings and the ends of partitions; with .CLASS, of a class
	factPlace      = "at"         // where what must not be is: CLASS TOPIC/PARTITION FIRST-LAST
	factLog        = "log"        // that was read: its id in hexadecimal, and the number behind its last entry
	factProblem    = "problem"    // why something could not be looked at
)

// Reconciliation is what a comparison of a cluster with the decisions about it came to.
type Reconciliation struct {
	Cluster    string
	Outcome    string
	Asked      time.Time
	Ended      time.Time
	Partitions int
	Gone       int
	Offsets    int64
	Classes    []ReconciledClass // all that there can be, the worst first
	Places     []string
	Logs       []ReconciledLog
	Problem    string
}

// ReconciledClass is how many offsets are of a class, as audit/reconcile names it.
type ReconciledClass struct {
	Class   string
	Offsets int64
}

// ReconciledLog is a log that was read, and up to where.
type ReconciledLog struct {
	ID   [8]byte
	Next uint64 // number behind its last entry
}

// ByClass is how many offsets are of each class, those without any included.
func (r *Reconciliation) ByClass() map[string]int64 {
	all := make(map[string]int64)
	for _, c := range r.Classes {
		all[c.Class] = c.Offsets
	}
	return all
}

// Entry is what the log says of it.
func (r *Reconciliation) Entry() ControlEntry {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	e := ControlEntry{
		Kind:    KindReconciliation,
		Subject: r.Cluster,
		Outcome: r.Outcome,
		Facts: []Fact{
			{factAsked, r.Asked.UTC().Format(time.RFC3339Nano)},
			{factEnded, r.Ended.UTC().Format(time.RFC3339Nano)},
			{factPartitions, number(int64(r.Partitions))},
			{factGone, number(int64(r.Gone))},
			{factOffsets, number(r.Offsets)},
		},
	}

	for _, c := range r.Classes {
		if c.Offsets == 0 {
			continue
		}
		e.Facts = append(e.Facts, Fact{factOffsets + "." + c.Class, number(c.Offsets)})
	}
	for _, place := range r.Places {
		e.Facts = append(e.Facts, Fact{factPlace, place})
	}
	for _, l := range r.Logs {
		e.Facts = append(e.Facts, Fact{factLog, hex.EncodeToString(l.ID[:]) + " " + strconv.FormatUint(l.Next, 10)})
	}
	if r.Problem != "" {
		e.Facts = append(e.Facts, Fact{factProblem, r.Problem})
	}
	return e
}

// LogID is the id that the log drew for itself when it was begun, and next the number
// behind its last entry. A log without segments has neither.
func (r *Reader) LogID() (id [8]byte, next uint64, err error) {
	segs, err := r.Refresh()
	if err != nil || len(segs) == 0 {
		return id, 0, err
	}
	return segs[0].hdr.LogID, r.NextSeq(segs), nil
}

// Pruned reports whether entries at the beginning of the log were removed.
func (r *Reader) Pruned() (bool, error) {
	_, anchor, err := segment.Numbers(r.files)
	return err == nil && anchor.Link().Number > 0, err
}
