package server

import (
	"slices"
	"testing"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/internal/config"
)

func TestConditionsOnClientsReachTheBinding(t *testing.T) {
	c, err := config.Parse([]byte("listen: {tls: {cert_file: c, key_file: k, client_ca_file: ca}}\nbroker: {embedded: {}}\nbindings:\n  - {topics: [t], "+`client_ids: ["etl-*"], sources: [10.1.2.3, "::ffff:10.0.0.0/104", "2001:db8::/32"], tls: mutual}`+"\n"), "")
	if err != nil {
		t.Fatal(err)
	}

	at := rules(c, config.MainCluster)[0].Place
	var sources []string
	for _, p := range at.Sources {
		sources = append(sources, p.String())
	}

	if at.TLS != gateway.MutualTLS || !slices.Equal(at.ClientIDs, []string{"etl-*"}) ||
		!slices.Equal(sources, []string{"10.1.2.3/32", "10.0.0.0/8", "2001:db8::/32"}) {
		t.Errorf("got %+v", at)
	}
}
