package decisions

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/exit"
)

// auditFilterFlags choose decisions; they are shared by query, tail and summary.
type auditFilterFlags struct {
	dir       string
	cluster   string
	topic     string
	partition int32
	offset    int64
	from, to  string
	module    string
	principal string
	clientID  string
	source    string
	cert      string
	outcome   string
	reason    string
	kinds     []string
}

func (f *auditFilterFlags) register(cmd *cobra.Command) {
	registerAuditDir(cmd, &f.dir)
	fl := cmd.Flags()
	fl.StringVar(&f.cluster, "cluster", "", "of this `NAME` in clusters of the configuration; without, of every cluster")
	fl.StringVarP(&f.topic, "topic", "t", "", "of this topic")
	fl.Int32VarP(&f.partition, "partition", "p", 0, "of this partition")
	fl.Int64VarP(&f.offset, "offset", "o", 0, "of the record at this offset; needs --topic and --partition")
	fl.StringVar(&f.from, "from", "", "not before this time of today (10:00), day, time (2030-01-31 10:00, RFC 3339), or so long ago (15m, 2d); UTC")
	fl.StringVar(&f.to, "to", "", "not after this time, day, or so long ago")
	fl.StringVar(&f.module, "module", "", "decided by this module: a name, or a digest in hex")
	fl.StringVar(&f.principal, "principal", "", "sent by this principal, as User:ada")
	fl.StringVar(&f.clientID, "client-id", "", "sent by a client that called itself this")
	fl.StringVar(&f.source, "source", "", "sent from this `ADDRESS`, or from a network like 10.0.0.0/8")
	fl.StringVar(&f.cert, "tls-fingerprint", "", "sent with this client certificate: the SHA-256 of it, in `HEX`")
	fl.StringVar(&f.outcome, "outcome", "", "with this outcome: "+strings.Join(audit.Outcomes(), ", "))
	fl.StringVar(&f.reason, "reason", "", "with this reason")
	fl.StringSliceVar(&f.kinds, "kind", nil, "of this kind: record, admission, config, admin, start, stop, open")
}

func (f *auditFilterFlags) filter(cmd *cobra.Command, now time.Time) (query.Filter, error) {
	out := query.Filter{
		Cluster:   f.cluster,
		Topic:     f.topic,
		Module:    f.module,
		Principal: f.principal,
		ClientID:  f.clientID,
		Outcome:   f.outcome,
		Reason:    f.reason,
	}
	if err := f.caller(&out); err != nil {
		return out, err
	}
	if cmd.Flags().Changed("partition") {
		out.Partition = &f.partition
	}

	if cmd.Flags().Changed("offset") {
		if out.Topic == "" || out.Partition == nil {
			return out, exit.WithHint(exit.Usagef("%s: --offset needs --topic and --partition", cli.CommandName(cmd)),
				"for example: --topic payments --partition 0 --offset %d", f.offset)
		}
		out.Offset = &f.offset
	}

	for _, name := range f.kinds {
		kind, ok := audit.ParseKind(name)
		if !ok {
			return out, exit.WithHint(exit.Usagef("--kind %q is no kind of entry", name), "record, admission, config, admin, start, stop or open")
		}
		out.Kinds = append(out.Kinds, kind)
	}

	var err error
	if out.From, err = parseMoment(f.from, now, false); err != nil {
		return out, fmt.Errorf("--from %w", err)
	}
	if out.To, err = parseMoment(f.to, now, true); err != nil {
		return out, fmt.Errorf("--to %w", err)
	}

	return out, nil
}

// caller reads what is asked about the client's connection.
func (f *auditFilterFlags) caller(out *query.Filter) (err error) {
	if f.source != "" {
		if out.Source, err = gateway.ParseSource(f.source); err != nil {
			return exit.Usagef("--source %w", err)
		}
	}

	if f.cert != "" {
		if out.Fingerprint, err = audit.ParseFingerprint(f.cert); err != nil {
			return exit.WithHint(exit.Usagef("--tls-fingerprint: %w", err), "`openssl x509 -in client.pem -noout -fingerprint -sha256` prints it")
		}
	}

	return nil
}

// parseMoment reads a day, a time, or a period back from now; "" is zero.
func parseMoment(s string, now time.Time, end bool) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ago, err := cli.ParsePeriod(s); err == nil {
		return now.Add(-ago), nil
	}
	return cli.ParseTime(s, now, end)
}
