package evidence

import (
	"crypto/sha256"
	"errors"
)

// leafMagic begins each leaf. Another version has another magic, and is refused by
// this one.
const leafMagic = "guardlock leaf v1\n"

// nameMagic begins what the digest of a name is made of.
const nameMagic = "guardlock name v1\n"

// ErrLeaf means that bytes are no leaf of version 1, or not the one way to write it.
var ErrLeaf = errors.New("malformed leaf")

// Kind says what a leaf stands for. The numbers are those of the decision log.
type Kind uint8

// The kinds that have fields of their own here. Every other kind up to 15 is a
// control entry, and so is that of an acknowledgement and of a
// clock that was set.
const (
	KindDecision        Kind = 1
	KindPlacement       Kind = 16
	KindAcknowledgement Kind = 20
	KindClock           Kind = 21
)

// Salt keeps a name from being found by trying: without it nobody can tell whether
// a digest is of a name that he thinks of.
type Salt [16]byte

// Name is a personal value in a leaf: of a principal, a client id, a source, a
// certificate. The leaf has its digest alone, so that the value can be erased and
// every proof still holds. The zero Name is "none given".
type Name [32]byte

// NameOf is SHA-256 of the magic, the salt and the value. The empty value is the
// zero Name.
func NameOf(salt Salt, value string) Name {
	if value == "" {
		return Name{}
	}
	h := sha256.New()
	h.Write([]byte(nameMagic))
	h.Write(salt[:])
	h.Write([]byte(value))
	return Name(h.Sum(nil))
}

// Coord is a partition of a cluster as a gateway names it.
type Coord struct {
	Cluster   string
	Topic     string
	Partition uint32
}

// Module names a module's exact bytes.
type Module struct {
	Name   string
	Digest [32]byte
}

// Caller is who sent a batch.
type Caller struct {
	Connection  uint64
	Principal   Name
	ClientID    Name
	Source      Name
	TLSVersion  string
	CipherSuite string
	Certificate Name
}

// Authority is what judged a batch.
type Authority struct {
	PolicyRevision string
	Grant          [32]byte
	Modules        []Module
}

// Producer holds the producer fields of the batch header; ID is -1 if none.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32
}

// Payload describes a batch without its bytes. MAC is of kind 0 (none), 1 (of the
// header) or 2 (of the content), under a key that only the gateway has.
type Payload struct {
	Records  uint32
	Codec    uint8
	BytesIn  uint32
	BytesOut uint32
	MACKind  uint8
	MACEpoch [16]byte
	MACNonce uint64
	MAC      [16]byte
}

// Ruling is one distinct judgement in a batch, and Run a count of neighbouring
// records that got it. Verdicts and outcomes have the decision log's numbers.
type Ruling struct {
	Verdict uint8
	Module  uint8
	Reason  string
	Route   string
}

// Run is a count of neighbouring records with the same ruling.
type Run struct {
	Ruling uint32
	Count  uint32
}

// Decision is what became of one batch.
type Decision struct {
	Seq     uint64
	Time    int64 // µs since 1970
	Consume bool
	Outcome uint8
	Reason  string
	Where   Coord
	TopicID [16]byte
	Caller
	Authority
	Producer
	Payload
	Rulings []Ruling
	Runs    []Run
}

// Placement is the broker's answer to a forwarded batch: where it is stored.
type Placement struct {
	Decision    uint64 // sequence number
	Where       Coord
	Route       string // not empty: of the records that were routed there
	Base        int64  // -1: stored nowhere
	Records     uint32
	LeaderEpoch int32 // -1: not known
	AppendTime  int64 // µs; 0 if the broker gave none
	ErrorCode   int16
	Recovered   bool
}

// Control is any other entry. Fields are what the kind has beside the common ones,
// in the order that docs/evidence.md gives.
type Control struct {
	Kind     Kind
	Seq      uint64
	Time     int64
	Subject  string
	Module   Module
	Who      Name
	Outcome  string
	Reason   string
	Revision string
	Facts    []Fact
}

// Fact is one named fact of a control entry. A fact that holds a person's name has
// Value empty and Name set.
type Fact struct {
	Key   string
	Value string
	Name  Name
}

// Leaf is one of the three.
type Leaf struct {
	Decision  *Decision
	Placement *Placement
	Control   *Control
}

// The control entries that let a module run, or did not: as it was decided, and as a
// segment of the log repeats it at its beginning.
const (
	KindAdmission Kind = 2
	KindStanding  Kind = 9
)

// KindEra is of the entries that say where a gateway's record of a partition begins.
const KindEra Kind = 10

// KindAuthority is of the entries that say what a gateway serves under from there on.
const KindAuthority Kind = 11

// OutcomeInForce is the outcome of each authority.
const OutcomeInForce = "in_force"

// The roles of an authority's files that a report names.
const (
	RoleConfiguration = "configuration"
	RolePolicy        = "policy"
	RoleTrustRoot     = "trust_root"
)

// VerdictRouted is that of a record which is stored in another topic.
const VerdictRouted = 4

// Facts that verifying looks at. docs/evidence.md lists all of them.
const (
	FactGrant = "grant.digest" // hexadecimal
	FactUntil = "until"        // µs since 1970: when the module has to be judged again

	FactApproval    = "approval" // who approved
	FactApprovalID  = "approval.id"
	FactApprovalKey = "approval.key"
	FactAudience    = "grant.audience"
	FactThreshold   = "threshold"

	FactFileRole     = "file.role" // of an authority: each file has a role, and then its digest
	FactFileDigest   = "file.digest"
	FactFileRevision = "file.revision" // where the file has one

	FactCluster   = "cluster"
	FactTopic     = "topic"
	FactTopicID   = "topic_id" // hexadecimal
	FactPartition = "partition"
	FactOffset    = "offset" // where the partition ended as its era began
)

// Fact is the first value with a key, empty where there is none.
func (c *Control) Fact(key string) string {
	for i := range c.Facts {
		if c.Facts[i].Key == key {
			return c.Facts[i].Value
		}
	}
	return ""
}

// Values are all values with a key, in their order.
func (c *Control) Values(key string) (values []string) {
	for i := range c.Facts {
		if c.Facts[i].Key == key {
			values = append(values, c.Facts[i].Value)
		}
	}
	return values
}

// Names lists the digests of names in the leaf that are not zero.
func (l *Leaf) Names() (names []Name) {
	add := func(all ...Name) {
		for _, n := range all {
			if n != (Name{}) {
				names = append(names, n)
			}
		}
	}

	switch {
	case l.Decision != nil:
		c := &l.Decision.Caller
		add(c.Principal, c.ClientID, c.Source, c.Certificate)
	case l.Control != nil:
		add(l.Control.Who)
		for i := range l.Control.Facts {
			add(l.Control.Facts[i].Name)
		}
	}

	return names
}
