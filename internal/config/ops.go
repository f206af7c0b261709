package config

import (
	"net"
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
}

func (o *Ops) setDefaults() {
	if o != nil {
		setDefault(&o.Address, "127.0.0.1:9099")
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

	proves := o.TLS != nil && (o.TLS.ClientCAFile != "" || o.TokenFile != "")
	if ip := hostIP(host); (ip == nil || !ip.IsLoopback()) && !proves && !o.Open {
		p.add("ops.address", "%s can be reached from elsewhere: it needs ops.tls, and ops.token_file or ops.tls.client_ca_file; or insecure_open: true", o.Address)
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
