package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/guardlock/guardlock/audit/segment"
)

// AcknowledgementsName is the file beside the segments in which the gateway finds what it
// is to record as acknowledged.
const AcknowledgementsName = "acknowledgements"

const (
	acknowledgementsFormat = "guardlock acknowledgements v1"
	maxAcknowledgement     = 1000 // bytes of a reason, and of a name
)

// Acknowledged is the outcome of every entry about an acknowledgement.
const Acknowledged = "acknowledged"

// classBypass is the class of a place that can be acknowledged, as audit/reconcile names it.
const classBypass = "bypass"

// The facts of an entry about an acknowledgement, in their order.
const (
	factCluster   = "cluster"
	factTopic     = "topic"
	factTopicID   = "topic_id" // in hexadecimal; empty where the brokers tell none
	factPartition = "partition"
	factFirst     = "first"
	factLast      = "last"
	factGiven     = "given" // when, RFC 3339
)

var (
	// ErrAcknowledgements says that the file cannot be read, or that nobody with one of the
	// audit keys wrote it for this log, so that nothing of it is recorded.
	ErrAcknowledgements = errors.New("what was acknowledged cannot be read")
	// ErrNoBypass says that the last look did not find just these offsets.
	ErrNoBypass = errors.New("the last look of the gateway found no bypass there")
	// ErrAcknowledged says that it was acknowledged before.
	ErrAcknowledged = errors.New("acknowledged already")
)

// Acknowledgement says who looked into records that were stored without a decision. It is
// about these offsets of just this topic, and about nothing that is found there later under
// another id.
type Acknowledgement struct {
	Cluster   string    `json:"cluster"`
	Topic     string    `json:"topic"`
	TopicID   TopicID   `json:"topic_id,omitzero"`
	Partition int32     `json:"partition"`
	First     int64     `json:"first"`
	Last      int64     `json:"last"`
	By        string    `json:"by"` // as he calls himself
	Reason    string    `json:"reason"`
	Given     time.Time `json:"given"`
}

// TopicID is the id that a cluster gave a topic; zero where it tells none.
type TopicID [16]byte

// MarshalText implements encoding.TextMarshaler.
func (t TopicID) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(t[:])), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *TopicID) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(t) {
		return fmt.Errorf("%.80q is no id of a topic", text)
	}
	*t = TopicID(b)
	return nil
}

// String is the place as commands spell it.
func (a *Acknowledgement) String() string {
	return fmt.Sprintf("%s/%d %d-%d", a.Topic, a.Partition, a.First, a.Last)
}

// place is what makes two of them the same.
func (a *Acknowledgement) place() acknowledgedPlace {
	return acknowledgedPlace{Coord{a.Cluster, a.Topic, a.Partition}, a.TopicID, a.First, a.Last}
}

type acknowledgedPlace struct {
	Coord
	topic       TopicID
	first, last int64
}

func (p acknowledgedPlace) compare(o acknowledgedPlace) int {
	return cmp.Or(p.Coord.compare(o.Coord), bytes.Compare(p.topic[:], o.topic[:]), cmp.Compare(p.first, o.first), cmp.Compare(p.last, o.last))
}

func (a *Acknowledgement) valid() bool {
	texts := a.Cluster + a.Topic + a.By + a.Reason
	said := a.By != "" && a.Reason != "" && max(len(a.By), len(a.Reason)) <= maxAcknowledgement && !a.Given.IsZero()
	return said && a.Topic != "" && a.Partition >= 0 && a.First >= 0 && a.Last >= a.First && utf8.ValidString(texts)
}

// entry is what the log says of it.
func (a *Acknowledgement) entry() ControlEntry {
	id := ""
	if a.TopicID != (TopicID{}) {
		id = hex.EncodeToString(a.TopicID[:])
	}
	return ControlEntry{
		Kind:      KindAcknowledgement,
		Subject:   a.String(),
		Principal: a.By,
		Outcome:   Acknowledged,
		Reason:    a.Reason,
		Facts: []Fact{
			{factCluster, a.Cluster},
			{factTopic, a.Topic},
			{factTopicID, id},
			{factPartition, strconv.FormatInt(int64(a.Partition), 10)},
			{factFirst, strconv.FormatInt(a.First, 10)},
			{factLast, strconv.FormatInt(a.Last, 10)},
			{factGiven, a.Given.UTC().Format(time.RFC3339)},
		},
	}
}

// AcknowledgementOf reads what an entry says; ok is false for one that says nothing of the
// kind.
func AcknowledgementOf(c *ControlEntry) (a Acknowledgement, ok bool) {
	if c.Kind != KindAcknowledgement || c.Outcome != Acknowledged {
		return a, false
	}
	partition, errPartition := strconv.ParseInt(c.Fact(factPartition), 10, 32)
	first, errFirst := strconv.ParseInt(c.Fact(factFirst), 10, 64)
	last, errLast := strconv.ParseInt(c.Fact(factLast), 10, 64)
	given, errGiven := time.Parse(time.RFC3339, c.Fact(factGiven))
	a = Acknowledgement{
		Cluster:   c.Fact(factCluster),
		Topic:     c.Fact(factTopic),
		Partition: int32(partition),
		First:     first,
		Last:      last,
		By:        c.Principal,
		Reason:    c.Reason,
		Given:     given,
	}

	var errID error
	if id := c.Fact(factTopicID); id != "" {
		errID = a.TopicID.UnmarshalText([]byte(id))
	}
	return a, errors.Join(errPartition, errFirst, errLast, errGiven, errID) == nil
}

// toldAcknowledgements are all that the log was told of. A segment begins with them, so
// that neither pruning nor a restart has what was acknowledged alarm again.
type toldAcknowledgements map[acknowledgedPlace]*ControlEntry

// note takes a control entry, which has the sequence number seq.
func (t toldAcknowledgements) note(c *ControlEntry, seq uint64) {
	a, ok := AcknowledgementOf(c)
	if !ok {
		return
	}
	again := *c
	if _, ok := c.Repeats(); !ok {
		again.Steps = repeats(seq)
	}
	t[a.place()] = &again
}

// entries are the acknowledgements as a segment repeats them.
func (t toldAcknowledgements) entries(now time.Time) []*ControlEntry {
	return repeated(t, acknowledgedPlace.compare, now)
}

// TellAcknowledgements has the log say what was acknowledged and is not in it yet, and
// gives how many that were. Of offsets that the last look did not find it says nothing:
// whoever acknowledges beforehand what he is about to do has acknowledged nothing.
func (l *Log) TellAcknowledgements(ctx context.Context, all []Acknowledgement) (told int, err error) {
	l.mu.Lock()
	var news []Acknowledgement
	for _, a := range all {
		if l.w.acknowledged[a.place()] == nil {
			news = append(news, a)
		}
	}
	l.mu.Unlock()

	var missing error
	looks := make(map[string]*Reconciliation) // the last ones, by cluster
	for _, a := range news {
		look := looks[a.Cluster]
		if look == nil {
			if look, err = l.reader.lastLook(ctx, a.Cluster); err != nil {
				return told, err
			}
			looks[a.Cluster] = look
		}

		id, found := look.found(&a)
		if found == nil && id != a.TopicID {
			found = fmt.Errorf("%w: the topic was deleted and made again", ErrNoBypass)
		}
		if found != nil {
			missing = fmt.Errorf("%s: %w", &a, found)
			continue
		}
		if err := l.Record(ctx, a.entry()); err != nil {
			return told, err
		}
		told++
	}
	return told, missing
}

// lastLook is the last look at a cluster that came to a conclusion. It has no outcome where
// there was none.
func (r *Reader) lastLook(ctx context.Context, cluster string) (*Reconciliation, error) {
	last := &Reconciliation{Cluster: cluster}
	err := r.Reconciliations(ctx, func(one Reconciliation) bool {
		if one.Cluster == cluster && one.Outcome != NotReconciled {
			last = &one
		}
		return last.Outcome == ""
	})
	return last, err
}

// found demands that the look found a bypass at all of the offsets, and gives the id that
// the topic had.
func (r *Reconciliation) found(a *Acknowledgement) (id TopicID, err error) {
	if r.Outcome == "" {
		return id, fmt.Errorf("%w: no look at the cluster %q has come to a conclusion yet (audit.reconcile)", ErrNoBypass, a.Cluster)
	}

	var others []string
	for _, p := range r.Places {
		there := p.Topic == a.Topic && p.Partition == a.Partition && p.First <= a.First && p.Last >= a.Last
		switch {
		case there && p.Class == classBypass:
			return p.TopicID, nil
		case there && p.Class == Acknowledged:
			return id, ErrAcknowledged
		case p.Class == classBypass:
			others = append(others, p.String())
		}
	}

	if others == nil {
		return id, fmt.Errorf("%w: it found none anywhere", ErrNoBypass)
	}
	return id, fmt.Errorf("%w: it found %s", ErrNoBypass, strings.Join(others, ", "))
}

// acknowledgementsFile is what commands write.
type acknowledgementsFile struct {
	Format string            `json:"format"`
	All    []Acknowledgement `json:"acknowledgements"`
	Tag    Digest            `json:"tag,omitzero"` // an HMAC of the file without it
}

func (f acknowledgementsFile) encode() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", " ")
	return append(b, '\n'), err
}

func (f acknowledgementsFile) tag(key [32]byte, log [8]byte) (Digest, error) {
	f.Tag = Digest{}
	b, err := f.encode()
	return tagOf(key, acknowledgementsFormat, log, b), err
}

// check demands that the file is as it is written here, by somebody with one of the keys and
// for this log.
func (f acknowledgementsFile) check(b []byte, keys [][32]byte, log [8]byte) error {
	if f.Format != acknowledgementsFormat {
		return fmt.Errorf("%w: its format is %q, not %q", ErrAcknowledgements, f.Format, acknowledgementsFormat)
	}
	for i := range f.All {
		if !f.All[i].valid() {
			return fmt.Errorf("%w: number %d of them is none that was written here", ErrAcknowledgements, i+1)
		}
	}
	again, err := f.encode()
	if err != nil || !bytes.Equal(again, b) {
		return fmt.Errorf("%w: the file was changed by hand", ErrAcknowledgements)
	}

	for _, key := range keys {
		want, err := f.tag(key, log)
		if err != nil {
			return err
		}
		if hmac.Equal(want[:], f.Tag[:]) {
			return nil
		}
	}
	return fmt.Errorf("%w: its tag was made under none of the audit keys given, or for another log", ErrAcknowledgements)
}

// ReadAcknowledgements reads what somebody with one of the audit keys wrote for the gateway
// to record. A log beside which there is no such file has none.
func ReadAcknowledgements(d segment.Files, keys [][32]byte) ([]Acknowledgement, error) {
	b, err := readBeside(d, AcknowledgementsName)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAcknowledgements, err)
	}
	if b == nil {
		return nil, nil
	}
	h, err := newestHeader(d)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAcknowledgements, err)
	}

	var f acknowledgementsFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAcknowledgements, err)
	}
	return f.All, f.check(b, keys, h.LogID)
}

// Acknowledge writes an acknowledgement for the gateway to record, durably, and returns it
// with the topic's id. What the last look did not find is ErrNoBypass, and what somebody
// acknowledged before ErrAcknowledged. The audit key that the log is written under must be
// among the keys.
func Acknowledge(ctx context.Context, d segment.Files, keys [][32]byte, a Acknowledgement) (Acknowledgement, error) {
	a.Given = a.Given.UTC().Truncate(time.Second)
	if !a.valid() {
		return a, fmt.Errorf("it cannot be written: it needs a topic, offsets, a name and a reason of at most %d bytes in UTF-8", maxAcknowledgement)
	}

	r := NewReader(d, func() (*segment.Mark, error) { return CommittedMark(d) })
	defer r.Close()
	look, err := r.lastLook(ctx, a.Cluster)
	if err != nil {
		return a, err
	}
	if a.TopicID, err = look.found(&a); err != nil {
		return a, err
	}

	err = replaceBeside(d, keys, AcknowledgementsName, func(key [32]byte, log [8]byte) ([]byte, error) {
		all, err := ReadAcknowledgements(d, keys)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(b Acknowledgement) bool { return b.place() == a.place() }) {
			return nil, ErrAcknowledged
		}
		return sealAcknowledgements(append(all, a), key, log)
	})
	return a, err
}

func sealAcknowledgements(all []Acknowledgement, key [32]byte, log [8]byte) (b []byte, err error) {
	f := acknowledgementsFile{Format: acknowledgementsFormat, All: all}
	if f.Tag, err = f.tag(key, log); err != nil {
		return nil, err
	}
	if b, err = f.encode(); err == nil && len(b) > maxBeside {
		err = fmt.Errorf("%w: it would have more than %d bytes", ErrAcknowledgements, maxBeside)
	}
	return b, err
}
