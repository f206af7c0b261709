package trust

import (
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/signing"
)

// grantFlags are the parts of a grant that an approver chooses on the command
// line.
type grantFlags struct {
	topics    []string
	functions []string
	keys      []string
	routes    []string
	audience  []string
	notBefore string
	notAfter  string
	validFor  string
	ticket    string
	approver  string
	memory    string
	output    string
	deadline  time.Duration
	instances int64
}

func (g *grantFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringSliceVarP(&g.topics, "topic", "t", nil, "topic, or pattern with '*', that it may run on; may be repeated")
	fl.StringSliceVar(&g.functions, "host-function", nil, "host function that it may call; may be repeated (default: what it imports)")
	fl.StringSliceVar(&g.keys, "secret", nil, "name of a gateway key that it may use, in the order of its handles")
	fl.StringSliceVar(&g.routes, "route", nil, "topic that it may send records to instead, in order")
	fl.StringSliceVar(&g.audience, "audience", nil, "only gateways of `environment:NAME`, or gateway:NAME alone; may be repeated (default: gateways without environment)")
	fl.StringVar(&g.validFor, "valid-for", "90d", "how long it holds: 90d, 12h")
	fl.StringVar(&g.notAfter, "not-after", "", "last `DAY` (2030-12-31) or time (RFC 3339) instead of --valid-for")
	fl.StringVar(&g.notBefore, "not-before", "", "first `DAY` or time (default: now)")
	fl.StringVar(&g.ticket, "ticket", "", "your own reference, kept in the approval")
	fl.StringVar(&g.approver, "approver", "", "your identity as the trust root has it; checked when verified")
	fl.StringVar(&g.memory, "memory", "", "most memory of an instance, as 16MiB (default: the gateway's)")
	fl.StringVar(&g.output, "output", "", "most changed bytes of a batch, as 4MiB (default: the gateway's)")
	fl.DurationVar(&g.deadline, "deadline", 0, "longest call, as 50ms (default: the gateway's)")
	fl.Int64Var(&g.instances, "instances", 0, "most instances (default: the gateway's)")
}

// approval reads the flags, and fills in all of an approval but the digests.
func (g *grantFlags) approval(cmd *cobra.Command, imported []string, now time.Time) (signing.Approval, error) {
	a := signing.Approval{
		Topics:        g.topics,
		HostFunctions: g.functions,
		Keys:          g.keys,
		Routes:        g.routes,
		Audience:      g.audience,
		Ticket:        g.ticket,
		Approver:      signing.Identity(g.approver),
	}

	if len(g.topics) == 0 {
		return a, cli.NeedFlag(cmd, "topic", "--topic 'customers*'")
	}
	if !cmd.Flags().Changed("host-function") {
		a.HostFunctions = imported
	}

	var err error
	if a.Limits, err = g.limits(); err != nil {
		return a, err
	}

	a.NotBefore, a.NotAfter, err = g.period(now)
	return a, err
}

func (g *grantFlags) limits() (signing.Limits, error) {
	l := signing.Limits{DeadlineMS: g.deadline.Milliseconds(), Instances: g.instances}
	var err error
	if l.MemoryBytes, err = parseBytes("--memory", g.memory); err != nil {
		return l, err
	}
	l.OutputBytes, err = parseBytes("--output", g.output)
	return l, err
}

func parseBytes(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<40 {
		return 0, exit.Usagef("%s %q is not a size like 16MiB", flag, s)
	}

	return int64(n), nil
}

// period is from when and until when the grant holds, in whole seconds, as an
// approval stores it.
func (g *grantFlags) period(now time.Time) (from, until time.Time, err error) {
	from = now.UTC().Truncate(time.Second)
	if g.notBefore != "" {
		if from, err = cli.ParseDay(g.notBefore, false); err != nil {
			return from, until, exit.Usagef("--not-before %w", err)
		}
	}

	if g.notAfter != "" {
		if until, err = cli.ParseDay(g.notAfter, true); err != nil {
			return from, until, exit.Usagef("--not-after %w", err)
		}
	} else {
		length, err := cli.ParsePeriod(g.validFor)
		if err != nil {
			return from, until, exit.Usagef("--valid-for %w", err)
		}
		until = from.Add(length)
	}

	if !until.After(from) || !until.After(now) {
		return from, until, exit.Usagef("the approval would end before it begins to hold: %s", until.Format(time.RFC3339))
	}
	return from, until, nil
}
