package kafkatest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// newUUID spells 128 random bits as Kafka does, in base64 for URLs.
func newUUID() string {
	var id [16]byte
	rand.Read(id[:])
	id[0] &= 0x7f // keeps the text from starting with '-', which tools would take for an option
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// propertiesOf is the node's server.properties. Internal topics are small, and session timeouts short, so that tests of
// failures need not wait long.
func (c *Cluster) propertiesOf(n *node) []byte {
	var voters []string
	for _, v := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", v.id, v.controller))
	}

	clients := fmt.Sprintf("PLAINTEXT://%s,SASL://%s,TLS://%s", n.address(Plain), n.address(SASL), n.address(TLS))
	copies := min(3, len(c.nodes))
	inSync := 1

	if len(c.nodes) >= 3 {
		inSync = 2
	}
	p := map[string]string{
		"process.roles": "broker,controller",
		"node.id":       fmt.Sprint(n.id),
		"log.dirs":      filepath.Join(n.dir, "data"),

		"controller.quorum.voters":       strings.Join(voters, ","),
		"controller.listener.names":      "CONTROLLER",
		"inter.broker.listener.name":     "PLAINTEXT",
		"listeners":                      fmt.Sprintf("%s,CONTROLLER://127.0.0.1:%d", clients, n.controller),
		"advertised.listeners":           clients,
		"listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL",

		"num.partitions":                                   "3",
		"default.replication.factor":                       fmt.Sprint(copies),
		"min.insync.replicas":                              fmt.Sprint(inSync),
		"offsets.topic.replication.factor":                 fmt.Sprint(copies),
		"offsets.topic.num.partitions":                     "3",
		"transaction.state.log.replication.factor":         fmt.Sprint(copies),
		"transaction.state.log.min.isr":                    fmt.Sprint(inSync),
		"transaction.state.log.num.partitions":             "3",
		"share.coordinator.state.topic.replication.factor": fmt.Sprint(copies),
		"share.coordinator.state.topic.min.isr":            fmt.Sprint(inSync),
		"share.coordinator.state.topic.num.partitions":     "3",

		"group.initial.rebalance.delay.ms":         "0",
		"group.consumer.heartbeat.interval.ms":     "1000",
		"group.consumer.min.heartbeat.interval.ms": "1000",
		"broker.session.timeout.ms":                "6000",
		"controlled.shutdown.enable":               "true",
		"num.network.threads":                      "2",
		"num.io.threads":                           "4",
		"log.cleaner.dedupe.buffer.size":           "16777216",
		"log.index.size.max.bytes":                 "1048576",

		"sasl.enabled.mechanisms":                           "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.sasl.plain.sasl.jaas.config":         c.plainUsers(),
		"listener.name.sasl.scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.sasl.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",

		"ssl.keystore.type":       "PEM",
		"ssl.keystore.location":   c.certs.node,
		"ssl.truststore.type":     "PEM",
		"ssl.truststore.location": c.certs.ca,
		"ssl.client.auth":         "requested",
	}

	maps.Copy(p, c.cfg.Settings)
	var out bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&out, "%s=%s\n", k, p[k])
	}

	return out.Bytes()
}

func (c *Cluster) plainUsers() string {
	s := "org.apache.kafka.common.security.plain.PlainLoginModule required"
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Users)) {
		s += fmt.Sprintf(" user_%s=%q", name, c.cfg.Users[name])
	}
	return s + ";"
}
