package decisions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	logs      logsFlags
	cluster   string
	topics    []string
	partition int32
	offset    string
	from, to  string
	modules   []string
	outcomes  []string
	reasons   []string
	kinds     []string
	states    []string
	callerFlags
}

// callerFlags say who sent what is asked for.
type callerFlags struct {
	principals []string
	clientIDs  []string
	source     string
	cert       string
}

const auditFilterHelp = `
Flags narrow the choice together. A flag that is given several times, or with
values between commas, asks for any of them; the names of principals and clients
may hold commas themselves, so that those flags are repeated. Exit code 4 if no
log has ever seen a cluster, topic, module, reason, principal or client that is
asked for.
` + logsHelp

func (f *auditFilterFlags) register(cmd *cobra.Command) {
	f.logs.register(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.cluster, "cluster", "", "of this `NAME` in clusters of the configuration; without, of every cluster")
	fl.StringSliceVarP(&f.topics, "topic", "t", nil, "of this `TOPIC`, or of those that a pattern like 'cust*' fits")
	fl.Int32VarP(&f.partition, "partition", "p", 0, "of this partition")
	fl.StringVarP(&f.offset, "offset", "o", "", "of the record at this `OFFSET`, or of those from one to another (100-199); needs --topic and --partition")
	fl.StringVar(&f.from, "from", "", "not before this time of today (10:00), day, time (2030-01-31 10:00, RFC 3339), or so long ago (15m, 2d); UTC")
	fl.StringVar(&f.to, "to", "", "not after this time, day, or so long ago")
	fl.StringSliceVar(&f.modules, "module", nil, "decided by this `MODULE`: a name, or a digest in hex")
	fl.StringArrayVar(&f.principals, "principal", nil, "sent by this `PRINCIPAL`, as User:ada, or signed or approved by this person")
	fl.StringArrayVar(&f.clientIDs, "client-id", nil, "sent by a client that called itself this `ID`")
	fl.StringVar(&f.source, "source", "", "sent from this `ADDRESS`, or from a network like 10.0.0.0/8")
	fl.StringVar(&f.cert, "tls-fingerprint", "", "sent with this client certificate: the SHA-256 of it, in `HEX`")
	fl.StringSliceVar(&f.outcomes, "outcome", nil, "with this `OUTCOME`: "+strings.Join(query.Outcomes(), ", "))
	fl.StringSliceVar(&f.reasons, "reason", nil, "with this `REASON`")
	fl.StringSliceVar(&f.states, "state", nil, "of batches in this `STATE`: "+stateNames())
	fl.StringSliceVar(&f.kinds, "kind", nil, "of this `KIND`: record, admission, conduct, config, admin, start, stop, open, era, authority, adoption, hold, erasure, reconciliation, acknowledgement, clock; or standing, which repeats an admission where a segment begins")
}

func (f *auditFilterFlags) filter(cmd *cobra.Command, now time.Time) (query.Filter, error) {
	out := query.Filter{
		Cluster:  f.cluster,
		Topics:   f.topics,
		Modules:  f.modules,
		Client:   query.Client{Principals: f.principals, IDs: f.clientIDs},
		Outcomes: f.outcomes,
		Reasons:  f.reasons,
	}
	if err := f.caller(&out.Client); err != nil {
		return out, err
	}
	if err := f.closedSets(&out); err != nil {
		return out, err
	}
	if cmd.Flags().Changed("partition") {
		out.Partition = &f.partition
	}

	if cmd.Flags().Changed("offset") {
		if len(out.Topics) != 1 || strings.Contains(out.Topics[0], "*") || out.Partition == nil {
			return out, exit.WithHint(exit.Usagef("%s: --offset needs --topic and --partition, with one topic's name", cli.CommandName(cmd)),
				"for example: --topic payments --partition 0 --offset %s", f.offset)
		}
		if err := f.offsets(&out); err != nil {
			return out, err
		}
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

// closedSets reads what can only be one of a few words.
func (f *auditFilterFlags) closedSets(out *query.Filter) error {
	for _, name := range f.kinds {
		kind, ok := audit.ParseKind(name)
		if !ok {
			return exit.WithHint(exit.Usagef("--kind %q is no kind of entry", name), "record, admission, conduct, config, admin, start, stop, open, era or standing")
		}
		out.Kinds = append(out.Kinds, kind)
	}

	for _, name := range f.outcomes {
		if !slices.Contains(query.Outcomes(), name) {
			return exit.WithHint(exit.Usagef("--outcome %q is no outcome", name), "%s", strings.Join(query.Outcomes(), ", "))
		}
	}

	for _, name := range f.states {
		if !slices.Contains(query.States(), query.State(name)) {
			return exit.WithHint(exit.Usagef("--state %q is no state", name), "%s", stateNames())
		}
		out.States = append(out.States, query.State(name))
	}

	return nil
}

func stateNames() string {
	var names []string
	for _, s := range query.States() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// offsets reads an offset, or a range of them.
func (f *auditFilterFlags) offsets(out *query.Filter) error {
	from, to, ranged := strings.Cut(f.offset, "-")
	first, err := strconv.ParseInt(from, 10, 64)
	if err != nil || first < 0 {
		return exit.Usagef("--offset %q is neither an offset nor a range like 100-199", f.offset)
	}

	out.Offset = &first
	if !ranged {
		return nil
	}
	last, err := strconv.ParseInt(to, 10, 64)
	if err != nil || last < first {
		return exit.Usagef("--offset %q is neither an offset nor a range like 100-199", f.offset)
	}

	out.LastOffset = &last
	return nil
}

// unseen is an error if no log has ever seen a name that is asked for. Rows tell
// that the only name of a flag was seen.
func (l *logsFlags) unseen(ctx context.Context, logs query.Logs, f query.Filter, rows bool) error {
	several := max(len(f.Topics), len(f.Modules), len(f.Reasons), len(f.Client.Principals), len(f.Client.IDs)) > 1
	if rows && !several {
		return nil
	}

	missing, err := logs.Unseen(ctx, f)
	if err != nil {
		return l.failed(err)
	}

	var errs []error
	for _, u := range missing {
		errs = append(errs, exit.NotFoundf("no decision in %s names %s %s; %s", l.names(), u.What, u.Name, knownNames(u)))
	}

	if len(errs) == 0 {
		return nil
	}

	return exit.WithCode(errors.Join(errs...), exit.NotFound)
}

// namesShown is how many names an error lists at most.
const namesShown = 20

func knownNames(u query.Unseen) string {
	if len(u.Known) == 0 {
		return "this log has none"
	}

	shown := u.Known[:min(len(u.Known), namesShown)]
	list := "in this log: " + strings.Join(shown, ", ")
	if more := len(u.Known) - len(shown); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}

	return list
}

// caller reads what is asked about the client's connection.
func (f *callerFlags) caller(out *query.Client) (err error) {
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
