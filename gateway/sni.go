package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// SNI lets one TLS port stand for all brokers: the server name in the client's
// hello says which one it wants.
type SNI struct {
	Bootstrap string // the name that stands for the cluster as a whole
	Pattern   string // a broker's name, with $(node) for its id
}

// nodeMark stands for the broker's id in a pattern of server names.
const nodeMark = "$(node)"

// ParseSNI checks the name that clients begin with and the pattern of brokers'
// names: the pattern must hold $(node) once, and the name must be no broker's.
func ParseSNI(bootstrap, pattern string) (*SNI, error) {
	s := &SNI{Bootstrap: strings.ToLower(bootstrap), Pattern: strings.ToLower(pattern)}
	switch {
	case strings.Count(s.Pattern, nodeMark) != 1:
		return nil, fmt.Errorf("pattern %q must hold %s once", pattern, nodeMark)
	case bootstrap == "":
		return nil, errors.New("bootstrap is needed: the name that clients begin with")
	}

	if _, isNode := s.node(s.Bootstrap); isNode {
		return nil, fmt.Errorf("bootstrap %q looks like a broker of pattern %q", bootstrap, pattern)
	}
	return s, nil
}

func (s *SNI) host(id int32) string {
	return strings.Replace(s.Pattern, nodeMark, strconv.Itoa(int(id)), 1)
}

// node reads the broker's id out of a server name, and reports false for a name
// that is no broker's.
func (s *SNI) node(name string) (int32, bool) {
	before, after, _ := strings.Cut(s.Pattern, nodeMark)
	digits, ok := strings.CutPrefix(name, before)
	if ok {
		digits, ok = strings.CutSuffix(digits, after)
	}

	n, err := strconv.ParseInt(digits, 10, 32)
	if !ok || err != nil || strconv.FormatInt(n, 10) != digits {
		return 0, false
	}
	return int32(n), true
}

var errServerName = errors.New("server name stands for no broker here")

// chosen returns the broker that the client asked for in its hello. to is what
// the listener stands for.
func (s *session) chosen(ctx context.Context, to target) (target, error) {
	sni := s.cluster.cfg.SNI
	t, ok := s.client.(*tls.Conn)
	if sni == nil || !ok {
		return to, nil
	}

	name := strings.ToLower(t.ConnectionState().ServerName)
	if name == sni.Bootstrap {
		return to, nil
	}

	id, ok := sni.node(name)
	if !ok || id < s.cluster.cfg.MinNode || id > s.cluster.cfg.MaxNode {
		return to, errServerName
	}
	if n := s.cluster.known(id); n != nil {
		return s.cluster.nodeTarget(id, n), nil
	}

	// The broker may have joined the cluster since the gateway last looked.
	s.cluster.lookAgain(ctx)
	if n := s.cluster.known(id); n != nil {
		return s.cluster.nodeTarget(id, n), nil
	}

	return to, fmt.Errorf("looking for broker %d: %w", id, errNoBroker)
}

func (c *Cluster) known(id int32) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// lookEvery bounds how often clients can make the gateway ask the cluster for
// its brokers.
const lookEvery = time.Second

// lookAgain learns the cluster's brokers, unless somebody has just done so.
func (c *Cluster) lookAgain(ctx context.Context) {
	c.mu.Lock()
	recent := time.Since(c.looked) < lookEvery
	if !recent {
		c.looked = time.Now()
	}
	c.mu.Unlock()

	if recent {
		return
	}
	if err := c.learnBrokers(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("learning the cluster's brokers failed", zap.Error(err))
	}
}

// sniNode is a broker that shares the one listener, told apart by its name. The
// caller holds mu.
func (c *Cluster) sniNode(id int32) *node {
	n := &node{port: c.boot.Addr().(*net.TCPAddr).Port, host: c.cfg.SNI.host(id)}
	c.nodes[id] = n
	return n
}
