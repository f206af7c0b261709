package cases

import (
	"context"
	"errors"
	"time"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/record"
)

// Chain gives each record to some guests, one after the other, as a binding's
// modules are given it. It is for one goroutine at a time.
type Chain struct {
	guests []*Guest
	chain  *transforms.Chain
	batch  record.Batch
}

// NewChain makes a chain of guests that were started, each under a name of its own.
// They stay the caller's to close.
func NewChain(guests ...*Guest) *Chain {
	c := &Chain{guests: guests}
	var modules []*transforms.Module
	for _, g := range guests {
		modules = append(modules, g.module)
	}

	c.chain = transforms.NewChain(modules...)

	return c
}

// Run gives the guest one record, in a batch of its own. The result's bytes hold
// until the next run.
func (g *Guest) Run(ctx context.Context, r Record) Result {
	return (&Chain{guests: []*Guest{g}, chain: g.chain}).run(ctx, &g.batch, r)
}

// Run gives the chain one record, in a batch of its own. The result's bytes hold
// until the next run.
func (c *Chain) Run(ctx context.Context, r Record) Result { return c.run(ctx, &c.batch, r) }

func (c *Chain) run(ctx context.Context, b *record.Batch, r Record) Result {
	fill(b, []Record{r})

	began := time.Now()
	err := c.chain.Run(ctx, b, transforms.Origin{Topic: r.Topic, Partition: r.Partition})
	took := time.Since(began)

	if err != nil {
		n := c.failed(err)
		failed := c.guests[n].sandbox.failure(err)
		failed.Module = n
		failed.Took = took
		return failed
	}

	out := b.Records[0]
	result := Result{
		Outcome: out.Verdict.String(),
		Module:  int(out.Module),
		Key:     b.Bytes(out.Key),
		Value:   b.Bytes(out.Value),
		Headers: readHeaders(b.Bytes(out.Headers)),
		Took:    took,
	}
	for _, g := range c.guests {
		result.MemoryAt += g.MemoryBytes()
		result.Printed.add(g.sandbox.printed.take())
	}

	decided := c.guests[out.Module].module
	if out.Verdict != record.Passed {
		result.Reason = decided.Reasons()[out.Reason]
	}
	if out.Verdict == record.Routed {
		result.Route = decided.Routes()[out.Route]
	}

	return result
}

// failed is which of the guests a failure names.
func (c *Chain) failed(err error) int {
	named, ok := errors.AsType[*transforms.Error](err)
	for n, g := range c.guests {
		if ok && g.module.Name() == named.Module {
			return n
		}
	}

	return 0
}
