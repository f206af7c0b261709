package config

import (
	"strings"
	"testing"
)

func accessConfig(listen, broker string) string {
	return "listen:\n  " + strings.ReplaceAll(listen, "\n", "\n  ") + "\nbroker:\n  " + broker + "\n"
}

const (
	embedded     = "embedded: {}"
	realUpstream = "upstream: {bootstrap: [\"kafka:9092\"]}"
	someTLS      = "tls: {cert_file: c, key_file: k, client_ca_file: ca}\n"
	goodOAuth    = "oauth: {jwks_url: \"https://i.example/keys\", issuer: i, audience: [kafka]}"
)

func TestAccessConfigurationsThatMakeSenseAreTaken(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":             accessConfig("address: \"127.0.0.1:9092\"", realUpstream),
		"pass-through":        accessConfig("sasl: {mode: passthrough}", realUpstream),
		"pass-through claims": accessConfig("sasl: {mode: passthrough, require: false, mechanisms: [GSSAPI], oauth: {principal_claim: azp}}", realUpstream),
		"users":               accessConfig("sasl: {mode: terminate, credentials_file: u, session_lifetime: 1h}", embedded),
		"plain over TLS":      accessConfig(someTLS+"sasl: {mode: terminate, credentials_file: u, mechanisms: [PLAIN]}", realUpstream),
		"plain in the clear":  accessConfig("sasl: {mode: terminate, credentials_file: u, mechanisms: [PLAIN], insecure_plaintext: true}", realUpstream),
		"tokens":              accessConfig(someTLS+"sasl: {mode: terminate, "+goodOAuth+"}", realUpstream),
		"certificates":        accessConfig("tls: {cert_file: c, key_file: k, client_ca_file: ca, principal_mapping: [\"RULE:CN=(.*?),.*/$1/\", DEFAULT]}\nsasl: {mode: terminate}", realUpstream),
		"some certificates":   accessConfig("tls: {cert_file: c, key_file: k, client_ca_file: ca, client_certificate: optional}", realUpstream),
		"server names":        accessConfig("address: \"0.0.0.0:9093\"\n"+someTLS+"sni: {bootstrap: kafka.example.com, pattern: \"b-$(node).example.com\"}", realUpstream),
	} {
		if _, err := Parse([]byte(text), ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAccessConfigurationsThatMakeNoneAreRefused(t *testing.T) {
	for _, c := range []struct{ listen, broker, want string }{
		{"sasl: {}", realUpstream, "listen.sasl.mode: "},
		{"sasl: {mode: none}", realUpstream, "listen.sasl.mode: "},
		{"sasl: {mode: passthrough}", embedded, "the embedded broker knows no users"},
		{"sasl: {mode: passthrough, credentials_file: u}", realUpstream, "are for mode: terminate"},
		{"sasl: {mode: passthrough, " + goodOAuth + "}", realUpstream, "takes principal_claim alone"},
		{"sasl: {mode: terminate}", realUpstream, "clients must prove who they are"},
		{"sasl: {mode: terminate, require: false, credentials_file: u}", realUpstream, "listen.sasl.require: "},
		{"sasl: {mode: terminate, credentials_file: u, mechanisms: [PLAIN]}", realUpstream, "PLAIN needs listen.tls"},
		{"sasl: {mode: terminate, " + goodOAuth + "}", realUpstream, "OAUTHBEARER needs listen.tls"},
		{"sasl: {mode: terminate, credentials_file: u, mechanisms: [GSSAPI]}", realUpstream, "\"GSSAPI\" is not one of"},
		{"sasl: {mode: terminate, mechanisms: [SCRAM-SHA-512]}", realUpstream, "credentials_file: is needed for SCRAM-SHA-512"},
		{"sasl: {mode: terminate, credentials_file: u, mechanisms: [OAUTHBEARER]}", realUpstream, "oauth: is needed for OAUTHBEARER"},
		{"sasl: {mode: terminate, credentials_file: u, session_lifetime: 1s}", realUpstream, "shorter than 10s"},
		{someTLS + "sasl: {mode: terminate, oauth: {jwks_url: \"http://i/keys\", issuer: i, audience: [k]}}", realUpstream, "must be an https:// address"},
		{someTLS + "sasl: {mode: terminate, oauth: {jwks_file: f, jwks_url: \"https://i/k\", issuer: i, audience: [k]}}", realUpstream, "either jwks_file or jwks_url"},
		{someTLS + "sasl: {mode: terminate, oauth: {jwks_file: f, issuer: i}}", realUpstream, "needs issuer and audience"},
		{someTLS + "sasl: {mode: terminate, oauth: {jwks_file: f, issuer: i, audience: [k], algorithms: [none]}}", realUpstream, "\"none\" is not one of"},
		{"sni: {bootstrap: a, pattern: \"$(node).b\"}", realUpstream, "needs listen.tls"},
		{someTLS + "sni: {bootstrap: a, pattern: b}", realUpstream, "must hold $(node) once"},
		{someTLS + "first_node_port: 9100\nsni: {bootstrap: a, pattern: \"$(node).b\"}", realUpstream, "goes without first_node_port"},
		{"tls: {cert_file: c, key_file: k, principal_mapping: [DEFAULT]}", realUpstream, "needs client_ca_file"},
		{"tls: {cert_file: c, key_file: k, client_certificate: optional}", realUpstream, "listen.tls.client_certificate: needs client_ca_file"},
		{"tls: {cert_file: c, key_file: k, client_ca_file: ca, client_certificate: no}", realUpstream, "\"no\" is not one of required, optional"},
		{"tls: {cert_file: c, key_file: k, client_ca_file: ca, client_certificate: optional}\nsasl: {mode: terminate}", realUpstream, "clients without a certificate must prove"},
		{"tls: {cert_file: c, key_file: k, client_ca_file: ca, principal_mapping: [\"RULE:x\"]}", realUpstream, "principal_mapping: rule 1"},
	} {
		_, err := Parse([]byte(accessConfig(c.listen, c.broker)), "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant %q", c.listen, err, c.want)
		}
	}
}

func TestSafeMechanismsAreTheDefault(t *testing.T) {
	c, err := Parse([]byte(accessConfig("sasl: {mode: terminate, credentials_file: u}", embedded)), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Clusters[0].Listen.SASL.Mechanisms, " "); got != "SCRAM-SHA-512 SCRAM-SHA-256" {
		t.Errorf("the default is %s", got)
	}

	c, err = Parse([]byte(accessConfig("sasl: {mode: terminate, credentials_file: u, mechanisms: [PLAIN], insecure_plaintext: true}", embedded)), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Insecure(); len(got) != 1 || got[0] != "main: listen.sasl.insecure_plaintext" {
		t.Errorf("serve warns of %q", got)
	}
}
