package kafka

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/coverage"
	"github.com/guardlock/guardlock/internal/exit"
)

const coverageHelp = `Coverage holds a configuration against the cluster that it is for, and tells what it
leaves open:

  unbound   a topic that no binding is about; unbound_topics says what becomes of it
  partly    a topic that has bindings for some clients only
  no_topic  a binding that is about no topic which is there
  shadowed  a binding that nothing reaches, since an earlier one takes all of it
  writer    a principal that an ACL lets write to the cluster itself, around the gateway

Ask the brokers themselves, as somebody who may describe the cluster's ACLs. The
gateway's own principal, broker.upstream.sasl's, is no finding. Where clients keep their
own names (listen.sasl.mode: passthrough), their ACLs should hold from the gateways'
hosts only, which --gateway-host names. What denies is not subtracted. What stands in the
brokers' own configuration (super.users, allow.everyone.if.no.acl.found) is not seen.

Exit code 1 if the cluster does not say who may write; 3 with --strict if anything
was found.`

type coverageCommand struct {
	client     ClientFlags
	path       string
	cluster    string
	principals []string
	hosts      []string
	strict     bool
}

// NewCoverageCommand makes the command that tells what a configuration leaves open.
func NewCoverageCommand() *cobra.Command {
	var c coverageCommand
	cmd := &cobra.Command{
		Use:   "coverage --config FILE",
		Short: "Tell what a configuration leaves open on its cluster",
		Long:  coverageHelp,
		Example: `  guardlock coverage -c guardlock.yaml -b kafka-1:9092
  guardlock coverage -c guardlock.yaml -b kafka-1:9092 --gateway-host 10.0.0.5 --strict --json`,
		Args: cli.NeedArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.path == "" {
				return cli.NeedFlag(cmd, "config", "guardlock coverage --config guardlock.yaml")
			}
			return c.run(cmd)
		},
	}

	c.client.Register(cmd)
	cmd.Flags().StringVarP(&c.path, "config", "c", "", "configuration `FILE`")
	cmd.Flags().StringVar(&c.cluster, "cluster", "", "the cluster's `NAME` in the configuration; needed where it has several")
	cmd.Flags().StringArrayVar(&c.principals, "gateway-principal", nil, "a `PRINCIPAL` of the gateways, such as User:guardlock (default: broker.upstream.sasl's)")
	cmd.Flags().StringArrayVar(&c.hosts, "gateway-host", nil, "an `ADDRESS` of a gateway, from where clients' ACLs may hold")
	cmd.Flags().BoolVar(&c.strict, "strict", false, "exit with 3 if anything is found")
	return cmd
}

// covered is the JSON form of what was found.
type covered struct {
	Cluster  string             `json:"cluster"`
	Topics   int                `json:"topics"`
	Findings []coverage.Finding `json:"findings"`
	Unknown  string             `json:"unknown,omitempty"` // why it is not known who may write
}

func (c *coverageCommand) run(cmd *cobra.Command) error {
	cfg, err := config.Load(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		return exit.WithHint(exit.WithCode(err, exit.Usage), "run `guardlock check %s` after each change", c.path)
	}
	cluster, err := c.choose(cfg)
	if err != nil {
		return err
	}

	client, err := c.client.Connect(cmd.Context(), nil)
	if err != nil {
		return err
	}
	defer client.Close()
	listed, err := kadm.NewClient(client).ListTopics(cmd.Context())
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	topics := listed.Names()

	out := covered{Cluster: cluster.Name, Topics: len(topics), Findings: coverage.Bindings(cfg, cluster.Name, topics)}
	acls, err := writeACLs(cmd.Context(), client)
	if err != nil {
		out.Unknown = err.Error()
	}
	out.Findings = append(out.Findings, coverage.Writers(acls, c.own(cluster), c.hosts)...)
	return c.report(cmd, &out)
}

// choose finds the cluster of the configuration that is asked.
func (c *coverageCommand) choose(cfg *config.Config) (*config.Cluster, error) {
	for i := range cfg.Clusters {
		if at := &cfg.Clusters[i]; at.Name == c.cluster || c.cluster == "" && len(cfg.Clusters) == 1 {
			return at, nil
		}
	}

	if c.cluster == "" {
		return nil, exit.WithHint(exit.Usagef("the configuration has several clusters"), "name the one that --bootstrap is of with --cluster")
	}
	return nil, exit.NotFoundf("the configuration has no cluster %q", c.cluster)
}

// own are the gateway's principals on the cluster.
func (c *coverageCommand) own(cluster *config.Cluster) []string {
	if up := cluster.Broker.Upstream; len(c.principals) == 0 && up != nil && up.SASL != nil {
		return []string{"User:" + up.SASL.Username}
	}
	return c.principals
}

// writeACLs asks who may write. Without an answer nobody knows, which is no "nobody".
func writeACLs(ctx context.Context, client *kgo.Client) ([]coverage.ACL, error) {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType = kmsg.ACLResourceTypeTopic
	req.ResourcePatternType = kmsg.ACLResourcePatternTypeAny
	req.Operation = kmsg.ACLOperationAny
	req.PermissionType = kmsg.ACLPermissionTypeAllow

	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}

	var all []coverage.ACL
	for _, r := range resp.Resources {
		for _, a := range r.ACLs {
			if a.Operation != kmsg.ACLOperationWrite && a.Operation != kmsg.ACLOperationAll {
				continue
			}
			all = append(all, coverage.ACL{
				Principal: a.Principal,
				Host:      a.Host,
				Topic:     r.ResourceName,
				Prefix:    r.ResourcePatternType == kmsg.ACLResourcePatternTypePrefixed,
			})
		}
	}
	return all, nil
}

func (c *coverageCommand) report(cmd *cobra.Command, out *covered) error {
	if err := c.print(cmd, out); err != nil {
		return err
	}

	if out.Unknown != "" {
		return exit.WithHint(fmt.Errorf("coverage: who may write around the gateway is not known: %s", out.Unknown),
			"without ACLs everybody who reaches a broker may write to it; else ask as somebody who may describe them (--username)")
	}
	if c.strict && len(out.Findings) > 0 {
		return exit.Refusedf("coverage: %d findings", len(out.Findings))
	}
	return nil
}

func (c *coverageCommand) print(cmd *cobra.Command, out *covered) error {
	if cli.WantsJSON(cmd) {
		if out.Findings == nil {
			out.Findings = []coverage.Finding{}
		}
		return cli.PrintJSON(cmd.OutOrStdout(), out)
	}

	w := cmd.OutOrStdout()
	for _, f := range out.Findings {
		fmt.Fprintf(w, "%-8s  %s\n", f.Kind, sentence(&f))
	}
	_, err := fmt.Fprintf(w, "%s of cluster %s: %s\n", cli.Count(out.Topics, "topic"), out.Cluster, cli.Count(len(out.Findings), "finding"))
	return err
}

// sentence says what was found, for people.
func sentence(f *coverage.Finding) string {
	topic := cli.Printable(f.Topic)
	switch f.Kind {
	case coverage.Unbound:
		return "topic " + topic + " has no binding"
	case coverage.Partly:
		return "topic " + topic + " has bindings for some clients only"
	case coverage.NoTopic:
		return "binding " + f.Binding + " is about no topic that is there"
	case coverage.Shadowed:
		return "binding " + f.Binding + " matches nothing: binding " + f.By + " comes first and takes all of it"
	}

	which := "topic " + topic
	switch {
	case f.Prefix:
		which = "topics that begin with " + topic
	case f.Topic == "*":
		which = "every topic"
	}
	return cli.Printable(f.Principal) + " may write to " + which + " from " + cli.Printable(strings.Replace(f.Host, "*", "everywhere", 1))
}
