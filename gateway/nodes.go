package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/guardlock/guardlock/broker"
)

// errNode means that a broker cannot be shown to clients: it is outside the
// configured range, or its listener could not be opened. The answer that names it
// is not forwarded, since an upstream address in a client's hands is a way around
// every policy.
var errNode = errors.New("broker has no listener")

// Advertise returns the address under which clients reach a broker through us,
// and makes sure that it is listened on before a client can hear of it. It
// implements wire.Addresses and is called for every address in every answer.
func (c *Cluster) Advertise(id int32, host string, port int32) (string, int32, error) {
	n, err := c.node(id)
	if err != nil {
		return "", 0, err
	}
	if host != "" {
		n.report(broker.HostPort{Host: host, Port: port})
	}

	return cmp.Or(n.host, c.cfg.AdvertisedHost), int32(n.port), nil
}

// report remembers where the broker is now, which the next connection to it uses.
func (n *node) report(addr broker.HostPort) {
	if p := n.upstream.Load(); p == nil || *p != addr {
		n.upstream.Store(&addr)
	}
}

// node returns the listener for a broker, opening it on first sight. It returns
// errNode, wrapped, for one that cannot be shown to clients.
func (c *Cluster) node(id int32) (*node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.nodes[id]; ok {
		return n, nil
	}
	if c.draining {
		return nil, fmt.Errorf("broker %d: %w: shutting down", id, errNode)
	}
	if id < c.cfg.MinNode || id > c.cfg.MaxNode {
		return nil, fmt.Errorf("broker %d: %w: listen.node_ids is %d-%d", id, errNode, c.cfg.MinNode, c.cfg.MaxNode)
	}
	if c.cfg.SNI != nil {
		return c.sniNode(id), nil
	}

	port := 0
	if c.cfg.FirstNodePort != 0 {
		port = c.cfg.FirstNodePort + int(id-c.cfg.MinNode)
	}

	addr := net.JoinHostPort(c.cfg.Host, strconv.Itoa(port))
	ln, err := c.gw.cfg.Listen(c.ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("broker %d: %w: listening on %s: %w", id, errNode, addr, err)
	}

	n := &node{listener: ln, port: ln.Addr().(*net.TCPAddr).Port}
	c.nodes[id] = n
	c.accepts.Go(func() { c.accept(ln, c.nodeTarget(id, n)) })
	c.log.Info("listening for broker", zap.Int32("node", id), zap.String("address", ln.Addr().String()))

	return n, nil
}

// nodeTarget dials the broker where it was last reported to be, and nowhere
// else: the client asked for this very broker.
func (c *Cluster) nodeTarget(id int32, n *node) target {
	return target{node: id, addr: func() (broker.HostPort, bool) {
		if p := n.upstream.Load(); p != nil {
			return *p, true
		}
		return broker.HostPort{}, false
	}}
}

// Discover asks the cluster for its brokers and opens their listeners, so that a
// port that is taken is known before any client is told of it. Run goes on to do
// so; a cluster that cannot be reached yet is an error here, but no reason not to
// Run. Listen must have succeeded.
func (c *Cluster) Discover(ctx context.Context) error { return c.learnBrokers(ctx) }

// learnBrokers asks for the brokers alone and opens a listener for each. kadm
// would answer from a cache that nothing refreshes here.
func (c *Cluster) learnBrokers(ctx context.Context) error {
	brokers, err := c.askBrokers(ctx)
	c.counts.reached(ctx, err)
	if err != nil {
		return err
	}

	var errs []error
	for _, b := range brokers {
		if _, _, err := c.Advertise(b.NodeID, b.Host, b.Port); err != nil {
			errs = append(errs, err)
		}
	}

	return errors.Join(errs...)
}

// metadata asks the cluster within DialTimeout, and learns the ids of the
// topics that are in the answer.
func (c *Cluster) metadata(ctx context.Context, req *kmsg.MetadataRequest) (*kmsg.MetadataResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, c.gw.cfg.DialTimeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, c.admin)
	if err != nil {
		return nil, fmt.Errorf("asking for metadata: %w", err)
	}

	for _, t := range resp.Topics {
		if t.Topic != nil {
			c.topics.Learn(t.TopicID, *t.Topic)
		}
	}

	return resp, nil
}

// topicName resolves a topic id, asking the cluster when the cache lacks it. It
// returns errUnknownTopicID where the cluster has none.
func (c *Cluster) topicName(ctx context.Context, id [16]byte) (string, error) {
	return c.topics.resolve(ctx, id, func(ctx context.Context, id [16]byte) (string, error) {
		req := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID = id
		req.Topics = append(req.Topics, t)

		resp, err := c.metadata(ctx, req)
		if err != nil {
			return "", err
		}

		for _, t := range resp.Topics {
			if t.TopicID == id && t.Topic != nil && t.ErrorCode == 0 {
				return *t.Topic, nil
			}
		}

		return "", errUnknownTopicID
	})
}
