package decisions

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/reconcile"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/reconciling"
)

// explaining are the kinds of what brokers hold that explain an offset without a decision.
var explaining = map[reconcile.Kind]evidence.GapKind{
	reconcile.Marker:  evidence.GapMarker,
	reconcile.Nothing: evidence.GapNothing,
}

// asks has the brokers say what offsets without a decision are. A batch of records is no
// explanation.
func (c *auditProveCommand) asks(r *evidence.Range) func(context.Context, []evidence.Span) ([]evidence.Gap, error) {
	return func(ctx context.Context, gaps []evidence.Span) (told []evidence.Gap, err error) {
		client, err := c.client.Connect(ctx, nil, kgo.ClientID(gateway.AuditClientID))
		if err != nil {
			return nil, err
		}
		defer client.Close()
		ends, err := reconciling.Ask(ctx, client)
		if err != nil {
			return nil, err
		}

		at := audit.Coord{Cluster: r.Cluster, Topic: r.Topic, Partition: int32(r.Partition)}
		for _, gap := range gaps {
			some, err := explainGap(ctx, ends, at, gap)
			if err != nil {
				return nil, err
			}
			told = append(told, some...)
		}
		return told, nil
	}
}

// explainGap tells what the offsets of one gap are, as far as that explains them.
func explainGap(ctx context.Context, ends *reconciling.Ends, at audit.Coord, gap evidence.Span) (told []evidence.Gap, err error) {
	p, err := ends.Partition(at)
	if err != nil {
		return nil, err
	}
	if gap.First < p.Start {
		told = append(told, evidence.Gap{First: gap.First, Last: min(gap.Last, p.Start-1), Kind: evidence.GapRetention})
	}
	p.Start = max(p.Start, gap.First)
	p.End = min(p.End, gap.Last+1)
	if p.Start >= p.End {
		return told, nil
	}

	found, err := new(reconcile.Coverage).Judge(ctx, p, nil)
	for _, f := range found {
		if kind, ok := explaining[f.Kind]; ok && f.First >= gap.First && f.Last <= gap.Last {
			told = append(told, evidence.Gap{First: f.First, Last: f.Last, Kind: kind})
		}
	}
	return told, err
}
