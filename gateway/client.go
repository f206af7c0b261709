package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net/netip"

	"github.com/guardlock/guardlock/audit"
)

// Client is who sends, as far as a binding can ask. Of it the id alone is a
// claim.
type Client struct {
	Principal string
	ID        string     // as the client claims: it proves nothing
	Source    netip.Addr // invalid: unknown, and of no prefix
	TLS       TLSLevel
}

// TLSLevel is how far TLS vouches for a client. Each level includes the one
// before it.
type TLSLevel uint8

// The levels.
const (
	NoTLS     TLSLevel = iota
	ServerTLS          // the connection is TLS
	MutualTLS          // and the client showed a certificate, which was verified
)

// The levels that a binding can demand, as the configuration and the policy
// spell them.
const (
	tlsRequired = "required"
	tlsMutual   = "mutual"
)

// String spells the demand for the level, as ParseTLSLevel reads it. NoTLS is
// the empty string.
func (l TLSLevel) String() string {
	switch l {
	case ServerTLS:
		return tlsRequired
	case MutualTLS:
		return tlsMutual
	}
	return ""
}

// ParseTLSLevel reads a level as String spells it. Other words are errors.
func ParseTLSLevel(s string) (TLSLevel, error) {
	for _, l := range []TLSLevel{NoTLS, ServerTLS, MutualTLS} {
		if l.String() == s {
			return l, nil
		}
	}
	return NoTLS, fmt.Errorf("%q is not one of %s, %s", s, tlsRequired, tlsMutual)
}

// ParseSource reads an address, or a prefix of addresses in CIDR form. IPv4 in
// IPv6 form becomes IPv4, which is how clients' addresses are compared. A prefix
// with bits set behind its length is refused: it is a mistake in one of the two.
func ParseSource(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}

	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is no address, and no prefix like 10.0.0.0/8 or 2001:db8::/32", s)
	}

	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < mappedBits {
			return netip.Prefix{}, fmt.Errorf("%q holds more than IPv4 addresses; write the prefix in IPv4 form", s)
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-mappedBits)
	}

	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length; did you mean %s?", s, p.Masked())
	}
	return p, nil
}

// mappedBits is the length of ::ffff:0:0/96 in bits, the prefix in which IPv4
// addresses stand in IPv6 form.
const mappedBits = 96

// addrOf returns a host's address in the form in which prefixes hold it: IPv4
// as such, and without a zone. It is invalid for anything but an address.
func addrOf(host string) netip.Addr {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// noteTLS keeps what the handshake, which is over, tells of the client: for
// bindings and for decisions.
func (s *session) noteTLS() {
	t, ok := s.client.(*tls.Conn)
	if !ok {
		return
	}

	state := t.ConnectionState()
	s.peer.tls = audit.TLS{Version: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite)}
	s.peer.level = ServerTLS

	if len(state.VerifiedChains) > 0 {
		s.peer.tls.Fingerprint = sha256.Sum256(state.PeerCertificates[0].Raw)
		s.peer.level = MutualTLS
	}
}

// knownTo is the client as a snapshot sees it. The last answer is kept: only a
// reload, another client id, or logging in makes a new one.
func (r *reader) knownTo(b *Bindings, clientID []byte) *Known {
	principal := *r.login.principal.Load()
	if k := &r.known; k.by != b.id || k.client.Principal != principal || k.client.ID != string(clientID) {
		*k = b.Know(Client{
			Principal: principal,
			ID:        r.cluster.topics.intern(clientID),
			Source:    addrOf(r.peer.source),
			TLS:       r.peer.level,
		})
	}

	return &r.known
}
