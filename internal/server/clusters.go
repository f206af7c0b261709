package server

import (
	"fmt"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/config"
)

// newGateway builds the gateway of all configured clusters. It opens the files
// that they need and connects to nobody.
func (s *Server) newGateway() (*gateway.Gateway, error) {
	l := s.cfg.Limits
	gc := gateway.Config{
		Decisions:        s.journal,
		Log:              s.log.Logger,
		Now:              s.now,
		Listen:           s.sockets.Listen,
		MaxFrame:         l.MaxFrame,
		Memory:           l.Memory,
		MaxConnections:   l.MaxConnections,
		MaxConnectionAge: l.MaxConnectionAge,
		Batch:            recordbatch.Limits{MaxDecompressed: l.MaxBatch},
	}
	for _, cl := range s.cfg.Clusters {
		cc, err := s.clusterConfig(cl)
		if err != nil {
			return nil, fmt.Errorf("cluster %s: %w", cl.Name, err)
		}
		gc.Clusters = append(gc.Clusters, cc)
	}

	return gateway.New(gc)
}

// clusterConfig makes a cluster's configuration, in which the gateway is one
// and the same to the brokers for its own requests and for clients that it
// terminates.
func (s *Server) clusterConfig(cl config.Cluster) (gateway.ClusterConfig, error) {
	host, portText, err := net.SplitHostPort(cl.Listen.Address)
	if err != nil {
		return gateway.ClusterConfig{}, err
	}

	port, err := strconv.Atoi(portText)
	if err != nil {
		return gateway.ClusterConfig{}, err
	}

	cc := gateway.ClusterConfig{
		Name:           cl.Name,
		Host:           host,
		Port:           port,
		AdvertisedHost: cl.Listen.AdvertisedHost,
		FirstNodePort:  cl.Listen.FirstNodePort,
		Telemetry:      cl.Listen.Telemetry,
		Tracer:         s.tracer(),
		Embedded:       cl.Broker.Embedded != nil,
	}
	if cc.FirstNodePort == 0 && port != 0 {
		cc.FirstNodePort = port + 1
	}
	if cc.MinNode, cc.MaxNode, err = config.ParseNodeIDs(cl.Listen.NodeIDs); err != nil {
		return cc, err
	}

	if cl.Listen.TLS != nil {
		if cc.TLS, err = s.serverTLS(cl.Listen.TLS); err != nil {
			return cc, fmt.Errorf("listen.tls: %w", err)
		}
	}

	if sni := cl.Listen.SNI; sni != nil {
		if cc.SNI, err = gateway.ParseSNI(sni.Bootstrap, sni.Pattern); err != nil {
			return cc, fmt.Errorf("listen.sni: %w", err)
		}
	}

	if cc.Access, err = s.access(cl); err != nil {
		return cc, err
	}
	var service sasl.Mechanism
	if cc.Upstream, service, err = s.upstream(cl); err != nil {
		return cc, err
	}
	if service != nil {
		cc.Service = []kgo.Opt{kgo.SASL(service)}
	}
	if cc.Access.Terminate {
		cc.Access.Service = service
	}

	return cc, nil
}

// upstream is where a cluster's records go, and who the gateway is there. An
// embedded broker asks for no identity.
func (s *Server) upstream(cl config.Cluster) (gateway.Upstream, sasl.Mechanism, error) {
	if e := cl.Broker.Embedded; e != nil {
		b, err := broker.OpenEmbedded(broker.EmbeddedConfig{
			DataDir:          s.cfg.File(e.Dir),
			Args:             []string{BrokerCommand},
			InsecureNoSync:   e.NoSync,
			AutoCreateTopics: true,
			Partitions:       e.Partitions,
			Log:              s.log.Named("broker"),
		})
		if err != nil {
			return nil, nil, fmt.Errorf("broker.embedded: %w", err)
		}

		s.brokers[cl.Name] = b
		return b, nil, nil
	}
	return s.realCluster(cl.Broker.Upstream)
}

// realCluster makes the dialer of a real cluster, with the identity that the
// gateway has there, if any. Errors begin with the field.
func (s *Server) realCluster(u *config.Upstream) (gateway.Upstream, sasl.Mechanism, error) {
	cc := broker.ClusterConfig{}
	for _, a := range u.Bootstrap {
		addr, err := broker.ParseHostPort(a)
		if err != nil {
			return nil, nil, fmt.Errorf("broker.upstream.bootstrap: %w", err)
		}
		cc.Bootstrap = append(cc.Bootstrap, addr)
	}

	var err error
	if u.TLS != nil {
		if cc.TLS, err = s.clientTLS(u.TLS); err != nil {
			return nil, nil, fmt.Errorf("broker.upstream.tls: %w", err)
		}
	}

	var service sasl.Mechanism
	if u.SASL != nil {
		if service, err = s.serviceIdentity(u.SASL); err != nil {
			return nil, nil, fmt.Errorf("broker.upstream.sasl: %w", err)
		}
	}

	c, err := broker.NewCluster(cc)
	if err != nil {
		return nil, nil, fmt.Errorf("broker.upstream: %w", err)
	}

	return c, service, nil
}
