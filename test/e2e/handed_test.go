package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serveHanded starts a gateway as systemd does: with sockets that are open already.
func serveHanded(t *testing.T, d *deployment, sockets ...*os.File) *process {
	t.Helper()
	const run = `export LISTEN_PID=$$ LISTEN_FDS=$1; shift; exec "$@"`
	guardlock := command(t, "serve", "--config", d.config)
	args := append([]string{"-c", run, "sh", strconv.Itoa(len(sockets))}, guardlock.Args...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.ExtraFiles = sockets
	return start(t, d, cmd)
}

// openSockets listens at the first n ports of a deployment, and takes nobody.
func openSockets(t *testing.T, d *deployment, n int) []*os.File {
	t.Helper()
	host, first, err := net.SplitHostPort(d.address)
	if err != nil {
		t.Fatal(err)
	}
	port := must(strconv.Atoi(first))(t)

	var files []*os.File
	for i := range n {
		ln := must(net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port+i))))(t)
		f := must(ln.(*net.TCPListener).File())(t)
		ln.Close()
		t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

// knocking connects to an address again and again until it is stopped, and counts
// how often nobody was there.
func knocking(t *testing.T, address string) (knocks, refused *atomic.Int64, stop func()) {
	t.Helper()
	knocks, refused = new(atomic.Int64), new(atomic.Int64)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			knocks.Add(1)
			c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err != nil && ctx.Err() == nil {
				refused.Add(1)
			}
			if err == nil {
				c.Close()
			}
		}
	}()

	return knocks, refused, func() { cancel(); <-ended }
}

// With sockets that outlast the process, a restart under load refuses nobody: who
// connects meanwhile waits, and is served.
func TestRestartWithHandedSocketsRefusesNobody(t *testing.T) {
	_, upstream := realCluster(t, "idempotent", "plain")
	p := crashPlan()
	p.broker = upstream
	d := deploy(t, p)
	sockets := openSockets(t, d, 2) // of the cluster and of its broker
	gateway := serveHanded(t, d, sockets...)
	idempotent, plain := startLoads(t, d.address)
	knocks, refused, stop := knocking(t, d.address)

	for range 3 {
		idempotent.more(t, 100)
		plain.more(t, 100)
		gateway.terminate()

		c := dial(t, d.address)
		asked := metadataRequest("plain")
		c.send(asked)
		gateway = serveHanded(t, d, sockets...)
		if answer := c.receive(asked, c.last); answer == nil {
			t.Error("who connected meanwhile is not served")
		}
	}

	stop()
	idempotent.finish(t)
	plain.finish(t)
	for _, l := range []*load{idempotent, plain} {
		l.compare(t, d.everyRecordHasItsDecision(l.topic), true)
	}
	if refused.Load() > 0 || knocks.Load() < 10 {
		t.Errorf("%d of %d connections were refused", refused.Load(), knocks.Load())
	}
	t.Logf("%d connections, none refused", knocks.Load())
	gateway.terminate()
}

// A socket that is handed over for nothing is told: whoever connects there waits.
func TestSocketOfNoListenerIsTold(t *testing.T) {
	_, upstream := realCluster(t, "plain")
	d := deploy(t, plan{broker: upstream})
	stray := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer stray.Close()
	f := must(stray.(*net.TCPListener).File())(t)
	defer f.Close()

	gateway := serveHanded(t, d, append(openSockets(t, d, 2), f)...)
	gateway.terminate()
	if text := tail(d); !strings.Contains(text, "sockets that were handed over") || !strings.Contains(text, stray.Addr().String()) {
		t.Errorf("the log says:\n%s", text)
	}
}
