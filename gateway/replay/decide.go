package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/objects"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/transforms"
)

// way is what neither the log nor the input says of a decision, and its output hangs on.
// Each is tried, since none makes another's MAC come out.
type way struct {
	binding       objects.Binding
	compacts      bool // the topic's placeholders have keys
	transactional bool // the batch that is built is of a transaction
}

// ways are those that can be told apart by what comes out.
func (c *comparison) ways() iter.Seq[way] {
	bindings := c.d.Bindings
	if len(bindings) == 0 {
		bindings = []objects.Binding{{Recompress: "same", OnDrop: "placeholder"}}
	}

	built := c.in.raw == nil && c.d.Entry.ProducerID >= 0

	return func(yield func(way) bool) {
		for _, b := range bindings {
			for _, transactional := range []bool{false, true} {
				for _, compacts := range []bool{false, true} {
					if transactional && !built || compacts && !c.removes() {
						continue
					}
					if !yield(way{b, compacts, transactional}) {
						return
					}
				}
			}
		}
	}
}

// removes reports whether placeholders stand in what was forwarded.
func (c *comparison) removes() bool {
	return slices.ContainsFunc(c.d.Entry.Rulings, func(r audit.Ruling) bool {
		return r.Verdict == audit.Dropped || r.Verdict == audit.Routed
	})
}

// made is a decision that was made here.
type made struct {
	entry  audit.BatchEntry
	output []byte
}

// decide makes the decision in one way. Modules are started for it alone, so that no way
// sees what another left in them.
func (c *comparison) decide(ctx context.Context, how way) (*made, error) {
	e := c.d.Entry
	batch, err := c.in.batch(e, how.transactional)
	if err != nil {
		return nil, err
	}

	runtime, err := transforms.New(transforms.Config{Trial: c.materials.Trial, RecordClock: true})
	if err != nil {
		return nil, err
	}

	defer runtime.Close(context.WithoutCancel(ctx))

	grant, err := c.grant(ctx, runtime, how.binding)
	if err != nil {
		return nil, err
	}

	out := &cut{compacts: how.compacts}
	p := pipeline.New(pipeline.Config{
		Cluster:      e.Cluster,
		Log:          out,
		Topics:       out,
		Eras:         out,
		Router:       out,
		Workers:      pipeline.NewWorkers(1, recordbatch.Limits{MaxDecompressed: maxDecompressed}),
		RouteTimeout: time.Second,
	})

	d, err := p.Decide(ctx, &pipeline.Input{
		Direction: pipeline.Direction(e.Direction),
		Partition: pipeline.Partition{Topic: e.Topic, Number: e.Partition},
		TopicID:   e.TopicID,
		Records:   batch,
		Zstd:      true,
		Grant:     grant,
		Guard:     new(pipeline.Guard),
		Memory:    out,
		Log:       zap.NewNop(),
	})
	if err == nil {
		err = ctx.Err() // what a chain did that was stopped says nothing
	}

	return &made{out.entry, d.Out}, err
}

// grant starts the chain, and is what the binding said of its batches.
func (c *comparison) grant(ctx context.Context, runtime *transforms.Runtime, b objects.Binding) (*pipeline.Grant, error) {
	e := c.d.Entry
	g := &pipeline.Grant{
		Binding:     b.Name,
		Modules:     e.Modules,
		RejectCode:  kerr.InvalidRecord.Code,
		KeepCodec:   b.Recompress == "same" || b.Recompress == "",
		RejectDrops: b.OnDrop == "reject",
		Evidence:    e.Evidence,
		Basis:       pipeline.Basis{PolicyRevision: e.PolicyRevision, GrantDigest: e.GrantDigest},
	}
	if !g.KeepCodec {
		codec, err := recordbatch.ParseCompression(b.Recompress)
		if err != nil {
			return nil, fmt.Errorf("binding %s: %w", b.Name, err)
		}
		g.Recompress = codec
	}

	var modules []*transforms.Module
	for i := range c.chain {
		m, err := runtime.Load(ctx, c.chain[i].spec)
		if err != nil {
			return nil, fmt.Errorf("starting module %s: %w", c.chain[i].spec.Name, err)
		}
		modules = append(modules, m)
		g.Reasons = append(g.Reasons, m.Reasons())
		g.Routes = append(g.Routes, m.Routes())
	}

	if len(modules) > 0 {
		g.Chain = transforms.NewChain(modules...)
	}
	return g, nil
}

// cut is where the pipeline ends: it captures the decision, knows a topic that takes all,
// and sends nothing.
type cut struct {
	entry    audit.BatchEntry
	compacts bool
}

// Append implements pipeline.DecisionLog.
func (c *cut) Append(e *audit.BatchEntry, _ []byte) audit.Ticket {
	c.entry = *e
	c.entry.Modules = slices.Clone(e.Modules)
	c.entry.Rulings = slices.Clone(e.Rulings)
	c.entry.Runs = slices.Clone(e.Runs)
	return audit.Ticket{}
}

// Place implements pipeline.DecisionLog.
func (c *cut) Place(uint64, audit.Placement) {}

// ID implements pipeline.DecisionLog.
func (c *cut) ID(uint64, int) audit.DecisionID { return audit.DecisionID{} }

// Settings implements pipeline.Topics.
func (c *cut) Settings(context.Context, string) pipeline.TopicSettings {
	return pipeline.TopicSettings{MaxMessage: math.MaxInt, Compacts: c.compacts}
}

// Begin implements pipeline.Eras.
func (c *cut) Begin(context.Context, pipeline.Partition, [16]byte) error { return nil }

// Send implements pipeline.Router. Nothing is sent before a decision is settled, and
// none is here.
func (c *cut) Send(context.Context, string, pipeline.Partition, []byte) (int32, int64, error) {
	return 0, 0, errors.New("nothing is sent in a replay")
}

// Buffer implements pipeline.Memory.
func (c *cut) Buffer(_ context.Context, capacity int) ([]byte, error) {
	return make([]byte, 0, capacity), nil
}
