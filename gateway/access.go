package gateway

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/guardlock/guardlock/gateway/auth"
	"github.com/guardlock/guardlock/gateway/wire"
)

// AccessConfig says how the clients of a cluster prove who they are. The zero
// value leaves it to the cluster: SASL passes through, is read along, and is
// not demanded here.
type AccessConfig struct {
	// Terminate ends authentication here: the cluster never sees the clients'
	// own. Clients prove who they are to Server or, if that is nil, by the
	// certificate that the TLS configuration must then demand.
	Terminate bool
	Server    *auth.Server
	// Service authenticates the upstream connection of every client that is
	// terminated, before anything of the client goes there. nil: the cluster
	// asks for nothing, or knows us by TLS.
	Service sasl.Mechanism

	// Require lets clients do nothing else until the cluster has accepted
	// them. Terminated clients are always held to that.
	Require bool
	// Mechanisms are the SASL mechanisms that may pass to the cluster. An empty
	// list lets all pass that can be read along.
	Mechanisms []string
	// Claim is the claim of a token that names the client, where tokens pass to
	// the cluster. Empty is sub.
	Claim string

	// Certificates names clients by their TLS certificates. A nil mapping takes
	// the subject as it is.
	Certificates *auth.Mapping
}

// maxUnauthenticatedFrame bounds a frame before its client is authenticated, in
// bytes: nobody knows yet whether it is a client at all.
const maxUnauthenticatedFrame = 64 << 10

var (
	errUnauthenticated   = errors.New("client is not authenticated")
	errLogin             = errors.New("client was not authenticated")
	errLoginDeadline     = errors.New("client was not authenticated in time")
	errSessionExpired    = errors.New("client's session has expired")
	errPrincipalChanged  = errors.New("client changed its principal")
	errCredentialRevoked = errors.New("client's credentials were changed or removed")
	errServiceExpired    = errors.New("gateway's own session at the broker ends")
)

// isAccessFault reports whether the end of a connection is worth a warning,
// since somebody may be trying to get in.
func isAccessFault(err error) bool {
	for _, fault := range []error{errUnauthenticated, errLogin, errLoginDeadline, errPrincipalChanged, errCredentialRevoked, auth.ErrNoRule} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// identityAPIs are about who may connect to the cluster. Where authentication
// ends here they would act for the gateway's own identity: a client could take
// a delegation token of it, or change its password.
var identityAPIs = [...]kmsg.Key{kmsg.CreateDelegationToken, kmsg.RenewDelegationToken, kmsg.ExpireDelegationToken, kmsg.DescribeDelegationToken, kmsg.DescribeUserSCRAMCredentials, kmsg.AlterUserSCRAMCredentials}

// apiOptions is what a cluster's clients may ask for, beyond and below the
// table of APIs.
func apiOptions(cfg ClusterConfig) wire.ApiOptions {
	o := wire.ApiOptions{Telemetry: cfg.Telemetry, TerminateSASL: cfg.Access.Terminate && cfg.Access.Server != nil}
	if cfg.Access.Terminate {
		o.Caps = map[kmsg.Key]int16{}
		for _, key := range identityAPIs {
			o.Caps[key] = -1
		}
		if cfg.Access.Server == nil {
			o.Caps[kmsg.SASLHandshake], o.Caps[kmsg.SASLAuthenticate] = -1, -1
		}
	}

	return o
}
