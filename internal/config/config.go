// Package config is the configuration file: one strict YAML struct, its
// defaults, and everything about it that can be checked without touching network
// or disk. Every problem is reported at once, each with its field's path.
// docs/configuration.md is made from the comments of these structs.
//
// Trust: who writes the file decides what the gateway does; it is trusted fully,
// and read strictly so that a slip of the pen is no decision.
package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/guardlock/guardlock/internal/disk"
	"github.com/guardlock/guardlock/internal/problem"
)

// Config is the whole configuration file. Every default is the safe one; what
// is unsafe is spelled insecure and shown at start. Relative paths are relative
// to the file. Secrets are never in the file itself, only the names of files
// that hold them.
type Config struct {
	// Node names this gateway in decisions and their ids. Letters, digits, '-'
	// and '_', at most 32. Two gateways must not share one. Default: gateway.
	Node string `yaml:"node"`
	// NodeVariable names an environment variable that holds the name, instead of
	// `node`: for several gateways of one configuration, as pods are.
	NodeVariable string `yaml:"node_variable"`
	// Environment names what this gateway is part of, as production or staging.
	// When it is set, only approvals that name it (or this gateway, by Node) as
	// their audience count: what was approved for staging does not run in
	// production. Without it, approvals that name no audience count, and those that
	// name another gateway or an environment do not. Default: none.
	Environment string `yaml:"environment"`
	// DataDir holds the decision log and the embedded broker. Mode 0700. Default: data.
	DataDir string `yaml:"data_dir"`

	// Listen and Broker describe the one cluster, or use Clusters for several.
	Listen   Listen    `yaml:"listen"`
	Broker   Broker    `yaml:"broker"`
	Clusters []Cluster `yaml:"clusters"`

	// Trust says whose signatures and approvals count.
	Trust Trust `yaml:"trust"`
	// Policy decides what approved modules may do. Default: the built-in bundle.
	Policy Policy `yaml:"policy"`
	// Keys are secrets that host functions use for modules. A module names a key
	// and never sees it.
	Keys []Key `yaml:"keys"`
	// Modules are the transforms that bindings may use.
	Modules []Module `yaml:"modules"`
	// Bindings say which modules run on what is produced to which topics, by
	// whom. The first binding whose topics and conditions all match decides, so
	// those for fewer clients come first.
	Bindings []Binding `yaml:"bindings"`
	// UnboundTopics says what happens to topics that no binding matches: refuse
	// (default), record (pass, with a decision recorded), or insecure_pass
	// (pass as bytes, with nothing recorded).
	UnboundTopics string `yaml:"unbound_topics"`

	// Audit is the decision log.
	Audit Audit `yaml:"audit"`
	// Limits bound what clients can make the gateway hold or wait for.
	Limits GatewayLimits `yaml:"limits"`
	// Log is the gateway's own log, on standard error.
	Log Log `yaml:"log"`
	// Ops is where operators watch the gateway: metrics, health, status. Default: it
	// is not to be watched.
	Ops *Ops `yaml:"ops"`

	Origin `yaml:"-"`
}

// Origin is the file that a configuration was read from.
type Origin struct {
	Path   string   // relative paths begin at its directory
	Raw    []byte   // its content, which holds no secret
	Digest [32]byte // SHA-256 of that
}

// Cluster is one of several clusters behind the gateway, with listeners and a
// broker of its own. Modules, bindings and the decision log are shared.
type Cluster struct {
	// Name tells clusters apart in bindings and decisions.
	Name   string `yaml:"name"`
	Listen Listen `yaml:"listen"`
	Broker Broker `yaml:"broker"`
}

// Listen is where clients of a cluster connect, and how they are secured and
// named there.
type Listen struct {
	// Address is where clients bootstrap, host:port. Default: 127.0.0.1:9092.
	Address string `yaml:"address"`
	// AdvertisedHost is the name that clients are told to connect to. Default:
	// the host of Address; must be set when that is a wildcard.
	AdvertisedHost string `yaml:"advertised_host"`
	// FirstNodePort is the port of the first broker of NodeIDs; each broker has
	// its own. Default: the port of Address plus one.
	FirstNodePort int `yaml:"first_node_port"`
	// NodeIDs is the range of broker ids that may appear, "1-64". Default: 0-63.
	NodeIDs string `yaml:"node_ids"`
	// Telemetry lets clients push their metrics to the cluster (KIP-714).
	// Danger: its payload is free-form, so records could leave that way.
	Telemetry bool `yaml:"insecure_telemetry"`
	// TLS makes the listeners speak TLS. Default: plaintext.
	TLS *ServerTLS `yaml:"tls"`
	// SNI puts all brokers on the one port of Address. Default: a port each.
	SNI *SNI `yaml:"sni"`
	// SASL says how clients authenticate. Default: they need not.
	SASL *ClientSASL `yaml:"sasl"`
}

// ServerTLS is TLS towards clients: the gateway's certificate, and what is
// asked of theirs.
type ServerTLS struct {
	// CertFile and KeyFile are PEM; they are read again when they change. KeyFile
	// must be closed to others (mode 0600), as every file that holds a secret.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientCAFile turns on mTLS: clients show a certificate of this CA. It is
	// read again when it changes.
	ClientCAFile string `yaml:"client_ca_file"`
	// ClientCertificate, with ClientCAFile: required (default) lets nobody in
	// without a certificate, optional lets bindings ask for one by tls: mutual. A
	// client without one has no name until it has authenticated by SASL.
	ClientCertificate string `yaml:"client_certificate"`
	// PrincipalMapping makes names of certificates' subjects, as Kafka's
	// ssl.principal.mapping.rules do: DEFAULT, or RULE:pattern/replacement/[LU].
	// The first that matches the whole subject counts; one that none takes is
	// refused. Default: the subject itself, User:CN=alice,O=Example.
	PrincipalMapping []string `yaml:"principal_mapping"`
}

// Broker is where records go. Exactly one of its fields is given.
type Broker struct {
	// Embedded runs the built-in broker: evaluation, development and CI only.
	Embedded *Embedded `yaml:"embedded"`
	// Upstream is a real Kafka cluster.
	Upstream *Upstream `yaml:"upstream"`
}

// Embedded configures the broker that comes with the gateway and runs as its
// child.
type Embedded struct {
	// Dir holds the broker's data. Default: DataDir/broker.
	Dir string `yaml:"dir"`
	// NoSync stops syncing every write. Danger: a power loss loses records.
	NoSync bool `yaml:"insecure_no_sync"`
	// Partitions of topics made without a number. Default: 3.
	Partitions int `yaml:"partitions"`
}

// Upstream is a real cluster: where it is, and how the gateway connects to it.
type Upstream struct {
	// Bootstrap is the cluster's own addresses. Clients must not be able to
	// reach them: a client that can goes around every policy.
	Bootstrap []string `yaml:"bootstrap"`
	// TLS connects by TLS. Default: plaintext. Its files are read again when they
	// change, for new connections.
	TLS *ClientTLS `yaml:"tls"`
	// SASL is the gateway's own identity, for looking up topics and for copies
	// to quarantine topics. Clients keep their own, unless listen.sasl.mode is
	// terminate: then it is the identity of all of them.
	SASL *SASL `yaml:"sasl"`
}

// ClientTLS is TLS towards the brokers of a real cluster, with the gateway as
// the client.
type ClientTLS struct {
	// CAFile is the CA of the brokers. Default: the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile show a client certificate. KeyFile: mode 0600.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName overrides the name that broker certificates must have.
	ServerName string `yaml:"server_name"`
}

// SASL is how the gateway itself authenticates to a real cluster, for its own
// requests and, with mode terminate, for those of all clients.
type SASL struct {
	// Mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string `yaml:"mechanism"`
	Username  string `yaml:"username"`
	// PasswordFile holds the password, nothing else. Mode 0600. It is read again
	// when it changes, for new connections.
	PasswordFile string `yaml:"password_file"`
}

// Trust is whose signatures and approvals count, and by whose clock.
type Trust struct {
	// Root is the trust root: who may author, who may approve, what is revoked.
	// It is read again when it changes. Required when there are modules.
	Root string `yaml:"root"`
	// ClockSkew is how long before its not_before an approval or a key already
	// counts, since the clocks of approvers and gateways differ; at most 1h. Ends
	// are never put off. Default: 60s.
	ClockSkew *time.Duration `yaml:"clock_skew"`
	// MaxOutage is how long modules run while the file of the trust root is gone or
	// cannot be used, since what is revoked meanwhile is not known. Then topics with
	// modules refuse everything until it can be used. Default: for ever; the log says so.
	MaxOutage time.Duration `yaml:"max_outage"`
	// MaxAge is how long ago the file may have been written, for whoever writes it
	// again each time that it was found to be the newest. An older one is as one that
	// cannot be used for too long. Default: for ever.
	MaxAge time.Duration `yaml:"max_age"`
}

// Policy is which policy decides about modules and administration. Without a
// path it is the one that is built in.
type Policy struct {
	// Path is a directory of Rego and data, or a bundle (.tar.gz). It is read
	// again when it changes; a bundle that does not load leaves the old one.
	Path string `yaml:"path"`
	// Keys verify the bundle's signature. When there are any, Path must be a bundle
	// that one of them has signed, with a whole number as its revision, and the
	// gateway never goes back to a smaller one: the last good bundle is kept in
	// DataDir, and serves when Path holds none, also after a restart. Default: none;
	// whoever can write to Path then decides.
	Keys []PolicyKey `yaml:"keys"`
}

// PolicyKey is a public key that a signed policy may be verified with.
type PolicyKey struct {
	// ID is a name for the key, for messages.
	ID string `yaml:"id"`
	// File holds the public key in PEM.
	File string `yaml:"file"`
	// Scope is what the signature must claim as its scope, so that a bundle that the
	// same key signed for something else does not count. Default: guardlock.
	Scope string `yaml:"scope"`
	// Algorithm of the signature: ES256 (default), ES384, ES512, RS256, RS384,
	// RS512, PS256, PS384 or PS512.
	Algorithm string `yaml:"algorithm"`
}

// Key is a secret that host functions use for modules. Modules know it by a
// number only, and never see it.
type Key struct {
	Name string `yaml:"name"`
	// File holds the secret: 32 bytes or more, raw or as base64 or hex text. Mode
	// 0600.
	File string `yaml:"file"`
}

// Module is a module as configured: a name for bindings, and the files of its
// package.
type Module struct {
	Name string `yaml:"name"`
	// Wasm, Config, Signature and Approvals are files. Config is handed to the
	// module as it is, and is what was approved, byte for byte. Topics, host
	// functions, keys and routes stand in the approvals, not here.
	Wasm      string   `yaml:"wasm"`
	Config    string   `yaml:"config"`
	Signature string   `yaml:"signature"`
	Approvals []string `yaml:"approvals"`
	// Tables are the files that the module may look up in (docs/host-functions.md),
	// by the names that its approved configuration has for them. A file that is
	// replaced takes effect when that configuration names its SHA-256.
	Tables map[string]string `yaml:"tables"`
}

// Audit is where the decision log is, and by which key its batches are known
// again.
type Audit struct {
	// Dir holds the decision log. Default: DataDir/audit.
	Dir string `yaml:"dir"`
	// KeyFile holds the 32-byte audit key, of the batch MACs and of the chain's
	// tags. Default: DataDir/audit.key, made at first start.
	KeyFile string `yaml:"key_file"`
	// PreviousKeyFile holds the audit key that the log was written under until now,
	// for the start that changes it. Keep both: verify needs each for its part.
	PreviousKeyFile string `yaml:"previous_key_file"`
	// Adopt names the gateway (its Node) whose log in Dir this one is to continue:
	// it refuses a log of another name. Its own name lets it continue a log that
	// lost its committed mark, in which entries may be missing at the end, and one
	// of a version without tags, which anybody can have written. The log
	// says so; take the setting out afterwards. A log that is lost or damaged is not
	// gone on with: `guardlock audit adopt` begins another that links to it.
	Adopt string `yaml:"adopt"`
	// NoSync does not wait for the disk. Danger: a power loss loses decisions
	// about records that are stored.
	NoSync bool `yaml:"insecure_no_sync"`
	// DiskAlarm is how little room the disk of the log may have before there is an alarm
	// (log, metric, status): a size like 20GiB, or a share of the disk like 5%.
	// Default: 1GiB, or a tenth of a disk that is smaller than 10GiB. Shortly before
	// the disk is full, what is produced is refused, to be tried again.
	DiskAlarm string `yaml:"disk_alarm"`
	// Manifest has the gateway hold its own log against a list of the cluster's logs.
	Manifest Manifest `yaml:"manifest"`
	// Evidence commits to the log, so that `guardlock audit prove` can prove entries of it.
	Evidence Evidence `yaml:"evidence"`
	// Reconcile looks now and then for records that are stored without a decision.
	Reconcile Reconcile `yaml:"reconcile"`
}

// Evidence is how the gateway commits to its decision log: a Merkle tree over the
// entries, in the directory tree beside them, of which it signs a checkpoint now and
// then. At start the log must contain its last checkpoint, or the gateway does not serve.
type Evidence struct {
	// KeyFile holds the log key, which signs checkpoints. It is not the audit key: what
	// auditors need of it is public, and stands beside it in a file that ends in .pub.
	// Default: DataDir/log.key, made at first start.
	KeyFile string `yaml:"key_file"`
	// Every is the time between checkpoints, from 1s on. What is newer than the last
	// one is in the log, and cannot be proven yet. Default: 10s.
	Every time.Duration `yaml:"every"`
	// Copies are files that each checkpoint is written to, too. One on another machine's
	// disk finds what nothing else finds: a log and its tree that were put back together.
	// Default: none.
	Copies []string `yaml:"copies"`
	// Witnesses are asked to cosign each checkpoint, so that nobody can be shown another
	// history. One that saw another history ends the gateway; one that does not answer
	// is asked again, and the log says so. Default: none.
	Witnesses []Witness `yaml:"witnesses"`
	// Timestamp has an authority say when a checkpoint was there (RFC 3161), for
	// `guardlock audit prove --stamped`. Default: none.
	Timestamp Timestamp `yaml:"timestamp"`
}

// Timestamp is a time-stamping authority. It is told a digest of each checkpoint that it
// stamps, and nothing else. One that does not answer holds nothing up.
type Timestamp struct {
	// URL is where it answers, by HTTP or HTTPS (RFC 3161, 3.4).
	URL string `yaml:"url"`
	// CAFile has its root certificate in PEM, and those between, if it sends none. A
	// stamp that does not lead there is not kept.
	CAFile string `yaml:"ca_file"`
	// Every is the time between two stamps, from 1m on. Default: 1h.
	Every time.Duration `yaml:"every"`
}

// Witness is one witness, as `guardlock audit witness` or any of C2SP tlog-witness.
type Witness struct {
	// URL is where it answers, without add-checkpoint.
	URL string `yaml:"url"`
	// Key is its public key: NAME+HASH+KEY, for cosignature/v1.
	Key string `yaml:"key"`
}

// GatewayLimits bound what clients can make the gateway hold or wait for. They
// are not a module's limits, which approvals grant.
type GatewayLimits struct {
	// MaxFrame is the largest request in bytes. Default: 100 MiB + 64 KiB.
	MaxFrame int `yaml:"max_frame"`
	// MaxBatch is the largest decompressed batch in bytes. Default: 64 MiB.
	MaxBatch int `yaml:"max_batch"`
	// Memory bounds the bytes of frames held at once: half for requests, a
	// quarter for changed batches, a quarter for answers. Requests hold what
	// has arrived of them, and one address at most half of their memory; when
	// others starve, the slowest senders of who holds most are cut off.
	// Default: 1 GiB.
	Memory int64 `yaml:"memory"`
	// MaxConnections per cluster. Default: 20000.
	MaxConnections int `yaml:"max_connections"`
	// MaxConnectionAge is how old a client's connection gets, 1s at least; each ends at
	// an age of its own between half of that and all of it, between two requests. Clients
	// connect again, and so reach gateways that were added. Default: as old as the client wants.
	MaxConnectionAge time.Duration `yaml:"max_connection_age"`
	// ReasonsPerHour is how many distinct reasons the modules of a binding get into
	// the decision log in an hour; beyond it the reason is reason_limit. A module
	// chooses its reasons, so that many of them can spell what is in records.
	// Default: 64.
	ReasonsPerHour int `yaml:"reasons_per_hour"`
	// Suspend says when a module that keeps failing on a binding (a trap, a
	// time-out, no memory, output that is none) is given no batches for a while.
	Suspend Suspend `yaml:"suspend"`
}

type Suspend struct {
	// Failures of distinct batches, among the last twice as many of one client, suspend
	// that client; as many in a row of more than one client suspend the binding. A
	// client is a principal, or an address where clients have no principal. Default: 5.
	Failures int `yaml:"failures"`
	// Window is the time within which failures count. Default: 1m.
	Window time.Duration `yaml:"window"`
	// Pause is how long batches are refused before one is tried. Producers are told to
	// try again. It doubles after each trial that fails. Default: 1s.
	Pause time.Duration `yaml:"pause"`
	// LongestPause is what the pause grows to. Where it is longer than producers try
	// (two minutes in Java), they give up. Default: 1m.
	LongestPause time.Duration `yaml:"longest_pause"`
}

// Log is how the gateway writes its own log, which is not the decision log.
type Log struct {
	// Level: debug, info (default), warn, error.
	Level string `yaml:"level"`
	// Format: console (default) or json.
	Format string `yaml:"format"`
}

// Parse reads a configuration, strictly: unknown keys, wrong types and a second
// document are errors. It returns every problem that it can see without touching
// network or disk, each with its line and its field's path.
func Parse(raw []byte, path string) (*Config, error) {
	c, wrong := Inspect(raw, path)
	if len(wrong) > 0 {
		return nil, errors.Join(wrong.Unwrap()...)
	}

	return c, nil
}

// Inspect is Parse for who looks further in spite of problems. The configuration
// holds what could be read, and is nil where nothing could.
func Inspect(raw []byte, path string) (*Config, problem.List) {
	c := &Config{Origin: Origin{Path: path}}

	err := problem.DecodeYAML(raw, c)
	if errors.Is(err, io.EOF) {
		err = nil // every setting has a default
	}

	var wrong problem.List
	if err != nil && !errors.As(err, &wrong) {
		return nil, problem.List{{Message: err.Error()}}
	}
	if len(wrong) > 0 && reflect.DeepEqual(c, &Config{Origin: Origin{Path: path}}) {
		return nil, wrong // it is no YAML: what is missing is not the point
	}

	c.Raw = raw
	c.Digest = sha256.Sum256(raw)
	c.setDefaults()
	wrong = append(wrong, c.nameNode().Locate(raw)...)
	return c, merge(wrong, c.validate().Locate(raw))
}

// nameNode takes the node's name from the environment where the configuration asks
// for that.
func (c *Config) nameNode() problem.List {
	var p problems
	if c.NodeVariable == "" {
		return p.List
	}

	name := os.Getenv(c.NodeVariable)
	switch {
	case c.Node != "":
		p.add("node_variable", "node is set, too; leave one of them out")
	case name == "":
		p.add("node_variable", "the environment has no %s; it must hold this gateway's name", c.NodeVariable)
	}

	setDefault(&c.Node, name)
	return p.List
}

// merge adds what is wrong with the meaning of a document to what is wrong with its
// form, but for what follows from that: a value that could not be read is there.
func merge(form, meaning problem.List) problem.List {
	out := slices.Clone(form)
	for _, p := range meaning {
		onLine := func(f problem.Problem) bool { return p.Line != 0 && f.Line == p.Line }
		if !slices.ContainsFunc(form, onLine) {
			out = append(out, p)
		}
	}

	return out
}

// Load reads the configuration file at path and checks it as Parse does. A file
// that cannot be used is an error that names every problem.
func Load(path string) (*Config, error) {
	raw, err := disk.Read(path, disk.MaxBytes)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}

	c, err := Parse(raw, path)
	if err != nil {
		return nil, fmt.Errorf("configuration %s:\n%w", path, err)
	}
	return c, nil
}

// setDefaults fills in what the file leaves out, always with the safe choice.
// It comes before validation.
func (c *Config) setDefaults() {
	if c.NodeVariable == "" {
		setDefault(&c.Node, "gateway")
	}
	setDefault(&c.DataDir, "data")
	if c.Trust.ClockSkew == nil {
		skew := time.Minute
		c.Trust.ClockSkew = &skew
	}

	setDefault(&c.UnboundTopics, "refuse")
	setDefault(&c.Audit.Dir, filepath.Join(c.DataDir, "audit"))
	setDefault(&c.Audit.KeyFile, filepath.Join(c.DataDir, "audit.key"))
	c.Audit.Evidence.setDefaults(c.DataDir)
	setDefault(&c.Log.Level, "info")
	setDefault(&c.Log.Format, "console")
	c.Ops.setDefaults()
	c.Limits.setDefaults()

	if len(c.Clusters) == 0 {
		c.Clusters = []Cluster{{Name: MainCluster, Listen: c.Listen, Broker: c.Broker}}
		c.Listen = Listen{}
		c.Broker = Broker{}
	}

	for i := range c.Clusters {
		dir := filepath.Join(c.DataDir, "broker")
		if len(c.Clusters) > 1 {
			dir += "-" + c.Clusters[i].Name
		}
		c.Clusters[i].setDefaults(dir)
	}

	for i := range c.Policy.Keys {
		setDefault(&c.Policy.Keys[i].Scope, "guardlock")
		setDefault(&c.Policy.Keys[i].Algorithm, "ES256")
	}

	for i := range c.Bindings {
		b := &c.Bindings[i]
		setDefault(&b.Name, fmt.Sprintf("binding-%d", i+1))
		setDefault(&b.RejectWith, "invalid_record")
		setDefault(&b.OnDrop, "placeholder")
		setDefault(&b.Isolation, "shared")
		setDefault(&b.Recompress, "same")
		setDefault(&b.Evidence, "header")
	}
}

func (e *Evidence) setDefaults(dataDir string) {
	setDefault(&e.KeyFile, filepath.Join(dataDir, "log.key"))
	setDefault(&e.Every, 10*time.Second)
	setDefault(&e.Timestamp.Every, time.Hour)
}

func (l *GatewayLimits) setDefaults() {
	setDefault(&l.MaxBatch, 64<<20)
	setDefault(&l.ReasonsPerHour, 64)

	s := &l.Suspend
	setDefault(&s.Failures, 5)
	setDefault(&s.Window, time.Minute)
	setDefault(&s.Pause, time.Second)
	setDefault(&s.LongestPause, max(time.Minute, s.Pause))
}

// setDefaults fills in what the file leaves out of one cluster.
func (c *Cluster) setDefaults(brokerDir string) {
	setDefault(&c.Listen.Address, "127.0.0.1:9092")
	setDefault(&c.Listen.NodeIDs, "0-63")
	if t := c.Listen.TLS; t != nil && t.ClientCAFile != "" {
		setDefault(&t.ClientCertificate, certificateRequired)
	}
	if c.Listen.SASL != nil {
		c.Listen.SASL.setDefaults()
	}

	if e := c.Broker.Embedded; e != nil {
		setDefault(&e.Dir, brokerDir)
		setDefault(&e.Partitions, 3)
	}
}

// MainCluster is the name that the one cluster of a configuration without
// clusters has in decisions and in the log.
const MainCluster = "main"

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// File returns a path as the program opens it: one that is relative in the
// configuration is relative to the file it stands in. The empty path stays
// empty.
func (c *Config) File(name string) string {
	if name == "" || filepath.IsAbs(name) || c.Path == "" {
		return name
	}
	return filepath.Join(filepath.Dir(c.Path), name)
}
