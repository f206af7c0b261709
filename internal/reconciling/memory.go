package reconciling

import (
	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/reconcile"
)

// Memory is up to where earlier looks told all gaps apart, and found nothing that must not
// be: what is there stays as it was, as long as the topic is the same and nobody else leads
// the partition. A topic of many transactions has a gap for each marker, which need not be
// read each hour. Nil remembers nothing. It is for one look at a time.
type Memory struct {
	of   map[audit.Coord]remembered
	next map[audit.Coord]remembered // of the look under way
}

type remembered struct {
	topic [16]byte
	epoch int32 // of the leader
	upTo  int64
	looks int // since all was read
}

// wholeEvery is how many looks trust what was found before, until one reads all again.
const wholeEvery = 24

// known is up to where gaps need not be read.
func (m *Memory) known(p *reconcile.Partition, epoch int32) int64 {
	if m == nil {
		return 0
	}
	r := m.of[p.At]
	if r.topic != p.Topic || r.topic == ([16]byte{}) || r.epoch != epoch || epoch < 0 || r.looks >= wholeEvery || r.upTo > p.End {
		return 0
	}
	return r.upTo
}

// learn takes note of a look that read everything from what was known on.
func (m *Memory) learn(p *reconcile.Partition, epoch int32, upTo int64) {
	if m == nil {
		return
	}
	if m.next == nil {
		m.next = make(map[audit.Coord]remembered)
	}

	r := remembered{topic: p.Topic, epoch: epoch, upTo: upTo}
	if p.Known > 0 {
		r.looks = m.of[p.At].looks + 1
	}
	m.next[p.At] = r
}

// end makes what a look learned known to the next. What it did not read is forgotten.
func (m *Memory) end() {
	if m != nil {
		m.of = m.next
		m.next = nil
	}
}

// isFinal reports whether a later look finds the same: an answer may come, a bypass must be
// told again, and what is not there at the end may be there later.
func isFinal(p *reconcile.Partition, f *reconcile.Finding) bool {
	switch f.Kind {
	case reconcile.Marker, reconcile.BeforeEra, reconcile.Known:
		return true
	case reconcile.Nothing:
		return f.Last < p.End-1
	}
	return false
}
