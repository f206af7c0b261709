package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/guardlock/guardlock/broker"
)

// silent takes connections, and what is sent to it, and answers nothing.
func silent() net.Conn {
	near, far := net.Pipe()
	go io.Copy(io.Discard, far)
	return addressed{near}
}

// silentUpstream is a cluster whose brokers all hang.
type silentUpstream struct{}

func (silentUpstream) Bootstrap() []broker.HostPort {
	return []broker.HostPort{{Host: "127.0.0.1", Port: 1}}
}

func (silentUpstream) DialNode(context.Context, broker.HostPort) (net.Conn, error) {
	return silent(), nil
}

// A cluster that takes connections and answers nothing is known for that in ten
// seconds, counted from its last answer: that is what operators are promised.
func TestClusterThatHangsIsNotReachedWithinTenSeconds(t *testing.T) {
	if all := askEvery + askWithin; all > 9*time.Second {
		t.Errorf("a cluster that hangs is found after %s", all)
	}

	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Decisions: unlogged{}, Clusters: []ClusterConfig{{Name: "main", Upstream: silentUpstream{}, Host: "127.0.0.1"}}})
		if err != nil {
			t.Fatal(err)
		}
		c := g.clusters[0]
		defer c.admin.Close()

		began := time.Now()
		c.counts.reached(t.Context(), nil) // as if it had answered just now
		if err := c.Discover(t.Context()); !errors.Is(err, errSilent) {
			t.Errorf("asking a cluster that hangs gives %v", err)
		}
		if took := time.Since(began); took > askWithin+askAnother {
			t.Errorf("it took %s", took)
		}

		r := c.Reach()
		if r.Err == nil || !strings.Contains(r.Err.Error(), "no broker answered for 5s") {
			t.Errorf("operators are told %v", r.Err)
		}
	})
}

// halfSilent is a cluster of which one broker hangs.
type halfSilent struct {
	Upstream
	hangs  broker.HostPort
	dialed *atomic.Int32
}

func (h halfSilent) DialNode(ctx context.Context, at broker.HostPort) (net.Conn, error) {
	if at == h.hangs {
		h.dialed.Add(1)
		return silent(), nil
	}
	return h.Upstream.DialNode(ctx, at)
}

// One broker that hangs is no cluster that does: another is asked, each time.
func TestBrokerThatHangsDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	k, err := kfake.NewCluster(kfake.NumBrokers(2))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()

	var addrs [2]broker.HostPort
	for i, text := range k.ListenAddrs() {
		if addrs[i], err = broker.ParseHostPort(text); err != nil {
			t.Fatal(err)
		}
	}
	up, err := broker.NewCluster(broker.ClusterConfig{Bootstrap: addrs[:1]})
	if err != nil {
		t.Fatal(err)
	}

	both := halfSilent{Upstream: up, hangs: addrs[1], dialed: new(atomic.Int32)}
	g, err := New(Config{Decisions: unlogged{}, Clusters: []ClusterConfig{{Name: "main", Upstream: both, Host: "127.0.0.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	c := g.clusters[0]
	defer c.admin.Close()

	for asked := 0; both.dialed.Load() == 0; asked++ { // the client takes turns
		if _, err := c.askBrokers(t.Context()); err != nil {
			t.Fatal(err)
		}
		if asked > 100 {
			t.Fatal("the broker that hangs was never asked")
		}
	}
}
