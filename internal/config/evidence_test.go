package config

import (
	"strings"
	"testing"
	"time"
)

func TestTimestampAuthorityNeedsAnAddressAndItsCertificate(t *testing.T) {
	for _, c := range []struct{ timestamp, problem string }{
		{"{}", ""},
		{"{url: \"https://time.example/tsr\", ca_file: tsa.pem}", ""},
		{"{url: \"https://time.example/tsr\", ca_file: tsa.pem, every: 1m}", ""},
		{"{url: \"https://time.example/tsr\", ca_file: tsa.pem, every: 59s}", "timestamp.every"},
		{"{url: \"https://time.example/tsr\"}", "timestamp.ca_file"},
		{"{ca_file: tsa.pem}", "timestamp.url"},
		{"{url: \"ftp://time.example\", ca_file: tsa.pem}", "timestamp.url"},
		{"{url: \"https://\", ca_file: tsa.pem}", "timestamp.url"},
		{"{url: \"https://me:secret@time.example/tsr\", ca_file: tsa.pem}", "timestamp.url"}, // configurations are kept
	} {
		cfg, err := Parse([]byte("broker: {embedded: {}}\naudit: {evidence: {timestamp: "+c.timestamp+"}}\n"), "guardlock.yaml")
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v", c.timestamp, err)
		}
		if err == nil && cfg.Audit.Evidence.Timestamp.Every == 0 {
			t.Errorf("%s: it would be asked all the time", c.timestamp)
		}
	}

	cfg, err := Parse([]byte("broker: {embedded: {}}\n"), "guardlock.yaml")
	if err != nil || cfg.Audit.Evidence.Timestamp != (Timestamp{Every: time.Hour}) {
		t.Errorf("%+v, %v", cfg.Audit.Evidence.Timestamp, err)
	}
}

func TestManifestNeedsATrustRoot(t *testing.T) {
	for _, c := range []struct{ text, problem string }{
		{"audit: {manifest: {file: cluster.yaml}}\ntrust: {root: trust.yaml}", ""},
		{"audit: {manifest: {file: cluster.yaml}}", "trust.root"},
		{"audit: {manifest: {insecure_unlisted: true}}", "audit.manifest.insecure_unlisted"},
	} {
		cfg, err := Parse([]byte("broker: {embedded: {}}\n"+c.text+"\n"), "guardlock.yaml")
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v", c.text, err)
		}
		if err == nil && !cfg.NeedsTrust() {
			t.Errorf("%s: nothing needs the trust root", c.text)
		}
	}
}
