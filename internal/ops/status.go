package ops

import "time"

// Status is what runs where, since when, by whose leave and until when. A gateway
// tells it at /status; what of it follows from files alone is the same offline.
type Status struct {
	Node    string    `json:"node"`
	Version string    `json:"version"`
	Now     time.Time `json:"now"`
	Started time.Time `json:"started,omitzero"` // zero: nothing runs
	Ready   bool      `json:"ready"`
	Missing []string  `json:"missing"` // why it is not ready

	Files    []File    `json:"files"`
	Insecure []string  `json:"insecure"`
	Clusters []Cluster `json:"clusters"`
	Bindings []Binding `json:"bindings"`
	Ends     []End     `json:"ends"` // the soonest first
	Log      *Log      `json:"log,omitempty"`
	Manifest *Manifest `json:"manifest,omitempty"` // nil: none is configured
	Clock    *Clock    `json:"clock,omitempty"`
}

// Clock is what became of the wall clock. Status.Now goes on with it, but never back.
type Clock struct {
	Wall    time.Time `json:"wall"`
	Ahead   float64   `json:"ahead_seconds"` // of the wall clock, which was set back: that far is Now
	Forward int64     `json:"set_forward"`   // how often since the start
	Back    int64     `json:"set_back"`
	Was     time.Time `json:"was,omitzero"` // what it would have shown without the last step
	Is      time.Time `json:"is,omitzero"`  // what it showed
}

// File is a file that is in force.
type File struct {
	Role     string `json:"role"`
	Name     string `json:"name"`
	Digest   string `json:"digest"`
	Revision int64  `json:"revision,omitempty"` // of a signed policy
}

// Cluster is one cluster behind the gateway.
type Cluster struct {
	Name        string    `json:"name"`
	Address     string    `json:"address"`
	Reached     bool      `json:"reached"`
	Asked       time.Time `json:"asked,omitzero"`
	Problem     string    `json:"problem,omitempty"` // why it was not reached
	Connections int       `json:"connections"`
	InFlight    int       `json:"in_flight"`
	Unresolved  int       `json:"unresolved"`

	Reconciled *Reconciled `json:"reconciled,omitempty"` // audit.reconcile; nil: nobody looks
}

// Reconciled is what the last look for records without a decision came to.
type Reconciled struct {
	Every      float64          `json:"every_seconds"`
	Outcome    string           `json:"outcome,omitempty"` // empty: there was no look yet
	Ended      time.Time        `json:"ended,omitzero"`
	Concluded  time.Time        `json:"concluded,omitzero"` // when the last look ended that looked at everything
	Partitions int              `json:"partitions"`
	Gone       int              `json:"partitions_gone"`
	Offsets    int64            `json:"offsets"`
	Classes    map[string]int64 `json:"classes,omitempty"` // offsets
	Places     []string         `json:"places,omitempty"`  // of what must not be, and of what is acknowledged
	Problem    string           `json:"problem,omitempty"`
}

// Binding is one binding as it is served.
type Binding struct {
	Cluster   string    `json:"cluster"`
	Binding   string    `json:"binding"`
	Topics    []string  `json:"topics"`
	Isolation string    `json:"isolation,omitempty"`
	Since     time.Time `json:"since,omitzero"` // that it is as it is
	Until     time.Time `json:"until,omitzero"`
	Suspended bool      `json:"suspended"`
	Refused   string    `json:"refused,omitempty"` // the reason; empty: it runs
	Problem   string    `json:"problem,omitempty"` // what is behind the reason
	Cure      string    `json:"cure,omitempty"`
	Modules   []Module  `json:"modules"`
}

// Module is a module on a binding.
type Module struct {
	Name      string     `json:"name"`
	Digest    string     `json:"digest"`
	Config    string     `json:"config_digest"` // of its configuration
	Author    string     `json:"author,omitempty"`
	Functions []string   `json:"functions"`
	Keys      []string   `json:"keys"`
	Routes    []string   `json:"routes"`
	Approvals []Approval `json:"approvals"`
}

// Approval is one that counts, and until when.
type Approval struct {
	Approver string    `json:"approver"`
	Ticket   string    `json:"ticket,omitempty"`
	Until    time.Time `json:"until"`
}

// End is when something ends that bindings or clients depend on.
type End struct {
	Kind string    `json:"kind"` // grant, approval, author_key, certificate
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Log is how the decision log and what vouches for it fare.
type Log struct {
	Dir        string    `json:"dir"`
	ID         string    `json:"log_id"`
	Entries    uint64    `json:"entries"` // durable, ever
	Pending    int       `json:"pending_bytes"`
	Open       int       `json:"open_batches"`
	Problem    string    `json:"problem,omitempty"` // it takes no entries any more
	Bytes      int64     `json:"bytes"`
	Segments   int       `json:"segments"`
	DiskFree   int64     `json:"disk_free_bytes"`   // -1: it is not known
	DiskLow    bool      `json:"disk_low"`          // less than audit.disk_alarm
	Committed  uint64    `json:"committed_entries"` // that a checkpoint speaks for
	Checkpoint time.Time `json:"checkpoint,omitzero"`
	Witnesses  []Witness `json:"witnesses,omitempty"`
}

// Manifest is the list of the cluster's decision logs that is in force.
type Manifest struct {
	File     string   `json:"file"`
	Cluster  string   `json:"cluster,omitempty"` // empty: none is in force
	Revision int64    `json:"revision,omitempty"`
	Digest   string   `json:"digest,omitempty"`
	Signers  []string `json:"signers"`
	Problem  string   `json:"problem,omitempty"` // why the file is not in force
}

// Witness is one that cosigns checkpoints.
type Witness struct {
	Name   string `json:"name"`
	Behind int64  `json:"behind"` // leaves of the last checkpoint that it has not cosigned
}
