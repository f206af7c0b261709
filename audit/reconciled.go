package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// The outcomes of entries about a reconciliation. Where it found what must not be, that
// is the outcome, also where it could not look at everything.
const (
	ReconciledComplete     = "complete"      // all was looked at, and nothing went around
	ReconciledAcknowledged = "acknowledged"  // all was looked at, and somebody acknowledged all that went around
	ReconciledBypass       = "bypass"        // records are stored that no gateway decided about
	ReconciledBeyond       = "beyond"        // decisions name offsets that their partitions have not got
	NotReconciled          = "not_concluded" // something could not be looked at
)

// ReconciledOutcomes lists them.
func ReconciledOutcomes() []string {
	return []string{ReconciledComplete, ReconciledAcknowledged, ReconciledBypass, ReconciledBeyond, NotReconciled}
}

// The facts of an entry about a reconciliation, in their order. Those of classes and logs
// come once for each.
const (
	factAsked      = "asked"      // when the cluster was asked for ends of partitions, RFC 3339
	factEnded      = "ended"      // when the last of them was looked at
	factPartitions = "partitions" // that were looked at
	factGone       = "gone"       // that decisions are about, and the cluster has not got
	factOffsets    = "offsets"    // between the beginnings and the ends of partitions; with .CLASS, of a class
	factPlace      = "at"         // where what must not be is, and what is acknowledged: CLASS TOPIC/PARTITION FIRST-LAST
	factPlaceTopic = "at.topic"   // behind that: the topic's id in hexadecimal, where the brokers tell it
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
	Places     []ReconciledPlace
	Logs       []ReconciledLog
	Problem    string
}

// ReconciledPlace is a stretch of offsets that are all of one class.
type ReconciledPlace struct {
	Class     string
	Topic     string
	TopicID   [16]byte // zero where the brokers tell none
	Partition int32
	First     int64
	Last      int64
}

// String is the place as the log and operators are told of it.
func (p ReconciledPlace) String() string {
	return fmt.Sprintf("%s %s/%d %d-%d", p.Class, p.Topic, p.Partition, p.First, p.Last)
}

var placeShape = regexp.MustCompile(`^([a-z-]+) (.+)/([0-9]+) (-?[0-9]+)-(-?[0-9]+)$`)

// parsePlace is the inverse of String.
func parsePlace(text string) (p ReconciledPlace, ok bool) {
	m := placeShape.FindStringSubmatch(text)
	if m == nil {
		return p, false
	}
	partition, errPartition := strconv.ParseInt(m[3], 10, 32)
	first, errFirst := strconv.ParseInt(m[4], 10, 64)
	last, errLast := strconv.ParseInt(m[5], 10, 64)
	if errors.Join(errPartition, errFirst, errLast) != nil {
		return p, false
	}
	return ReconciledPlace{Class: m[1], Topic: m[2], Partition: int32(partition), First: first, Last: last}, true
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

// PlaceTexts are the places as they are told.
func (r *Reconciliation) PlaceTexts() (all []string) {
	for _, p := range r.Places {
		all = append(all, p.String())
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
		e.Facts = append(e.Facts, Fact{factPlace, place.String()})
		if place.TopicID != ([16]byte{}) {
			e.Facts = append(e.Facts, Fact{factPlaceTopic, hex.EncodeToString(place.TopicID[:])})
		}
	}
	for _, l := range r.Logs {
		e.Facts = append(e.Facts, Fact{factLog, hex.EncodeToString(l.ID[:]) + " " + strconv.FormatUint(l.Next, 10)})
	}
	if r.Problem != "" {
		e.Facts = append(e.Facts, Fact{factProblem, r.Problem})
	}
	return e
}

// reconciliationOf reads what an entry says.
func reconciliationOf(c *ControlEntry) (r Reconciliation, err error) {
	r.Cluster = c.Subject
	r.Outcome = c.Outcome
	for _, f := range c.Facts {
		if err := r.fact(f); err != nil {
			return r, fmt.Errorf("reading what a reconciliation came to: %s %.80q: %w", f.Key, f.Value, err)
		}
	}
	return r, nil
}

var errFact = errors.New("it is not as it is written here")

// fact takes one of them. Those that are not known are of a later version, and add to what
// the others say.
func (r *Reconciliation) fact(f Fact) (err error) {
	switch f.Key {
	case factAsked:
		r.Asked, err = time.Parse(time.RFC3339Nano, f.Value)
	case factEnded:
		r.Ended, err = time.Parse(time.RFC3339Nano, f.Value)
	case factPartitions:
		r.Partitions, err = strconv.Atoi(f.Value)
	case factGone:
		r.Gone, err = strconv.Atoi(f.Value)
	case factOffsets:
		r.Offsets, err = strconv.ParseInt(f.Value, 10, 64)
	case factPlace:
		place, ok := parsePlace(f.Value)
		if !ok {
			return errFact
		}
		r.Places = append(r.Places, place)
	case factPlaceTopic:
		id, err := hex.DecodeString(f.Value)
		if err != nil || len(r.Places) == 0 || len(id) != 16 {
			return errFact
		}
		r.Places[len(r.Places)-1].TopicID = [16]byte(id)
	case factProblem:
		r.Problem = f.Value
	default:
		err = r.classOrLog(f)
	}
	return err
}

func (r *Reconciliation) classOrLog(f Fact) error {
	if class, ok := strings.CutPrefix(f.Key, factOffsets+"."); ok {
		n, err := strconv.ParseInt(f.Value, 10, 64)
		r.Classes = append(r.Classes, ReconciledClass{class, n})
		return err
	}
	if f.Key != factLog {
		return nil
	}

	name, next, _ := strings.Cut(f.Value, " ")
	id, err := hex.DecodeString(name)
	if err != nil || len(id) != 8 {
		return errFact
	}
	n, err := strconv.ParseUint(next, 10, 64)
	r.Logs = append(r.Logs, ReconciledLog{[8]byte(id), n})
	return err
}

// Reconciliations gives fn what the log says of looks at clusters, the last first, until fn
// returns false.
func (r *Reader) Reconciliations(ctx context.Context, fn func(Reconciliation) bool) error {
	segs, err := r.Refresh()
	if err != nil {
		return err
	}
	some := Search{Reverse: true, From: math.MinInt64, To: math.MaxInt64, Segment: func(s *Summary) bool { return s.Kinds&(1<<KindReconciliation) != 0 }}
	err = r.ScanIn(ctx, segs, some, func(it *Item) (bool, error) {
		if it.Control == nil || it.Control.Kind != KindReconciliation {
			return true, nil
		}
		one, err := reconciliationOf(it.Control)
		return err == nil && fn(one), err
	})
	if err != nil {
		return fmt.Errorf("reading what reconciliations came to: %w", err)
	}
	return nil
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
