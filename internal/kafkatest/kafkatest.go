// Package kafkatest runs a real Apache Kafka cluster on loopback, for tests: three nodes in KRaft mode, each broker and
// controller at once, each with three listeners (plain, SASL, TLS) on ports of its own.
//
// The jars come from Maven: `make kafka-jars` puts them into the user's cache directory. A test that finds none fails and
// says so; it is never skipped. Nodes are processes of the test's own, ended by pid, and die with the test's process.
package kafkatest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed versions
var versions string

// Versions are the Kafka versions whose jars `make kafka-jars` fetches, newest first.
func Versions() []string { return strings.Fields(versions) }

// Listener is one of the listeners that every node has, by the name that Kafka's settings give it.
type Listener string

const (
	Plain Listener = "PLAINTEXT" // no authentication, no encryption
	SASL  Listener = "SASL"      // SASL_PLAINTEXT with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512
	TLS   Listener = "TLS"       // SSL; a client certificate is asked for, not required
)

// Config configures a cluster. The zero value of a field gives its default, and the zero Config three nodes of the
// newest Kafka.
type Config struct {
	// Version is the Kafka that runs, one of Versions; default the newest.
	Version string
	// Nodes is how many run; default 3.
	Nodes int
	// Users are name and password of SASL users; default admin/admin-secret and alice/alice-secret.
	Users map[string]string
	// Settings are added to every node's server.properties.
	Settings map[string]string
	// Heap bounds each node's Java heap; default "384m".
	Heap string
	// Classes is a directory of more classes for the nodes, such as a plug-in's.
	Classes string
	// JVM are more arguments of the nodes' Java, such as -Dname=value.
	JVM []string
	// StartTimeout bounds the wait for a node that starts; default 2 min.
	StartTimeout time.Duration
}

// Cluster is a running cluster. Its methods are safe for concurrent use, but for a node that is started or stopped.
type Cluster struct {
	// Fixed after Open.
	cfg   Config
	dir   string
	jars  string
	java  string
	nodes []*node
	certs certificates

	closing sync.Once
}

// Start starts a cluster that ends with the test, and fails the test where it cannot.
func Start(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	c, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Open starts a cluster for a TestMain, and returns when every node serves. The caller closes it.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	c, err := prepare(withDefaults(cfg))
	if err != nil {
		return nil, fmt.Errorf("preparing Kafka: %w", err)
	}

	if err := c.startAll(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("starting Kafka: %w", err)
	}
	return c, nil
}

func withDefaults(cfg Config) Config {
	if cfg.Version == "" {
		cfg.Version = Versions()[0]
	}
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	if cfg.Users == nil {
		cfg.Users = map[string]string{"admin": "admin-secret", "alice": "alice-secret"}
	}
	if cfg.Heap == "" {
		cfg.Heap = "384m"
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = 2 * time.Minute
	}

	return cfg
}

// prepare finds Kafka and Java and lays everything out. No process runs yet.
func prepare(cfg Config) (*Cluster, error) {
	jars, err := jarsDir(cfg.Version)
	if err != nil {
		return nil, err
	}

	java, err := exec.LookPath("java")
	if err != nil {
		return nil, errors.New("java (17 or newer) is not on PATH")
	}

	dir, err := os.MkdirTemp("", "kafkatest-")
	if err != nil {
		return nil, err
	}

	c := &Cluster{cfg: cfg, dir: dir, jars: jars, java: java}
	if err := c.layOut(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}

	return c, nil
}

// layOut writes everything that nodes read: certificates, properties and formatted storage. Ports are chosen here, once
// for all starts.
func (c *Cluster) layOut() error {
	certs, err := makeCertificates(c.dir)
	if err != nil {
		return err
	}

	c.certs = certs
	const ports = 4 // three listeners and the controller
	free, err := freePorts(ports * c.cfg.Nodes)
	if err != nil {
		return err
	}

	for i := range c.cfg.Nodes {
		p := free[ports*i:]
		c.nodes = append(c.nodes, &node{
			id:         i + 1,
			dir:        filepath.Join(c.dir, fmt.Sprintf("node-%d", i+1)),
			controller: p[3],
			ports:      map[Listener]int{Plain: p[0], SASL: p[1], TLS: p[2]},
		})
	}

	return c.format()
}

// jarsDir finds what fetch-jars.sh fetched, and says how to fetch it where it is not there.
func jarsDir(version string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}

	dir := filepath.Join(cache, "guardlock", "kafka-"+version)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("the jars of Kafka %s are not there: run `make kafka-jars` once", version)
	}
	return dir, nil
}

// Bootstrap gives the addresses of the plain listeners of all nodes.
func (c *Cluster) Bootstrap() []string { return c.Addresses(Plain) }

// Addresses gives every node's address on one listener, in order of node id; nodes that are stopped too.
func (c *Cluster) Addresses(l Listener) []string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, n.address(l))
	}
	return all
}

// Jars is the directory of the newest Kafka's jars, for programs that use them without a cluster.
func Jars() (string, error) { return jarsDir(Versions()[0]) }

// Users gives the SASL users and their passwords, those that the cluster was made with.
func (c *Cluster) Users() map[string]string { return c.cfg.Users }

// StopNode ends node id (1, 2, …) in order, and hard if that takes over 30 s.
func (c *Cluster) StopNode(id int) { c.nodes[id-1].stop(30 * time.Second) }

// KillNode ends node id (1, 2, …) with SIGKILL, and waits until it is gone.
func (c *Cluster) KillNode(id int) { c.nodes[id-1].stop(0) }

// StartNode starts node id again on its data and ports, and returns when the cluster takes it for alive.
func (c *Cluster) StartNode(ctx context.Context, id int) error {
	n := c.nodes[id-1]
	if err := n.start(c.command(c.heapArgs(), "kafka.Kafka", n.properties())); err != nil {
		return err
	}
	return c.waitAlive(ctx, n)
}

// Close ends every node hard and deletes its data. It may be called more than once.
func (c *Cluster) Close() {
	c.closing.Do(func() {
		for _, n := range c.nodes {
			n.stop(0)
		}
		os.RemoveAll(c.dir)
	})
}

func (c *Cluster) startAll(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.start(c.command(c.heapArgs(), "kafka.Kafka", n.properties())); err != nil {
			return err
		}
	}

	for _, n := range c.nodes {
		if err := c.waitAlive(ctx, n); err != nil {
			return err
		}
	}

	return nil
}

// heapArgs are a node's. They favour a quick start over speed later: the first compiler tier only, and the collector with least threads.
func (c *Cluster) heapArgs() []string {
	return append([]string{"-Xmx" + c.cfg.Heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"}, c.cfg.JVM...)
}

func (c *Cluster) command(jvm []string, class string, args ...string) *exec.Cmd {
	path := filepath.Join(c.jars, "*")
	if c.cfg.Classes != "" {
		path += string(filepath.ListSeparator) + c.cfg.Classes
	}
	all := append(jvm, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", path, class)
	return exec.Command(c.java, append(all, args...)...)
}

// tools are the classes of the kafka-*.sh programs, under the names that those have.
var tools = map[string]string{
	"acls":                   "AclCommand",
	"broker-api-versions":    "BrokerApiVersionsCommand",
	"client-metrics":         "ClientMetricsCommand",
	"cluster":                "ClusterTool",
	"configs":                "ConfigCommand",
	"console-consumer":       "consumer.ConsoleConsumer",
	"console-producer":       "ConsoleProducer",
	"console-share-consumer": "consumer.ConsoleShareConsumer",
	"consumer-groups":        "consumer.group.ConsumerGroupCommand",
	"consumer-perf-test":     "ConsumerPerformance",
	"delete-records":         "DeleteRecordsCommand",
	"features":               "FeatureCommand",
	"get-offsets":            "GetOffsetShell",
	"groups":                 "GroupsCommand",
	"leader-election":        "LeaderElectionCommand",
	"log-dirs":               "LogDirsCommand",
	"metadata-quorum":        "MetadataQuorumCommand",
	"producer-perf-test":     "ProducerPerformance",
	"reassign-partitions":    "reassign.ReassignPartitionsCommand",
	"share-groups":           "consumer.group.ShareGroupCommand",
	"topics":                 "TopicCommand",
	"transactions":           "TransactionsCommand",
	"verifiable-consumer":    "VerifiableConsumer",
	"verifiable-producer":    "VerifiableProducer",
}

// toolClass is the class to run for a tool of a version; "" means that there is none.
func toolClass(version, name string) string {
	switch class := tools[name]; {
	case name == "configs" && strings.HasPrefix(version, "4.3."): // it moved last
		return "kafka.admin.ConfigCommand"
	case class == "":
		return ""
	default:
		return "org.apache.kafka.tools." + class
	}
}

// Java is a program of Java on Kafka's jars: a class, or a file of source.
func (c *Cluster) Java(ctx context.Context, class string, args ...string) *exec.Cmd {
	proto := c.command([]string{"-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"}, class, args...)
	return exec.CommandContext(ctx, proto.Path, proto.Args[1:]...)
}

// Tool runs one of Kafka's own programs ("topics" is kafka-topics.sh) and returns what it prints. It adds no address.
func (c *Cluster) Tool(ctx context.Context, name string, args ...string) (string, error) {
	class := toolClass(c.cfg.Version, name)
	if class == "" {
		return "", fmt.Errorf("running kafka-%s: no such tool", name)
	}

	cmd := c.Java(ctx, class, args...)
	var errs strings.Builder
	cmd.Stderr = &errs

	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("running kafka-%s: %w: %s", name, err, errs.String())
	}

	return string(out), nil
}
