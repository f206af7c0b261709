package config

import (
	"net"
	"net/url"
	"strconv"
)

// Ops is the listener for operators: /metrics (docs/metrics.md), /livez, /readyz and
// /status. Nothing of records and nobody's name is shown there. Beyond loopback it
// needs TLS, and a token or the clients' certificates.
type Ops struct {
	// Address is where operators connect, host:port. Default: 127.0.0.1:9099.
	Address string `yaml:"address"`
	// TLS makes the listener speak TLS. A client certificate is asked for where there
	// is a client_ca_file, and one that verifies will do instead of the token.
	TLS *ServerTLS `yaml:"tls"`
	// TokenFile holds what clients must send as "Authorization: Bearer TOKEN", 16
	// characters or more. Mode 0600. It is read again when it changes. /livez and
	// /readyz say yes or no without it. Default: none.
	TokenFile string `yaml:"token_file"`
	// Pprof also serves profiles of the process, under /debug/pprof/. Default: false.
	Pprof bool `yaml:"pprof"`
	// Open lets everybody in who can reach an address beyond loopback. Danger: the
	// names of topics, modules and people who approved are shown to whoever asks.
	Open bool `yaml:"insecure_open"`
	// Traces sends the ways of some batches through the gateway to an OpenTelemetry
	// collector. Default: none are sent.
	Traces *Traces `yaml:"traces"`
}

// Traces is where traces of batches go, and of how many. A collector that is down costs
// traces, and nothing else.
type Traces struct {
	// Endpoint is where the collector takes OTLP over HTTP, as
	// https://collector.example.org:4318/v1/traces. http is for loopback.
	Endpoint string `yaml:"endpoint"`
	// CAFile is the CA of Endpoint, in PEM. Default: the system's.
	CAFile string `yaml:"ca_file"`
	// Ratio is the part of batches that are traced whose records carry no traceparent
	// header, from 0 to 1. Where the first record carries one, that decides. Default: 0.01.
	Ratio *float64 `yaml:"ratio"`
	// PerSecond is how many batches are traced in a second at most, whatever records ask
	// for. Default: 100.
	PerSecond int `yaml:"per_second"`
	// Plaintext also takes an http endpoint beyond loopback. Danger: whoever is in
	// between reads the names of topics and the ids of decisions.
	Plaintext bool `yaml:"insecure_plaintext"`
}

func (o *Ops) setDefaults() {
	if o == nil {
		return
	}
	setDefault(&o.Address, "127.0.0.1:9099")
	if t := o.Traces; t != nil {
		hundredth := 0.01
		setDefault(&t.Ratio, &hundredth)
		setDefault(&t.PerSecond, 100)
	}
}

// validate checks that nobody is let in beyond loopback who has not shown who he is.
func (o *Ops) validate(p *problems) {
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		p.add("ops.address", "%q is not host:port", o.Address)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		p.add("ops.address", "%q is not a port", port)
	}
	if o.TLS != nil && (o.TLS.CertFile == "" || o.TLS.KeyFile == "") {
		p.add("ops.tls", "needs cert_file and key_file")
	}

	if o.Traces != nil {
		o.Traces.validate(p)
	}

	proves := o.TLS != nil && (o.TLS.ClientCAFile != "" || o.TokenFile != "")
	if ip := hostIP(host); (ip == nil || !ip.IsLoopback()) && !proves && !o.Open {
		p.add("ops.address", "%s can be reached from elsewhere: it needs ops.tls, and ops.token_file or ops.tls.client_ca_file; or insecure_open: true", o.Address)
	}
}

// validate checks that traces go where somebody can take them, unread by others.
func (t *Traces) validate(p *problems) {
	u, err := url.Parse(t.Endpoint)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		p.add("ops.traces.endpoint", "%q is not a URL as https://collector.example.org:4318/v1/traces", t.Endpoint)
		return
	}

	if ip := hostIP(u.Hostname()); u.Scheme == "http" && (ip == nil || !ip.IsLoopback()) && !t.Plaintext {
		p.add("ops.traces.endpoint", "%s is not loopback: it must be https, or insecure_plaintext: true", u.Host)
	}
	if r := *t.Ratio; !(r >= 0 && r <= 1) {
		p.add("ops.traces.ratio", "%v is not from 0 to 1", r)
	}
	if t.PerSecond < 1 || t.PerSecond > 100_000 {
		p.add("ops.traces.per_second", "%d is not from 1 to 100,000", t.PerSecond)
	}
}

// ports is the one that operators connect to, if the system does not choose it.
func (o *Ops) ports() []portRange {
	host, text, err := net.SplitHostPort(o.Address)
	port, errPort := strconv.Atoi(text)
	if err != nil || errPort != nil || port == 0 {
		return nil
	}
	return []portRange{{"ops.address", host, port, port}}
}
