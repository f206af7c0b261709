package config

import (
	"net/url"
	"slices"
	"time"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/auth"
)

// ClientSASL says how clients authenticate. Without it SASL is not
// demanded, and passes to the cluster as clients send it.
type ClientSASL struct {
	// Mode says who authenticates clients. passthrough: the cluster, which sees
	// each client as itself and holds it to its own ACLs; the gateway reads the
	// name along. terminate: the gateway; on the cluster every client is then
	// broker.upstream.sasl, whose rights are the rights of all clients.
	Mode string `yaml:"mode"`
	// Require, for passthrough: clients may do nothing until the cluster has
	// accepted them. Default: true.
	Require *bool `yaml:"require"`
	// Mechanisms that clients may use. passthrough: any that the cluster takes;
	// default all; with other ones than PLAIN, SCRAM and OAUTHBEARER the client
	// has no name (User:ANONYMOUS). terminate: PLAIN, SCRAM-SHA-256,
	// SCRAM-SHA-512, OAUTHBEARER; default both SCRAM where credentials_file is
	// given, and OAUTHBEARER where oauth is; [] with listen.tls.client_ca_file
	// leaves certificates as the only proof.
	Mechanisms []string `yaml:"mechanisms"`
	// CredentialsFile holds users and salted hashes, for terminate; `guardlock
	// user` keeps it. It is read again when it changes: who is removed or gets
	// a new password is cut off with the next request. Mode 0600.
	CredentialsFile string `yaml:"credentials_file"`
	// OAuth says which tokens count. passthrough uses principal_claim alone.
	OAuth *OAuth `yaml:"oauth"`
	// SessionLifetime, for terminate: clients must authenticate again before it
	// ends, on the same connection and as the same user (KIP-368), or are
	// disconnected. A token's own end always counts. Default: no end.
	SessionLifetime time.Duration `yaml:"session_lifetime"`
	// Plaintext allows PLAIN and OAUTHBEARER without listen.tls. Danger:
	// whoever can read the network reads passwords and tokens.
	Plaintext bool `yaml:"insecure_plaintext"`
}

// OAuth says which tokens count in OAUTHBEARER, and which claim of a token
// names its client.
type OAuth struct {
	// JWKSFile or JWKSURL is where the issuer's public keys are (RFC 7517). The
	// file is read again when it changes; the URL, https only, is asked every 5
	// minutes, and when a token names a key that is not known.
	JWKSFile string `yaml:"jwks_file"`
	JWKSURL  string `yaml:"jwks_url"`
	// CAFile is the CA of JWKSURL. Default: the system's.
	CAFile string `yaml:"ca_file"`
	// Issuer is what iss must be; Audience is what aud must hold one of.
	Issuer   string   `yaml:"issuer"`
	Audience []string `yaml:"audience"`
	// PrincipalClaim holds the client's name. Default: sub.
	PrincipalClaim string `yaml:"principal_claim"`
	// Algorithms of signatures that count. Default: RS, PS and ES with 256, 384
	// and 512, and EdDSA. Symmetric ones and none never do.
	Algorithms []string `yaml:"algorithms"`
}

// SNI makes one TLS port stand for all brokers, told apart by the server
// name that clients ask for. All names must resolve to this gateway, and the
// certificate must hold them.
type SNI struct {
	// Bootstrap is the name that clients begin with.
	Bootstrap string `yaml:"bootstrap"`
	// Pattern is a broker's name, with $(node) for its id, such as
	// broker-$(node).kafka.example.com.
	Pattern string `yaml:"pattern"`
}

// The values of ClientSASL.Mode: the gateway authenticates clients itself, or
// the cluster does and the gateway reads along.
const (
	ModePassthrough = "passthrough"
	modeTerminate   = "terminate"
)

// The values of ServerTLS.ClientCertificate, which counts only where
// ClientCAFile is given.
const (
	certificateRequired = "required"
	CertificateOptional = "optional"
)

// setDefaults makes passthrough require authentication, and terminate offer
// what there are credentials or rules for.
func (s *ClientSASL) setDefaults() {
	if s.Mode == ModePassthrough && s.Require == nil {
		yes := true
		s.Require = &yes
	}

	if s.Mode != modeTerminate || s.Mechanisms != nil {
		return
	}
	if s.CredentialsFile != "" {
		s.Mechanisms = append(s.Mechanisms, auth.ScramSHA512, auth.ScramSHA256)
	}
	if s.OAuth != nil {
		s.Mechanisms = append(s.Mechanisms, auth.OAuthBearer)
	}
}

// validateAccess checks how clients prove who they are: certificates, server
// names and SASL.
func (l Listen) validateAccess(p *problems, path string) {
	if t := l.TLS; t != nil {
		if _, err := auth.ParseMapping(t.PrincipalMapping); err != nil {
			p.add(path+".tls.principal_mapping", "%v", err)
		}
		switch {
		case t.ClientCAFile != "":
			p.oneOf(path+".tls.client_certificate", t.ClientCertificate, certificateRequired, CertificateOptional)
		case t.ClientCertificate != "":
			p.add(path+".tls.client_certificate", "needs client_ca_file: without it no client shows a certificate")
		}

		if len(t.PrincipalMapping) > 0 && t.ClientCAFile == "" {
			p.add(path+".tls.principal_mapping", "needs client_ca_file: without it no client shows a certificate")
		}
	}

	if l.SNI != nil {
		l.validateSNI(p, path+".sni")
	}
	switch s := l.SASL; {
	case s == nil:
	case s.Mode == ModePassthrough:
		s.validatePassthrough(p, path+".sasl")
	case s.Mode == modeTerminate:
		s.validateTerminate(p, path+".sasl", l.TLS)
	default:
		p.oneOf(path+".sasl.mode", s.Mode, ModePassthrough, modeTerminate)
	}
}

func (l Listen) validateSNI(p *problems, path string) {
	if l.TLS == nil {
		p.add(path, "needs listen.tls: the server name is in the TLS hello")
	}
	if l.FirstNodePort != 0 || l.AdvertisedHost != "" {
		p.add(path, "goes without first_node_port and advertised_host: all brokers share one port, each under its own name")
	}
	if _, err := gateway.ParseSNI(l.SNI.Bootstrap, l.SNI.Pattern); err != nil {
		p.add(path, "%v", err)
	}
}

func (s *ClientSASL) validatePassthrough(p *problems, path string) {
	if s.CredentialsFile != "" || s.SessionLifetime != 0 || s.Plaintext {
		p.add(path, "credentials_file, session_lifetime and insecure_plaintext are for mode: terminate; here the cluster decides")
	}
	if o := s.OAuth; o != nil && (o.JWKSFile != "" || o.JWKSURL != "" || o.Issuer != "" || len(o.Audience) > 0) {
		p.add(path+".oauth", "takes principal_claim alone in mode: passthrough; the cluster checks tokens")
	}
}

// validateTerminate checks that every mechanism has what it needs, and that
// none shows a secret to the network.
func (s *ClientSASL) validateTerminate(p *problems, path string, tls *ServerTLS) {
	if s.Require != nil {
		p.add(path+".require", "is for mode: passthrough; terminate always requires it")
	}
	if len(s.Mechanisms) == 0 && (tls == nil || tls.ClientCAFile == "") {
		p.add(path, "needs credentials_file, oauth, or listen.tls.client_ca_file: clients must prove who they are")
	}
	if len(s.Mechanisms) == 0 && tls != nil && tls.ClientCertificate == CertificateOptional {
		p.add(path+".mechanisms", "needs one where listen.tls.client_certificate is optional: clients without a certificate must prove who they are")
	}
	if s.SessionLifetime < 0 || s.SessionLifetime > 0 && s.SessionLifetime < 10*time.Second {
		p.add(path+".session_lifetime", "%v is shorter than 10s", s.SessionLifetime)
	}

	for _, m := range s.Mechanisms {
		p.oneOf(path+".mechanisms", m, auth.Plain, auth.ScramSHA256, auth.ScramSHA512, auth.OAuthBearer)
		if m != auth.OAuthBearer && s.CredentialsFile == "" {
			p.add(path+".credentials_file", "is needed for %s", m)
		}
		if m == auth.OAuthBearer && s.OAuth == nil {
			p.add(path+".oauth", "is needed for %s", m)
		}
		if (m == auth.Plain || m == auth.OAuthBearer) && tls == nil && !s.Plaintext {
			p.add(path+".mechanisms", "%s needs listen.tls: it sends the secret itself", m)
		}
	}

	if s.OAuth != nil && slices.Contains(s.Mechanisms, auth.OAuthBearer) {
		s.OAuth.validate(p, path+".oauth")
	}
}

// validate checks the rules for tokens. Keys come from a file, or by https:
// whoever answers for them makes users.
func (o *OAuth) validate(p *problems, path string) {
	if (o.JWKSFile == "") == (o.JWKSURL == "") {
		p.add(path, "needs either jwks_file or jwks_url")
	}
	if u, err := url.Parse(o.JWKSURL); o.JWKSURL != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		p.add(path+".jwks_url", "must be an https:// address without a password: whoever answers there makes users")
	}
	if o.Issuer == "" || len(o.Audience) == 0 || slices.Contains(o.Audience, "") {
		p.add(path, "needs issuer and audience: a token made for another service must not open this one")
	}

	for _, a := range o.Algorithms {
		p.oneOf(path+".algorithms", a, auth.Algorithms()...)
	}
}
