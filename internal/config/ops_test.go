package config

import (
	"strings"
	"testing"
)

func TestOperatorsAreNotLetInFromElsewhereUnproven(t *testing.T) {
	for _, c := range []struct{ ops, problem string }{
		{"{}", ""},
		{"{address: \"localhost:9099\"}", ""},
		{"{address: \"0.0.0.0:9099\"}", "ops.address"},
		{"{address: \":9099\"}", "ops.address"},
		{"{address: \"10.0.0.1:9099\", token_file: t}", "ops.address"}, // the token would be seen
		{"{address: \"10.0.0.1:9099\", tls: {cert_file: c, key_file: k}}", "ops.address"},
		{"{address: \"10.0.0.1:9099\", tls: {cert_file: c, key_file: k}, token_file: t}", ""},
		{"{address: \"10.0.0.1:9099\", tls: {cert_file: c, key_file: k, client_ca_file: a}}", ""},
		{"{address: \"10.0.0.1:9099\", insecure_open: true}", ""},
		{"{address: \"127.0.0.1:9092\"}", "overlap"},
		{"{address: here}", "ops.address"},
		{"{tls: {cert_file: c}}", "ops.tls"},
		{"{traces: {endpoint: \"http://127.0.0.1:4318/v1/traces\"}}", ""},
		{"{traces: {endpoint: \"https://collector.example.org\", ratio: 0}}", ""},
		{"{traces: {endpoint: \"http://collector:4318\", insecure_plaintext: true}}", ""},
		{"{traces: {endpoint: \"http://collector:4318\"}}", "ops.traces.endpoint"},
		{"{traces: {endpoint: \"http://127.0.0.1.example.org\"}}", "ops.traces.endpoint"},
		{"{traces: {endpoint: \"https://user:secret@collector\"}}", "ops.traces.endpoint"},
		{"{traces: {}}", "ops.traces.endpoint"},
		{"{traces: {endpoint: \"collector:4318\"}}", "ops.traces.endpoint"},
		{"{traces: {endpoint: \"https://collector\", ratio: 1.1}}", "ops.traces.ratio"},
		{"{traces: {endpoint: \"https://collector\", ratio: .nan}}", "ops.traces.ratio"},
		{"{traces: {endpoint: \"https://collector\", per_second: -1}}", "ops.traces.per_second"},
	} {
		_, err := Parse([]byte("broker: {embedded: {}}\nops: "+c.ops+"\n"), "guardlock.yaml")
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v", c.ops, err)
		}
	}
}
