package pipeline

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// Grant is what a binding compiled to: everything the produce path needs to
// know about a topic and a client, with all policy already decided.
// It is immutable.
type Grant struct {
	Binding     string
	Chain       Transformer // nil: records pass unchanged, but are recorded
	Modules     []audit.ModuleRef
	Reasons     [][]string // per module, its reason catalogue
	Routes      [][]string // per module, the topics it may route to
	RejectCode  int16      // Kafka error code of a rejected batch: 87 or 44
	Recompress  recordbatch.Compression
	KeepCodec   bool
	RejectDrops bool           // a batch is rejected where a dropped record would leave a placeholder
	Evidence    audit.Evidence // of batches that their producer's sequence names
	Refusal     audit.Outcome  // not OutcomePassed: nothing may be produced, with this outcome
	Why         string         // closed-catalogue reason of the refusal
	Conduct     *Conduct       // what its modules did lately
	Unaudited   bool           // insecure_pass: forwarded as bytes, no decision recorded
	Basis
}

// Basis is what a grant was judged by, as decisions name it, and how long that holds.
type Basis struct {
	PolicyRevision string
	GrantDigest    [32]byte // of the approvals' grants, in the order of the chain
	ValidUntil     time.Time
}

// Unbound is the grant of everything before bindings were set, and of what no
// binding matches unless the configuration says otherwise: it refuses.
var Unbound = &Grant{Refusal: audit.OutcomePolicyDenied, Why: "unbound_topic", RejectCode: kerr.PolicyViolation.Code}

// UnknownTopicID is the grant of a topic id that nobody can name: policy is by
// name, so nothing may pass.
var UnknownTopicID = &Grant{Refusal: audit.OutcomeInvalid, Why: refuseUnknownTopic.reason}
