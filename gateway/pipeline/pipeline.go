// Package pipeline decides what becomes of a batch of records: it runs the
// modules of the batch's binding, writes the decision, and says what may go on.
// It knows no connection: bytes, client, grant and guard go in; a decision and
// bytes come out.
//
// A batch passes through three calls. Decide judges it and appends the decision
// to the log. Settle waits until that decision is durable; this is the crash
// point that everything hangs on, since nothing may be forwarded before. Answered
// notes where the batch then stands. Many batches may be decided before the
// first of them is settled, so that they share one commit of the log.
//
// Trust: the bytes of a batch are hostile. What modules answer was checked by
// the room transforms. Nothing in here decides policy: a Grant says what holds.
package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

// Direction is the way that a record takes through the gateway: to the broker,
// or from it.
type Direction uint8

// The directions. What a producer sends is stored; what a consumer reads was
// stored before, so that no sequence of a producer and no limit of a topic
// stands in its way, and none of it can be routed elsewhere.
const (
	Produce Direction = iota
	Consume
)

// Partition names one partition of a topic of the pipeline's cluster.
type Partition struct {
	Topic  string
	Number int32
}

// DecisionLog is where decisions become durable. Append must keep the order of
// calls, return at once, and give a ticket whose Wait returns nil only when the
// entry survives a crash; after one failure every later Append must fail too.
// It must not keep evidence. Place may be lazy: what it says can be found again.
// All are called concurrently.
type DecisionLog interface {
	Append(e *audit.BatchEntry, evidence []byte) audit.Ticket
	Place(seq uint64, b audit.Placement)
	ID(seq uint64, index int) audit.DecisionID
}

// Topics knows what the cluster's topics take. Where it cannot be learned, the
// settings are such that the broker has the last word. It is called concurrently.
type Topics interface {
	Settings(ctx context.Context, topic string) TopicSettings
}

// Eras makes sure that the log has where the record of a partition begins, before a batch
// for it is decided. topic is the id that the client named, or zero. After a nil, whoever
// waits for a decision waits for the era as well. It returns ErrNoPartition or
// ErrOtherTopic, wrapped, where the cluster says no; any other error means that it could
// not be asked, or the log not be written. It is called concurrently, for every batch.
type Eras interface {
	Begin(ctx context.Context, at Partition, topic [16]byte) error
}

// What a cluster answers that has no such place.
var (
	ErrNoPartition = errors.New("the cluster has no such topic or partition")
	ErrOtherTopic  = errors.New("the topic of that name has another id")
)

// TopicSettings are those of a topic's settings that say what its brokers take.
type TopicSettings struct {
	MaxMessage int  // the largest batch, in bytes
	Compacts   bool // records without a key are refused
}

// Router stores one batch of copies in another topic, as durably as the cluster
// can, and returns where it stands. All batches from one partition must go to
// one partition of the destination, which keeps their order. It tries again what
// may pass; its error is final for this batch. It is called concurrently.
type Router interface {
	Send(ctx context.Context, topic string, from Partition, batch []byte) (partition int32, offset int64, err error)
}

// Memory is where an encoded batch may lie until it is sent. Buffer returns
// memory of length 0 and at least that capacity; an error means that none is
// free. One caller at a time.
type Memory interface {
	Buffer(ctx context.Context, capacity int) ([]byte, error)
}

// Transformer runs the modules of one binding over one batch. It is called
// concurrently by many connections, each with its own batch. On an error
// nothing of the batch may be used, and the caller refuses it: an
// implementation must never hand back a half-transformed batch without error.
type Transformer interface {
	Run(ctx context.Context, b *record.Batch, at transforms.Origin) error
}

// worker decides one batch at a time. Its codec and its memory are used again
// for the next.
type worker struct {
	codec *recordbatch.Codec
	batch record.Batch
	entry audit.BatchEntry

	// The batch under way.
	cfg    *Config
	counts *Counts
	in     Input
	d      Decided

	noEra  error // not nil: nobody can tell later where its partition's record begins
	ran    bool  // it came to the modules
	asked  bool  // whether it is traced
	failed error // them
}

// Config is what a Pipeline is made of. All of it is needed but Tracer, without which
// no batch is traced, and Now.
type Config struct {
	Cluster      string // as decisions name it
	Log          DecisionLog
	Topics       Topics
	Eras         Eras
	Router       Router
	Workers      *Workers
	RouteTimeout time.Duration // for all copies of one batch
	Tracer       Tracer
	Now          func() time.Time // by which grants end; nil: time.Now
}

// Pipeline decides the batches of one cluster, each under the grant that it
// comes with. It is safe for concurrent use.
type Pipeline struct {
	cfg    Config
	counts *Counts
	late   [lateReasons]atomic.Uint64
	lines  sample
	open   openBatches
}

// New makes a Pipeline. It starts no goroutine, and has nothing to close.
func New(cfg Config) *Pipeline {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Pipeline{cfg: cfg, counts: newCounts()}
}

// Client is who a batch comes from, as its decision names it. Bindings were
// looked at before.
type Client struct {
	Connection uint64
	Principal  string
	ID         string // as the client claims
	Source     string // host
	TLS        audit.TLS
}

// Input is one batch of one partition, and what it is judged by. Records must
// stay as they are until the decision's Out has been sent.
type Input struct {
	Direction Direction
	Partition Partition
	TopicID   [16]byte
	Records   []byte
	Zstd      bool // the batch may be compressed with it (KIP-110)
	Client    Client
	Grant     *Grant
	Guard     *Guard // of the connection that the batch came on
	Memory    Memory
	Log       *zap.Logger // of the connection
}

// Decided is the decision on one batch. It belongs to one goroutine at a time.
type Decided struct {
	Partition Partition
	// Out is what may be forwarded once the decision is settled; it aliases the
	// input or the input's Memory. Nil: nothing.
	Out     []byte
	Rebuilt bool // Out is not the input's own bytes

	header  recordbatch.Header
	keyed   bool // its placeholders have a key
	ticket  audit.Ticket
	refused bool
	why     refusal
	rejects []wire.RecordError
	routes  []routed
	placed  bool // the log knows where the batch stands, or that it does not
	counted counted
	times   times
	trace   *Trace // nil: it is not traced
}

// Seq is the decision's number in the log. It is 0 if the log did not take the
// decision.
func (d *Decided) Seq() uint64 { return d.ticket.Seq() }

// Open reports whether the log does not yet know where the batch stands, so
// that its answer is still needed.
func (d *Decided) Open() bool { return !d.placed }
