package query

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
)

// State says how far a batch came.
type State string

// The states of a batch.
const (
	StateStored       State = "stored"        // the broker confirmed it
	StateRefused      State = "refused"       // to be forwarded, but answered with an error
	StateNotForwarded State = "not_forwarded" // the gateway refused it
	StateUnknown      State = "unknown"       // forwarded, no answer known
	StateServed       State = "served"        // given to who reads
)

// StateUnbound asks for what was forwarded although no binding names its topic. It is
// no batch's state: that of such a batch says how far it came.
const StateUnbound State = "unbound"

// States are all that can be asked for.
func States() []State {
	return []State{StateStored, StateRefused, StateNotForwarded, StateUnknown, StateServed, StateUnbound}
}

// Coordinate is a record's place. Offset is -1 where it has none or none is known.
type Coordinate struct {
	Cluster   string
	Topic     string
	Partition int32
	Offset    int64
}

// Decision is one row of a query: what became of one record (or, by batch, of
// one batch), or one control entry.
type Decision struct {
	ID      audit.DecisionID
	Gateway string // whose log it is from, where there are several
	Kind    audit.Kind
	Time    time.Time
	Coordinate
	Index   int           // in the batch; -1 for a whole batch
	Count   int           // records that the row stands for; as claimed, where the batch was refused unread
	Outcome string        // what became of the record
	Verdict audit.Verdict // on the record; means nothing for a whole batch
	Reason  string
	Module  *audit.ModuleRef // that decided; nil if none did, or more than one passed the record
	Routed  *Coordinate      // where a routed record went
	audit.Caller
	Batch   *BatchInfo          // shared by the rows of a batch: not to be changed
	Control *audit.ControlEntry // nil for records
}

// BatchInfo is what the rows of one batch share.
type BatchInfo struct {
	Seq       uint64
	Direction audit.Direction
	audit.Authority
	TopicID [16]byte
	audit.Producer
	audit.Payload
	Outcome    audit.Outcome
	Reason     string
	State      State
	BaseOffset int64 // -1 if none is known
	Answer
	Evidence audit.Evidence // if HasMAC
	mac      audit.MACID
}

// Answer is what else is known of a broker's answer.
type Answer struct {
	AppendTime time.Time
	ErrorCode  int16
	Recovered  bool
	Leader     audit.LeaderEpoch
}

// Error is the name of Kafka's error that the batch was answered with, or nothing.
func (b *BatchInfo) Error() string {
	if b.ErrorCode == 0 {
		return ""
	}
	if known := kerr.TypedErrorForCode(b.ErrorCode); known != nil {
		return known.Message
	}
	return "error " + strconv.Itoa(int(b.ErrorCode))
}

// CheckMAC reports whether evidence, the part of a batch that b.Evidence names,
// is what was forwarded, under the audit key.
func (b *BatchInfo) CheckMAC(key [32]byte, evidence []byte) bool {
	return b.mac.Check(key, evidence)
}

// HasMAC reports whether the entry has a MAC.
func (b *BatchInfo) HasMAC() bool { return b.mac.Made() }

// errEmptyRow means that a row is neither of a batch nor of a control entry.
var errEmptyRow = errors.New("decision has neither batch nor control entry")

// MarshalJSON gives the stable form that --json prints.
func (d Decision) MarshalJSON() ([]byte, error) {
	switch {
	case d.Control != nil:
		return json.Marshal(d.control())
	case d.Batch != nil:
		return json.Marshal(d.record())
	}
	return nil, errEmptyRow
}

// WithAdmissions is a row with the entries that let its modules run, as --json
// prints it.
type WithAdmissions struct {
	Decision
	Admissions []Decision
	Authority  *Decision // that was in force; nil: the log holds none
}

// MarshalJSON gives the row's own form with one field more.
func (w WithAdmissions) MarshalJSON() ([]byte, error) {
	if w.Batch == nil {
		return w.Decision.MarshalJSON()
	}
	return json.Marshal(struct {
		recordJSON
		Admissions []Decision `json:"admissions"`
		Authority  *Decision  `json:"authority,omitempty"`
	}{w.record(), w.Admissions, w.Authority})
}

func (d *Decision) control() controlJSON {
	c := d.Control
	j := controlJSON{
		idJSON:    idJSON{d.ID, d.Gateway},
		Kind:      d.Kind,
		Time:      d.Time,
		Subject:   c.Subject,
		Module:    optionalModule(c.Module),
		Principal: c.Principal,
		Outcome:   c.Outcome,
		Reason:    c.Reason,
		Revision:  c.Revision,
		Steps:     c.Steps,
		Admission: c.Admission,
		Loaded:    c.Loaded,
		toldJSON:  toldJSON{c.Facts, eraOf(c.Era), redactedJSON{c.Redacted.Requests()}},
	}

	if c.Opening != (audit.Opening{}) {
		j.Epoch = hex.EncodeToString(c.Opening.Epoch[:])
		j.KeyID = hex.EncodeToString(c.Opening.KeyID[:])
	}

	return j
}

func optionalModule(m audit.ModuleRef) *audit.ModuleRef {
	if m == (audit.ModuleRef{}) {
		return nil
	}
	return &m
}

type idJSON struct {
	ID      audit.DecisionID `json:"decision_id"`
	Gateway string           `json:"gateway,omitempty"`
}

type controlJSON struct {
	idJSON
	Kind      audit.Kind       `json:"kind"`
	Time      time.Time        `json:"time"`
	Subject   string           `json:"subject"`
	Module    *audit.ModuleRef `json:"module,omitempty"`
	Principal string           `json:"principal,omitempty"`
	Outcome   string           `json:"outcome"`
	Reason    string           `json:"reason,omitempty"`
	Revision  string           `json:"revision,omitempty"`
	Steps     []audit.Step     `json:"steps,omitempty"`
	openingJSON
	Admission *audit.Admission `json:"admission,omitempty"`
	Loaded    *audit.Loaded    `json:"loaded,omitempty"`
	toldJSON
}

// toldJSON is what the later kinds tell.
type toldJSON struct {
	Facts []audit.Fact `json:"facts,omitempty"`
	Era   *eraJSON     `json:"era,omitempty"`
	redactedJSON
}

// openingJSON is of an entry that opened the log.
type openingJSON struct {
	Epoch string `json:"epoch,omitempty"`  // of the MACs behind it
	KeyID string `json:"key_id,omitempty"` // of the audit key
}

// redactedJSON is what an erasure took out.
type redactedJSON struct {
	Redacted map[string]audit.Digest `json:"redacted,omitempty"` // by field: the request
}

// eraJSON is where the record of a partition begins.
type eraJSON struct {
	coordinateJSON
	TopicID     string    `json:"topic_id,omitempty"`
	LeaderEpoch *int32    `json:"leader_epoch"`
	Began       time.Time `json:"began,omitzero"`
}

func eraOf(e *audit.Era) *eraJSON {
	if e == nil {
		return nil
	}

	j := &eraJSON{coordinateJSON: Coordinate{e.Cluster, e.Topic, e.Partition, e.Offset}.json(), Began: e.Began}
	if e.TopicID != ([16]byte{}) {
		j.TopicID = hex.EncodeToString(e.TopicID[:])
	}
	if e.LeaderEpoch >= 0 {
		j.LeaderEpoch = &e.LeaderEpoch
	}
	return j
}

type recordJSON struct {
	idJSON
	Kind      audit.Kind      `json:"kind"`
	Direction audit.Direction `json:"direction"`
	Time      time.Time       `json:"time"`
	coordinateJSON
	Index   *int             `json:"index"`
	Count   int              `json:"count"`
	Outcome string           `json:"outcome"`
	Verdict *audit.Verdict   `json:"verdict,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Module  *audit.ModuleRef `json:"module"`
	Routed  *coordinateJSON  `json:"routed,omitempty"`
	callerJSON
	authorityJSON
	Batch *batchJSON `json:"batch"`
}

type coordinateJSON struct {
	Cluster   string `json:"cluster"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    *int64 `json:"offset"`
}

func (c Coordinate) json() coordinateJSON {
	return coordinateJSON{c.Cluster, c.Topic, c.Partition, orNull(c.Offset)}
}

type callerJSON struct {
	Principal string    `json:"principal"`
	ClientID  string    `json:"client_id"`
	Source    string    `json:"source"`
	ConnID    uint64    `json:"connection"`
	TLS       audit.TLS `json:"tls,omitzero"`
	redactedJSON
}

type authorityJSON struct {
	Policy string       `json:"policy_revision"`
	Grant  audit.Digest `json:"grant_digest"`
}

type batchJSON struct {
	Seq     uint64        `json:"seq"`
	Records int           `json:"records"`
	Outcome audit.Outcome `json:"outcome"`
	Reason  string        `json:"reason,omitempty"`
	State   State         `json:"state"`
	placementJSON
	Modules  []audit.ModuleRef `json:"modules"`
	Codec    string            `json:"codec"`
	BytesIn  int               `json:"bytes_in"`
	BytesOut int               `json:"bytes_out"`
	producerJSON
	TopicID  string `json:"topic_id,omitempty"`
	MAC      string `json:"mac,omitempty"`
	Evidence string `json:"evidence,omitempty"`
}

type placementJSON struct {
	BaseOffset *int64    `json:"base_offset"`
	AppendTime time.Time `json:"append_time,omitzero"`
	Leader     *int32    `json:"leader_epoch,omitempty"` // not known without
	ErrorCode  int16     `json:"error_code"`
	Error      string    `json:"error,omitempty"` // its name
	Recovered  bool      `json:"recovered"`
}

type producerJSON struct {
	ProducerID    int64 `json:"producer_id"`
	ProducerEpoch int16 `json:"producer_epoch"`
	BaseSequence  int32 `json:"base_sequence"`
}

func (d *Decision) record() recordJSON {
	r := recordJSON{
		idJSON:         idJSON{d.ID, d.Gateway},
		Kind:           d.Kind,
		Direction:      d.Batch.Direction,
		Time:           d.Time,
		coordinateJSON: d.Coordinate.json(),
		Count:          d.Count,
		Outcome:        d.Outcome,
		Reason:         d.Reason,
		Module:         d.Module,
		callerJSON:     callerJSON{d.Principal, d.ClientID, d.Source, d.ConnID, d.TLS, redactedJSON{d.Redacted.Requests()}},
		authorityJSON:  authorityJSON{d.Batch.PolicyRevision, d.Batch.GrantDigest},
		Batch:          d.Batch.json(),
	}

	if d.Index >= 0 {
		r.Index = &d.Index
		r.Verdict = &d.Verdict
	}

	if d.Routed != nil {
		to := d.Routed.json()
		r.Routed = &to
	}

	return r
}

func orNull(offset int64) *int64 {
	if offset < 0 {
		return nil
	}
	return &offset
}

func (b *BatchInfo) json() *batchJSON {
	j := &batchJSON{
		Seq:           b.Seq,
		Records:       b.Records,
		Outcome:       b.Outcome,
		Reason:        b.Reason,
		State:         b.State,
		placementJSON: placementJSON{orNull(b.BaseOffset), b.AppendTime, nil, b.ErrorCode, b.Error(), b.Recovered},
		Modules:       b.Modules,
		Codec:         codecName(b.Codec),
		BytesIn:       b.BytesIn,
		BytesOut:      b.BytesOut,
		producerJSON:  producerJSON(b.Producer),
	}

	if b.TopicID != [16]byte{} {
		j.TopicID = hex.EncodeToString(b.TopicID[:])
	}
	if epoch := b.Leader.Number(); epoch >= 0 {
		j.Leader = &epoch
	}
	if b.HasMAC() {
		j.MAC = b.mac.String()
		j.Evidence = b.Evidence.String()
	}

	return j
}

func codecName(c uint8) string {
	names := [...]string{"none", "gzip", "snappy", "lz4", "zstd"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}
