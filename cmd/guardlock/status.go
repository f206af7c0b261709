package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/ops"
)

const statusHelp = `Status asks a running gateway what it serves: which modules run on which topics,
since when, with which host functions and keys, approved by whom and until when;
what ends next; what is refused, and what helps; its clusters, connections, and
decision log.

The gateway must have ops in its configuration. With --config the address and the
token are taken from there; without it and --url, it is http://127.0.0.1:9099. Where
the listener has client_ca_file, --cert and --key will do instead of a token. What
would run, of a gateway that does not, shows check --explain.

With --fleet it asks the gateway of each --url, and shows which of them differ from
most in version, configuration, trust root, revocations, policy, in the modules that
run, or in the manifest of the cluster's decision logs, which cannot be asked, and which share a name. Gateways differ in their configuration
unless one file serves all (node_variable).

Exit code 0: it is ready; 1: it is not, or does not answer; 3: gateways of a fleet differ.`

type statusOptions struct {
	askFlags
	config string
	watch  bool
	fleet  bool
}

func newStatusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What a running gateway serves, by whose leave, and until when",
		Long:  statusHelp,
		Example: `  guardlock status --config guardlock.yaml
  guardlock status --url https://gw.example.org:9099 --token-file token --ca ca.pem
  guardlock status --url https://gw.example.org:9099 --cert me.pem --key me.key --ca ca.pem --json
  guardlock status --fleet --url http://a:9099 --url http://b:9099`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.fleet {
				return runFleet(cmd, &o)
			}
			return runStatus(cmd, &o)
		},
	}

	f := cmd.Flags()
	o.register(f)
	f.StringVarP(&o.config, "config", "c", "", "the gateway's configuration `FILE`, instead of --url")
	f.BoolVar(&o.fleet, "fleet", false, "compare the gateways of several --url")
	f.BoolVar(&o.watch, "watch", false, "ask again every two seconds, until it is interrupted")
	return cmd
}

// watchPause is the time between two looks of --watch.
const watchPause = 2 * time.Second

func runStatus(cmd *cobra.Command, o *statusOptions) error {
	ask, err := o.asker(cmd.Context())
	if err != nil {
		return err
	}

	for {
		s, err := ask.status(cmd.Context())
		if err != nil {
			return err
		}

		ready, err := showStatus(cmd, s)
		if err != nil {
			return err
		}
		if !o.watch {
			return ready
		}

		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(watchPause):
		}
	}
}

// showStatus prints a status, and says whether it is one of a gateway that serves.
func showStatus(cmd *cobra.Command, s *ops.Status) (notReady, err error) {
	if cli.WantsJSON(cmd) {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(s)
	} else {
		err = writeStatus(cmd.OutOrStdout(), s)
	}

	if !s.Ready {
		notReady = fmt.Errorf("the gateway is not ready: %s", strings.Join(s.Missing, "; "))
	}
	return notReady, err
}

// asker is of the gateway that the flags are about: of a configuration, or of a URL.
func (o *statusOptions) asker(ctx context.Context) (*asker, error) {
	if o.config != "" && len(o.urls) > 0 {
		return nil, exit.Usagef("status: give --config or --url, not both")
	}

	ask := o.askFlags
	if o.config != "" {
		cfg, err := config.Load(o.config)
		if err != nil {
			return nil, err
		}
		if cfg.Ops == nil {
			return nil, exit.WithHint(errors.New("the configuration has no ops, so that the gateway is not to be asked"),
				"add `ops: {}` to it and start the gateway again; what would run: guardlock check %s --explain", o.config)
		}
		ask.urls = []string{urlOf(cfg.Ops)}
		ask.token = cmp.Or(ask.token, cfg.File(cfg.Ops.TokenFile))
	}

	if len(ask.urls) == 0 {
		ask.urls = []string{"http://127.0.0.1:9099"}
	}
	if len(ask.urls) > 1 {
		return nil, exit.Usagef("status: several gateways are asked with --fleet")
	}
	return ask.asker(ctx)
}

// writeStatus shows a status to a person: what is wrong first.
func writeStatus(w io.Writer, s *ops.Status) error {
	state := "READY"
	if !s.Ready {
		state = "NOT READY: " + strings.Join(s.Missing, "; ")
	}
	if s.Started.IsZero() {
		state = "not asked: this is what would run"
	}

	fmt.Fprintf(w, "gateway %s, version %s: %s\n", cli.Printable(s.Node), cli.Printable(s.Version), cli.Printable(state))
	if !s.Started.IsZero() {
		fmt.Fprintf(w, "since %s\n", day(s.Started))
	}
	for _, name := range s.Insecure {
		fmt.Fprintf(w, "INSECURE: %s\n", cli.Printable(name))
	}

	if err := writeClock(w, s.Clock, s.Now); err != nil {
		return err
	}
	if err := writeServed(w, s); err != nil {
		return err
	}
	for i := range s.Clusters {
		if err := writeReconciled(w, &s.Clusters[i], s.Now); err != nil {
			return err
		}
	}
	if err := writeRefused(w, s.Bindings); err != nil {
		return err
	}
	if err := writeEnds(w, s); err != nil {
		return err
	}
	if err := writeManifest(w, s.Manifest); err != nil {
		return err
	}
	return writeLog(w, s)
}

// writeClock says that the wall clock was set, which is not so as a rule.
func writeClock(w io.Writer, c *ops.Clock, now time.Time) error {
	if c == nil || c.Forward+c.Back == 0 {
		return nil
	}

	by := "forward"
	if c.Is.Before(c.Was) {
		by = "back"
	}
	if _, err := fmt.Fprintf(w, "CLOCK: set forward %s, set back %s; the last time %s by %s, to %s\n", cli.Count(int(c.Forward), "time"), cli.Count(int(c.Back), "time"),
		by, c.Is.Sub(c.Was).Abs().Round(time.Second), c.Is.UTC().Format(time.RFC3339)); err != nil || c.Ahead == 0 {
		return err
	}
	_, err := fmt.Fprintf(w, "  approvals end by %s, which is %s ahead of the wall clock\n", now.UTC().Format(time.RFC3339),
		(time.Duration(c.Ahead * float64(time.Second))).Round(time.Second))
	return err
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// writeServed shows the clusters, and each module where it runs.
func writeServed(w io.Writer, s *ops.Status) error {
	clusters := cli.NewTable("CLUSTER", "ADDRESS", "ANSWERS", "CONNECTIONS", "IN FLIGHT", "UNRESOLVED")
	for _, c := range s.Clusters {
		answers := "yes"
		if !c.Reached {
			answers = "no: " + c.Problem
		}
		clusters.Add(c.Name, c.Address, answers, c.Connections, c.InFlight, c.Unresolved)
	}
	if !s.Started.IsZero() {
		if err := clusters.Write(w); err != nil {
			return err
		}
	}

	t := cli.NewTable("BINDING", "TOPICS", "MODULE", "MAY CALL", "KEYS", "APPROVED BY", "SINCE", "UNTIL")
	for _, b := range s.Bindings[:min(len(s.Bindings), shownBindings)] {
		if len(b.Modules) == 0 {
			t.Add(b.Binding, shortList(b.Topics), "-", "-", "-", "-", day(b.Since), day(b.Until))
		}
		for _, m := range b.Modules {
			var people []string
			for _, a := range m.Approvals {
				people = append(people, a.Approver)
			}
			t.Add(b.Binding, shortList(b.Topics), fmt.Sprintf("%s %.12s", m.Name, m.Digest), dashed(m.Functions), dashed(m.Keys), dashed(people), day(b.Since), day(b.Until))
		}
	}
	if err := t.Write(w); err != nil {
		return err
	}

	if more := len(s.Bindings) - shownBindings; more > 0 {
		_, err := fmt.Fprintf(w, "and %s; --json lists all\n", cli.Count(more, "more binding"))
		return err
	}
	return nil
}

// writeReconciled shows what the last look for records without a decision came to.
func writeReconciled(w io.Writer, c *ops.Cluster, now time.Time) error {
	r := c.Reconciled
	if r == nil {
		return nil
	}

	name := cli.Printable(c.Name)
	if r.Outcome == "" {
		_, err := fmt.Fprintf(w, "cluster %s was not compared with its decisions yet (audit.reconcile)\n", name)
		return err
	}
	fmt.Fprintf(w, "cluster %s was compared with its decisions %s ago: %s, %s, %s\n", name, now.Sub(r.Ended).Round(time.Second),
		cli.Printable(r.Outcome), cli.Count(r.Partitions, "partition"), cli.Count(int(r.Offsets), "offset"))

	if around, beyond := r.Classes["bypass"], r.Classes["beyond"]; around+beyond > 0 {
		fmt.Fprintf(w, "  WHAT MUST NOT BE: %s of records without a decision, %d that decisions name beyond the end\n", cli.Count(int(around), "offset"), beyond)
	}
	if known := r.Classes["acknowledged"]; known > 0 {
		fmt.Fprintf(w, "  acknowledged: %s of records without a decision; guardlock audit query --kind acknowledgement tells by whom\n", cli.Count(int(known), "offset"))
	}
	for _, place := range r.Places {
		fmt.Fprintf(w, "  %s\n", cli.Printable(place))
	}
	if r.Problem == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "  NOT CONCLUDED: %s; last concluded %s\n", cli.Printable(r.Problem), day(r.Concluded))
	return err
}

func dashed(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return shortList(names)
}

// writeRefused shows which bindings take nothing, and what helps.
func writeRefused(w io.Writer, all []ops.Binding) error {
	for _, b := range all {
		if b.Suspended {
			fmt.Fprintf(w, "SUSPENDED: binding %s: its modules keep failing, and get no batches for a while\n", cli.Printable(b.Binding))
		}
		if b.Refused == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "REFUSED: binding %s (%s): %s\n  cure: %s\n", cli.Printable(b.Binding), cli.Printable(b.Refused),
			cli.Printable(b.Problem), cli.Printable(b.Cure)); err != nil {
			return err
		}
	}
	return nil
}

// writeEnds shows what ends next.
func writeEnds(w io.Writer, s *ops.Status) error {
	if len(s.Ends) == 0 {
		return nil
	}

	t := cli.NewTable("ENDS NEXT", "OF", "AT", "IN DAYS")
	for _, e := range s.Ends {
		t.Add(e.Kind, e.Name, day(e.At), fmt.Sprintf("%.1f", e.At.Sub(s.Now).Hours()/24))
	}
	return t.Write(w)
}

// writeManifest shows by which list of the cluster's logs the gateway's own is known.
func writeManifest(w io.Writer, m *ops.Manifest) error {
	if m == nil {
		return nil
	}
	stays := ""
	if m.Cluster != "" {
		stays = ", and the one above stays"
		if _, err := fmt.Fprintf(w, "manifest %s %.12s: cluster %s, revision %d, signed by %s\n", cli.Printable(m.File), m.Digest, m.Cluster, m.Revision,
			cli.Printable(strings.Join(m.Signers, ", "))); err != nil {
			return err
		}
	}
	if m.Problem == "" {
		return nil
	}

	// What is wrong with each signature has a line of its own.
	problem, signatures, _ := strings.Cut(m.Problem, "\n")
	if _, err := fmt.Fprintf(w, "MANIFEST NOT IN FORCE%s: %s\n", stays, cli.Printable(problem)); err != nil {
		return err
	}
	for line := range strings.Lines(signatures) {
		if _, err := fmt.Fprintf(w, "  %s\n", cli.Printable(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

func writeLog(w io.Writer, s *ops.Status) error {
	l := s.Log
	if l == nil {
		return nil
	}

	_, err := fmt.Fprintf(w, "decision log %s (%s): %d entries, of which checkpoints speak for %d; %d bytes in %s, %d bytes free on its disk\n",
		cli.Printable(l.Dir), l.ID, l.Entries, l.Committed, l.Bytes, cli.Count(l.Segments, "segment"), l.DiskFree)
	for _, one := range l.Witnesses {
		if err == nil && one.Behind > 0 {
			_, err = fmt.Fprintf(w, "witness %s has not cosigned the last %d entries, placements and seals\n", cli.Printable(one.Name), one.Behind)
		}
	}
	if err == nil && l.DiskLow {
		_, err = fmt.Fprintln(w, "ITS DISK IS ALMOST FULL (audit.disk_alarm): when it is, what is produced is refused")
	}
	if err == nil && l.Problem != "" {
		_, err = fmt.Fprintf(w, "THE LOG HAS FAILED: %s\n", cli.Printable(l.Problem))
	}
	return err
}
