package config

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// Binding is a rule: which topics and clients it is about, and which modules
// their records pass.
type Binding struct {
	Name string `yaml:"name"`
	// Cluster names the cluster of Clusters. Default: every cluster.
	Cluster string `yaml:"cluster"`
	// Topics and Principals are names in which '*' stands for anything.
	// Principals default to everyone; they look like User:alice.
	Topics     []string `yaml:"topics"`
	Principals []string `yaml:"principals"`
	// ClientIDs are names in which '*' stands for anything. A client id is what
	// the client calls itself. It tells programs apart and proves nothing: who
	// wants another binding claims another id. Default: every client.
	ClientIDs []string `yaml:"client_ids"`
	// Sources are addresses, or prefixes like 10.0.0.0/8 and 2001:db8::/32, that
	// clients connect from. IPv4 in IPv6 form counts as IPv4. Behind a load
	// balancer it is the balancer's address. Default: every address.
	Sources []string `yaml:"sources"`
	// TLS is what the client's connection must have: required is TLS, mutual is
	// TLS with a certificate of listen.tls.client_ca_file. Default: any connection.
	TLS string `yaml:"tls"`
	// Modules run in this order. Empty: records pass, each with its decision.
	Modules []string `yaml:"modules"`
	// DataClass names the kind of data, by which policy judges: one of
	// config.data_classes of the policy. The built-in policy has public, internal,
	// confidential and restricted. Default: the policy's default_class, which is
	// restricted in the built-in one.
	DataClass string `yaml:"data_class"`
	// RejectWith is what producers see: invalid_record (default) or policy_violation.
	RejectWith string `yaml:"reject_with"`
	// OnDrop is what a record that a module drops or routes leaves behind:
	// placeholder (default) leaves an empty one in the topic, which only consumers
	// that go around the gateway see; reject refuses the batch. docs/dropping.md
	// says who meets it and how.
	OnDrop string `yaml:"on_drop"`
	// Recompress: same (default), none, gzip, snappy, lz4 or zstd, for changed batches. With same, a plain batch that grew past its topic's max.message.bytes is
	// compressed with gzip, then zstd; with none it is refused.
	Recompress string `yaml:"recompress"`
	// Isolation: shared (default) lets an instance of a module serve every topic,
	// one after the other, and what it keeps in its memory go from one to the next;
	// topic lets no instance see batches of two topics. Where there are more topics
	// than instances (limits of the grant), each change of topic takes a fresh one;
	// process gives each instance a process of its own (Linux only), without keys, files,
	// sockets and environment: for modules whose engine you would not trust in here.
	// It costs 4 to 11 µs for each batch, 8 for each call of a host function, and 35 MB
	// for each instance.
	Isolation string `yaml:"isolation"`
	// Evidence is what audit compare can later tell of a stored batch: header
	// (default) is its producer, sequence, times and checksum; content is every
	// byte, for 2 to 40 % more CPU, most where large batches are not compressed.
	// Producers without idempotence always get content.
	Evidence string `yaml:"evidence"`
}

// validateBindings checks every binding by itself, and the names that it uses
// against the rest of the file.
func (c *Config) validateBindings(p *problems) {
	for i, b := range c.Bindings {
		path := fmt.Sprintf("bindings[%d]", i)
		if len(b.Topics) == 0 {
			p.add(path+".topics", "needs at least one topic; \"*\" is all")
		}

		for _, m := range b.Modules {
			if !slices.ContainsFunc(c.Modules, func(mc Module) bool { return mc.Name == m }) {
				p.add(path+".modules", "%q is not in modules", m)
			}
		}

		if b.Cluster != "" && !slices.ContainsFunc(c.Clusters, func(cc Cluster) bool { return cc.Name == b.Cluster }) {
			p.add(path+".cluster", "%q is not in clusters", b.Cluster)
		}
		b.validateClients(p, path)
		c.validateReach(p, path+".tls", b)

		if b.DataClass != "" && !nameShape.MatchString(b.DataClass) {
			p.add(path+".data_class", "%q must be 1 to 32 letters, digits, '-' or '_'", b.DataClass)
		}
		p.oneOf(path+".reject_with", b.RejectWith, "invalid_record", "policy_violation")
		p.oneOf(path+".on_drop", b.OnDrop, "placeholder", "reject")
		p.oneOf(path+".isolation", b.Isolation, "shared", "topic", "process")
		p.oneOf(path+".evidence", b.Evidence, "header", "content")

		if _, err := recordbatch.ParseCompression(b.Recompress); err != nil && b.Recompress != "same" {
			p.add(path+".recompress", "%q is not one of same, none, gzip, snappy, lz4, zstd", b.Recompress)
		}
	}
}

// maxPattern is the longest pattern for names of clients, in bytes. Longer than
// any sensible name, it bounds what matching one costs.
const maxPattern = 255

// validateClients checks the conditions on clients, in the forms in which the
// gateway compares them.
func (b Binding) validateClients(p *problems, path string) {
	for i, id := range b.ClientIDs {
		if id == "" || len(id) > maxPattern || !utf8.ValidString(id) || slices.ContainsFunc([]rune(id), unicode.IsControl) {
			p.add(fmt.Sprintf("%s.client_ids[%d]", path, i), "%q must be 1 to %d bytes of printable text; \"*\" is any client", id, maxPattern)
		}
	}

	for i, s := range b.Sources {
		if _, err := gateway.ParseSource(s); err != nil {
			p.add(fmt.Sprintf("%s.sources[%d]", path, i), "%v", err)
		}
	}

	if _, err := gateway.ParseTLSLevel(b.TLS); err != nil {
		p.add(path+".tls", "%v; leave it out for any connection", err)
	}
}

// validateReach refuses a binding that no client can meet: it stands for a rule
// that somebody believes in.
func (c *Config) validateReach(p *problems, path string, b Binding) {
	level, err := gateway.ParseTLSLevel(b.TLS)
	if err != nil || level == gateway.NoTLS {
		return
	}

	offers := func(cl Cluster) bool {
		t := cl.Listen.TLS
		return t != nil && (level < gateway.MutualTLS || t.ClientCAFile != "")
	}

	of := func(cl Cluster) bool { return b.Cluster == "" || b.Cluster == cl.Name }
	if !slices.ContainsFunc(c.Clusters, of) || slices.ContainsFunc(c.Clusters, func(cl Cluster) bool { return of(cl) && offers(cl) }) {
		return
	}

	needs := "listen.tls"
	if level == gateway.MutualTLS {
		needs += " with client_ca_file"
	}

	p.add(path, "%q can never match: no cluster of this binding has %s", b.TLS, needs)
}
