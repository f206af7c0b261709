// Package broker is the place that records go to: the embedded single-node broker, or a real Kafka cluster.
//
// Both are reached through a [Dialer], which turns a broker's address, as it stands in a metadata response, into a
// connection. Nothing here looks into the bytes that pass.
//
// The embedded broker ([Embedded]) is franz-go's kfake with a data directory. It runs as a child process, since one
// malformed frame ends it, and listens only on a Unix socket of mode 0600 in a directory of mode 0700: whoever can
// connect has passed the gateway. It serves evaluation, development and CI; its limits are that
//
//   - topics with cleanup.policy=compact lose acknowledged records when it is killed while it compacts, so
//     [RefuseCompaction] tells the gateway which requests to refuse;
//   - a transaction that is being committed when it is killed may end up committed on some partitions only;
//   - after a kill it reads the whole log at start, and needs as much memory as there is data.
//
// Trust boundary: the gateway forwards to the embedded broker only API keys and versions that it knows, in frames of
// bounded size. The child trusts its peer for that.
package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// HostPort is a broker's address as Kafka spells it in its responses: a name or an IP address without brackets, and a
// port.
type HostPort struct {
	Host string
	Port int32
}

// String gives host:port as [ParseHostPort] reads it, with brackets around an IPv6 address.
func (a HostPort) String() string {
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

// ParseHostPort reads "host:port" or "[ipv6]:port" with a port in 1-65535. The host is not looked up.
func ParseHostPort(s string) (HostPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return HostPort{}, fmt.Errorf("parsing broker address: %w", err)
	}
	if host == "" {
		return HostPort{}, errors.New("parsing broker address: the host is empty")
	}

	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return HostPort{}, fmt.Errorf("parsing broker address: port %q is not in 1-65535", port)
	}
	return HostPort{Host: host, Port: int32(n)}, nil
}

// Dialer connects to the brokers of one cluster. It is safe for concurrent use.
type Dialer interface {
	// DialNode connects to the broker at addr, or fails when ctx ends or the dialer's own timeout passes. A returned
	// connection is ready for Kafka frames: a TLS handshake, where there is one, is done.
	DialNode(ctx context.Context, addr HostPort) (net.Conn, error)
	// Bootstrap gives the addresses to try first; at least one.
	Bootstrap() []HostPort
}
