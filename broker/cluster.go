package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"time"
)

// ClusterConfig describes how to reach a real cluster. The zero value of a field gives its default.
type ClusterConfig struct {
	// Bootstrap holds the addresses to try first.
	Bootstrap []HostPort
	// TLS gives the configuration for each new connection, so that authorities and certificates can change; where that
	// has no ServerName, the broker's host is verified. Sessions are resumed if it has a cache. It is called by many
	// goroutines, and what it returns is not changed. nil means plain TCP.
	TLS func() *tls.Config
	// DialTimeout bounds connecting and the TLS handshake together; default 10 s.
	DialTimeout time.Duration
	// DeadPeer is how long a silent peer is believed to be alive: keep-alive probes, and on Linux unacknowledged bytes,
	// end the connection after about that time. Default 30 s.
	DeadPeer time.Duration
}

// Cluster dials the brokers of a real cluster. It is safe for concurrent use.
type Cluster struct {
	// Fixed after NewCluster.
	bootstrap []HostPort
	tls       func() *tls.Config
	timeout   time.Duration
	dialer    net.Dialer
}

// NewCluster prepares a dialer; it does not connect. It fails only for a
// configuration without a bootstrap address.
func NewCluster(cfg ClusterConfig) (*Cluster, error) {
	if len(cfg.Bootstrap) == 0 {
		return nil, fmt.Errorf("preparing cluster dialer: no bootstrap address")
	}
	c := &Cluster{
		bootstrap: slices.Clone(cfg.Bootstrap),
		timeout:   orDefault(cfg.DialTimeout, 10*time.Second),
		tls:       cfg.TLS,
	}

	dead := orDefault(cfg.DeadPeer, 30*time.Second)
	c.dialer.KeepAliveConfig = net.KeepAliveConfig{
		Enable:   true,
		Idle:     dead / 2,
		Interval: max(dead/6, time.Second),
		Count:    3,
	}

	c.dialer.Control = unackedTimeout(dead)
	return c, nil
}

// Bootstrap gives the configured addresses, in a list that the caller may
// change.
func (c *Cluster) Bootstrap() []HostPort { return slices.Clone(c.bootstrap) }

// DialNode connects to addr over TCP, and makes the TLS handshake where TLS is
// configured. It implements Dialer.
func (c *Cluster) DialNode(ctx context.Context, addr HostPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.dialer.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("dialing broker: %w", err)
	}
	if c.tls == nil {
		return conn, nil
	}

	return c.handshake(ctx, conn, addr.Host)
}

func (c *Cluster) handshake(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	cfg := c.tls().Clone()
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}

	t := tls.Client(conn, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("securing connection to broker %s: %w", host, err)
	}

	return t, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
