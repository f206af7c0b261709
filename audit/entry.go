package audit

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/guardlock/guardlock/audit/segment"
)

// Digest is a SHA-256 of public bytes: a module, a grant. Never of a record.
type Digest [32]byte

// String gives sha256:<hex>, or nothing for the zero digest.
func (d Digest) String() string {
	if d == (Digest{}) {
		return ""
	}
	return "sha256:" + hex.EncodeToString(d[:])
}

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Digest{}
		return nil
	}

	b, err := hex.DecodeString(strings.TrimPrefix(string(text), "sha256:"))
	if err != nil || len(b) != len(d) {
		return fmt.Errorf("%.80q is no SHA-256", text)
	}
	*d = Digest(b)
	return nil
}

// Verdict is a module's ruling on one record. The numbers are those of
// record.Verdict and part of the format.
type Verdict uint8

// The verdicts.
const (
	Passed   Verdict = 0
	Modified Verdict = 1
	Rejected Verdict = 2
	Dropped  Verdict = 3
	Routed   Verdict = 4
)

// String returns the verdict's name.
func (v Verdict) String() string {
	if v > Routed {
		return "unknown"
	}
	return Outcome(v).String()
}

// MarshalText implements encoding.TextMarshaler.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Outcome is what became of a whole batch. The first five share the verdicts'
// numbers. Part of the format: never renumber.
type Outcome uint8

// The outcomes.
const (
	OutcomePassed       Outcome = 0  // forwarded byte for byte
	OutcomeModified     Outcome = 1  // forwarded; some records changed, dropped or routed
	OutcomeRejected     Outcome = 2  // a module rejected a record
	OutcomeDropped      Outcome = 3  // every record dropped
	OutcomeRouted       Outcome = 4  // every record routed
	OutcomeError        Outcome = 5  // a module failed
	OutcomeTimeout      Outcome = 6  // a module ran out of time
	OutcomeTrap         Outcome = 7  // a module trapped
	OutcomeNoModule     Outcome = 8  // a binding asks for a module that is not approved
	OutcomePolicyDenied Outcome = 9  // policy said no
	OutcomeUnavailable  Outcome = 10 // policy could not be asked
	OutcomeInvalid      Outcome = 11 // the batch itself is malformed or out of bounds
)

var OutcomeNames = [...]string{"passed", "modified", "rejected", "dropped", "routed", "error", "timeout", "trap",
	"no_module", "policy_denied", "unavailable", "invalid"}

// String returns the outcome's name as JSON and filters spell it.
func (o Outcome) String() string {
	if int(o) < len(OutcomeNames) {
		return OutcomeNames[o]
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Forwards reports whether a batch with this outcome goes on: to the broker, or to
// who reads.
func (o Outcome) Forwards() bool {
	return o == OutcomePassed || o == OutcomeModified || o == OutcomeDropped || o == OutcomeRouted
}

// Outcomes lists every outcome's name, in the order of their numbers.
func Outcomes() []string { return append([]string(nil), OutcomeNames[:]...) }

// ControlOutcomes lists the outcomes that control entries have.
func ControlOutcomes() []string {
	return slices.Concat([]string{"allowed", "denied", "undecided", "applied", "refused", "started", "stopped", "opened", "suspended", "lifted", "reasons_capped", "adopted", "in_force", EraBegun, HoldAdded, HoldLifted, Erased, ClockForward, ClockBack}, ReconciledOutcomes())
}

// Kind says what an entry is. Part of the format: never renumber.
type Kind uint8

// The kinds that readers see.
const (
	KindBatch     Kind = 1  // a batch
	KindAdmission Kind = 2  // a module was let in, or not
	KindConfig    Kind = 3  // a configuration took effect, or was refused
	KindStart     Kind = 4  // the gateway began to serve
	KindStop      Kind = 5  // the gateway ended in order
	KindOpen      Kind = 6  // the log was opened; written by Open itself
	KindAdmin     Kind = 7  // a client asked to delete or to keep for less time, or to change who may
	KindConduct   Kind = 8  // a binding's module was suspended or let run again, or its reasons were capped
	KindStanding  Kind = 9  // an admission that holds, repeated where a segment begins; written by the log itself
	KindEra       Kind = 10 // the gateway took its first batch for a partition; repeated where a segment begins
	KindAuthority Kind = 11 // what the gateway serves under from here on; repeated where a segment begins
	KindAdoption  Kind = 12 // the log goes on from another, which was set aside
	KindErasure   Kind = 13 // personal values were taken out of a segment
	KindHold      Kind = 14 // a legal hold was added or lifted; those in force are repeated where a segment begins

	KindReconciliation Kind = 15 // a cluster was compared with the decisions about it

	kindBind     Kind = 16 // takes no sequence number
	kindSeal     Kind = 17 // takes no sequence number
	kindRedacted Kind = 18 // stands before another kind, whose number it takes; in rewritten segments alone

	KindAcknowledgement Kind = 20 // somebody looked into records that went around; repeated where a segment begins

	KindClock Kind = 21 // the wall clock was set

	kindBriefBatch Kind = 22 // a batch, by its template
	kindBriefBind  Kind = 23 // a binding, by its template
	kindBriefNext  Kind = 24 // a batch, by its template, whose nonce follows that of the one before
)

var kindNames = map[Kind]string{KindBatch: "record", KindAdmission: "admission", KindConfig: "config",
	KindStart: "start", KindStop: "stop", KindOpen: "open", KindAdmin: "admin", KindConduct: "conduct", KindStanding: "standing",
	KindEra: "era", KindAuthority: "authority", KindAdoption: "adoption", KindErasure: "erasure", KindHold: "hold",
	KindReconciliation: "reconciliation", KindAcknowledgement: "acknowledgement", KindClock: "clock"}

// numberedKinds has a bit for each kind whose entries take a sequence number.
const numberedKinds = 1<<(KindAdoption+1) - 1<<KindBatch | 1<<KindErasure | 1<<KindHold | 1<<KindReconciliation | 1<<KindAcknowledgement | 1<<KindClock

// numbered reports whether a kind is known, and its entries take a sequence number.
func (k Kind) numbered() bool { return k < 32 && numberedKinds&(1<<k) != 0 }

// String returns the kind's name as JSON and filters spell it. The rows of a
// batch are of kind "record".
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// ParseKind is the inverse of Kind.String.
func ParseKind(s string) (Kind, bool) {
	for k, name := range kindNames {
		if name == s {
			return k, true
		}
	}
	return 0, false
}

// ModuleRef names a module's exact bytes.
type ModuleRef struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest,omitzero"`
}

// Caller is who sent a batch.
type Caller struct {
	ConnID    uint64
	Principal string
	ClientID  string // as the client claims
	Source    string // host, without port
	TLS       TLS
	Redacted  Redactions // nil for nearly all
}

// Target is where a batch was to go. Topics of the same name in two clusters
// have nothing to do with each other.
type Target struct {
	Cluster   string // virtual cluster of the gateway
	Topic     string
	TopicID   [16]byte
	Partition int32
}

// Authority is what judged a batch: the chain in order, and what allowed it.
type Authority struct {
	Modules        []ModuleRef
	PolicyRevision string
	GrantDigest    Digest
}

// Producer holds the producer fields of the batch header; ID is -1 if none.
type Producer struct {
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
}

// Payload describes a batch's size and encoding, never its bytes.
type Payload struct {
	Records  int   // as sent
	Codec    uint8 // Kafka's number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd
	BytesIn  int
	BytesOut int
}

// Ruling is one distinct judgement in a batch. Module is an index in
// Authority.Modules and means nothing where Verdict is Passed. Route is the
// destination topic of Routed records.
type Ruling struct {
	Verdict Verdict
	Module  uint8
	Reason  string // from the module's closed catalogue
	Route   string
}

// Run is a count of neighbouring records with the same ruling.
type Run struct {
	Ruling uint16 // index in BatchEntry.Rulings
	Count  uint32
}

// Evidence is the part of a forwarded batch that a decision's MAC covers.
type Evidence uint8

const (
	// EvidenceHeader is a batch's header, from its checksum to its record count
	// (KIP-98). It tells whether the stored batch is the decided one as long as
	// nobody makes another with the same CRC-32C on purpose.
	EvidenceHeader Evidence = iota
	// EvidenceContent is a batch from its attributes to its end: any other byte
	// shows. It costs a pass over every batch.
	EvidenceContent
)

func (e Evidence) String() string {
	if e == EvidenceContent {
		return "content"
	}
	return "header"
}

// Direction is the way that a batch goes. Part of the format: never renumber.
type Direction uint8

// The directions.
const (
	Produce Direction = 0 // to the topic, and all that there was before directions had a place
	Consume Direction = 1 // from the topic
)

func (d Direction) String() string {
	if d == Consume {
		return "consume"
	}
	return "produce"
}

// MarshalText implements encoding.TextMarshaler.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// BatchEntry is the decision on one batch. It may be reused after Append returns;
// see Reset.
type BatchEntry struct {
	Time      time.Time // zero: when Append is called
	Direction Direction
	Caller
	Target
	Authority
	Producer
	Payload
	Outcome Outcome
	Reason  string // of the batch as a whole, from the gateway's closed catalogue
	// Rulings and Runs give each record's verdict, in record order. They are
	// empty where the chain gave none: no module ran, or it failed.
	Rulings []Ruling
	Runs    []Run
	// Evidence is what Append is given of the batch.
	Evidence Evidence

	nonce uint64 // counter that the MAC was made with; 0 if there is no MAC
	mac   [16]byte
}

// Awaits reports whether the entry waits for the broker's answer.
func (e *BatchEntry) Awaits() bool { return e.Direction == Produce && e.Outcome.Forwards() }

// Add gives the next n records of the batch the ruling r. It allocates only
// for a ruling that the batch has not seen.
func (e *BatchEntry) Add(r Ruling, n int) {
	if n <= 0 {
		return
	}
	if last := len(e.Runs) - 1; last >= 0 && e.Rulings[e.Runs[last].Ruling] == r {
		e.Runs[last].Count += uint32(n)
		return
	}

	i := 0
	for i < len(e.Rulings) && e.Rulings[i] != r {
		i++
	}

	if i == len(e.Rulings) {
		e.Rulings = append(e.Rulings, r)
	}
	e.Runs = append(e.Runs, Run{Ruling: uint16(i), Count: uint32(n)})
}

// Reset empties the entry but keeps its memory.
func (e *BatchEntry) Reset() {
	*e = BatchEntry{Rulings: e.Rulings[:0], Runs: e.Runs[:0], Authority: Authority{Modules: e.Modules[:0]}}
}

// Placement is the broker's answer to a forwarded batch.
type Placement struct {
	// Route is empty for the batch itself, or the topic that its routed
	// records went to. All records of one route of one batch must have been
	// sent as one batch to one partition, and must be bound before the batch.
	Route      string
	Partition  int32     // of the route; ignored where Route is empty
	BaseOffset int64     // -1 if unknown (acks=0) or not stored
	AppendTime time.Time // the broker's, zero if it gave none
	ErrorCode  int16     // Kafka's; 0 is success
	Recovered  bool      // found by looking at the partition after a crash
	Leader     LeaderEpoch
}

// LeaderEpoch is the epoch of the leader that stored a batch, as far as the cluster said.
// Offsets that a leader gave out and lost are given out again by the next, in another
// epoch. The zero LeaderEpoch is not known.
type LeaderEpoch uint32

// LeaderEpochOf takes an epoch as Kafka spells it: below zero it is not known.
func LeaderEpochOf(n int32) LeaderEpoch { return LeaderEpoch(max(n, -1) + 1) }

// Number is the epoch as Kafka spells it: -1 if it is not known.
func (e LeaderEpoch) Number() int32 { return int32(e - 1) }

// ControlEntry is a decision of the control plane. Its texts must come from
// configuration, approvals and policy, never from records.
type ControlEntry struct {
	Kind      Kind
	Time      time.Time // zero: when Record is called
	Subject   string    // what was decided about: a module, a file, the gateway
	Module    ModuleRef
	Principal string // who asked for it, where known
	Outcome   string // "allowed", "denied", "applied", …
	Reason    string
	Revision  string // of policy or configuration
	Steps     []Step // in the order they were taken
	Opening   Opening
	Admission *Admission // of KindAdmission; nil in logs from before it
	Loaded    *Loaded    // of KindConfig and KindAuthority; nil in logs from before it
	Era       *Era       // of KindEra alone
	Facts     []Fact     // of kinds from 12 on: what else they tell, in an order of their own
	Redacted  Redactions // nil for nearly all
}

// Fact is one thing that a control entry tells. It is in evidence as it is, so that it
// holds nothing of a client.
type Fact struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Fact is the first value with a key, empty where there is none.
func (c *ControlEntry) Fact(key string) string { return factOf(c.Facts, key) }

func factOf(facts []Fact, key string) string {
	for i := range facts {
		if facts[i].Key == key {
			return facts[i].Value
		}
	}
	return ""
}

// Tables are the steps that say which tables a module was admitted with.
func (c *ControlEntry) Tables() (all []Step) {
	for _, s := range c.Steps {
		if s.Name == StepTable {
			all = append(all, s)
		}
	}
	return all
}

// Opening is what the entry that a log begins with whenever it is opened says of
// the MACs behind it; zero in every other entry.
type Opening struct {
	Epoch segment.Epoch // random: with the audit key it gives the key of the MACs
	KeyID [8]byte       // of the audit key
}

// StepTable is the step of an admission that names a table of the module, whose detail
// is the table's name, a space and the digest of its file.
const StepTable = "table"

// Step is one check of an admission.
type Step struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Detail  string `json:"detail,omitempty"`
}

// BatchRef holds what is needed to find a batch in its partition.
type BatchRef struct {
	Seq  uint64
	Time time.Time
	Target
	Producer
	Records int // as sent, and as stored: what was dropped keeps its place
	Outcome Outcome

	routes []routeCount
	mac    MACID
}

type routeCount struct {
	topic string
	count int
}
