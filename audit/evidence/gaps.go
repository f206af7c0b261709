package evidence

import (
	"encoding/hex"
	"math"
	"slices"
	"strconv"
)

// Gap is a stretch of a range's offsets without a decision, both included, and what
// explains it.
type Gap struct {
	First int64   `json:"first"`
	Last  int64   `json:"last"`
	Kind  GapKind `json:"kind"`
}

// GapKind is what explains a gap.
type GapKind string

// The kinds. All but the first are what brokers told whoever made the certificate:
// nothing in it proves them.
const (
	GapBeforeEra GapKind = "before-era" // stored before the gateway took its first batch; the log says so
	GapMarker    GapKind = "marker"     // a transaction's marker
	GapNothing   GapKind = "nothing"    // nothing is stored there now: compacted away, or never visible
	GapRetention GapKind = "retention"  // below the first offset that is kept
)

// Told reports whether only the brokers' word explains a gap.
func (k GapKind) Told() bool { return k != GapBeforeEra }

func (k GapKind) known() bool {
	return slices.Contains([]GapKind{GapBeforeEra, GapMarker, GapNothing, GapRetention}, k)
}

// Gaps are the offsets of the range that no span holds. The spans are sorted by their
// first offset.
func (r *Range) Gaps(spans []Span) (gaps []Span) {
	next := r.First
	for _, s := range spans {
		if s.First > next {
			gaps = append(gaps, Span{next, min(s.First-1, r.Last)})
		}
		if s.Last >= r.Last {
			return gaps
		}
		next = max(next, s.Last+1)
	}
	return append(gaps, Span{next, r.Last})
}

// Era is where the record of a partition begins, as a leaf of that kind says.
type Era struct {
	Where   Coord
	TopicID [16]byte // zero where it is not known
	Offset  int64
}

// EraOf reads the facts of a leaf; ok is false where it is no era's.
func EraOf(c *Control) (e Era, ok bool) {
	partition, err := strconv.ParseUint(c.Fact(FactPartition), 10, 31)
	offset, offsetErr := strconv.ParseInt(c.Fact(FactOffset), 10, 64)
	id, idErr := hex.DecodeString(c.Fact(FactTopicID))
	if c.Kind != KindEra || err != nil || offsetErr != nil || idErr != nil || offset < 0 || len(id) != 0 && len(id) != len(e.TopicID) {
		return e, false
	}

	copy(e.TopicID[:], id)
	e.Where = Coord{c.Fact(FactCluster), c.Fact(FactTopic), uint32(partition)}
	e.Offset = offset
	return e, true
}

// explained takes the gaps that the certificate names, and checks those that the logs
// themselves explain: they come before everything that was decided, and before the
// earliest era of all logs.
func (v *certification) explained(spans []Span) ([]Span, error) {
	begins, err := v.begins(spans)
	if err != nil {
		return nil, err
	}

	for _, g := range v.file.Gaps {
		switch {
		case !g.Kind.known():
			return nil, unproven("%q explains no gap", g.Kind)
		case g.First < v.file.Range.First || g.Last < g.First || g.Last > v.file.Range.Last:
			return nil, unproven("offsets %d to %d are no gap of the range", g.First, g.Last)
		case g.Kind == GapBeforeEra && g.Last >= begins:
			return nil, unproven("no entry says that offsets %d to %d were there before the gateway", g.First, g.Last)
		}
		spans = append(spans, Span{g.First, g.Last})
	}

	slices.SortFunc(spans, bySpan)
	return spans, nil
}

// begins is the offset before which nothing was the gateways'. Where a gap needs that,
// each log says since when it knows the partition, and else none: the era of one says
// nothing of what another gateway took before.
func (v *certification) begins(spans []Span) (first int64, err error) {
	first = math.MaxInt64
	for _, s := range spans {
		first = min(first, s.First)
	}

	needed := slices.ContainsFunc(v.file.Gaps, func(g Gap) bool { return g.Kind == GapBeforeEra })
	for _, s := range v.sections {
		switch {
		case s.log.Bare:
			continue
		case s.era == nil && needed:
			return 0, unproven("no entry of the log %s says where the record of this partition begins", s.log.Checkpoint.Origin)
		case s.era == nil:
			continue
		case !needed:
			return 0, unproven("the era is about no offset of the range")
		case !v.sameTopic(s.era.TopicID):
			return 0, unproven("the eras are of two topics of the same name: it was deleted and made again")
		}
		first = min(first, s.era.Offset)
	}
	return first, nil
}

// begin takes the entry that says where the record of the partition begins.
func (v *sectionCheck) begin(index int64, c *Control) error {
	e, ok := EraOf(c)
	r := v.file.Range
	if !ok || v.era != nil || e.Where != (Coord{r.Cluster, r.Topic, r.Partition}) {
		return unproven("entry %d says nothing of where the record of this partition begins", index)
	}
	v.era = &e
	v.log.Era = index
	return nil
}
