package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// node is one process of the cluster, which may be stopped and started again on the same data.
type node struct {
	// Fixed once it was made.
	id         int
	dir        string
	ports      map[Listener]int
	controller int

	process *os.Process   // of the last start
	gone    chan struct{} // closed when it has ended; nil before the first start
}

func (n *node) address(l Listener) string { return "127.0.0.1:" + strconv.Itoa(n.ports[l]) }

func (n *node) properties() string { return filepath.Join(n.dir, "server.properties") }

func (n *node) alive() bool {
	select {
	case <-n.gone:
		return false
	default:
		return n.gone != nil
	}
}

// start starts cmd as the node, with its output appended to a file. It does not wait until the node serves.
func (n *node) start(cmd *exec.Cmd) error {
	if n.alive() {
		return fmt.Errorf("node %d runs already", n.id)
	}
	out, err := os.OpenFile(filepath.Join(n.dir, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}

	cmd.Stdout = out
	cmd.Stderr = out
	ended, err := StartProcess(cmd)
	if err != nil {
		out.Close()
		return fmt.Errorf("starting node %d: %w", n.id, err)
	}

	gone := make(chan struct{})
	go func() {
		<-ended // how it ended is in its log
		out.Close()
		close(gone)
	}()

	n.process = cmd.Process
	n.gone = gone
	return nil
}

// stop ends the node: in order where grace is not 0, and hard when it has passed.
func (n *node) stop(grace time.Duration) {
	if !n.alive() {
		return
	}
	if grace > 0 {
		n.process.Signal(syscall.SIGTERM)
		select {
		case <-n.gone:
			return
		case <-time.After(grace):
		}
	}

	n.process.Kill()
	<-n.gone
}

// lastWords are the end of the node's output, for the error of a test that waited for it.
func (n *node) lastWords() string {
	text, _ := os.ReadFile(filepath.Join(n.dir, "out.log"))
	return string(text[max(0, len(text)-3000):])
}

// waitAlive waits until the node answers and the whole cluster, as far as it runs, is in the metadata that it gives.
func (c *Cluster) waitAlive(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StartTimeout)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(n.address(Plain)))
	if err != nil {
		return err
	}

	defer cl.Close()
	seed := cl.SeedBrokers()[0]
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()

	for !c.complete(ctx, seed) {
		select {
		case <-tick.C:
		case <-n.gone:
			return fmt.Errorf("node %d ended:\n%s", n.id, n.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("node %d does not answer: %w:\n%s", n.id, context.Cause(ctx), n.lastWords())
		}
	}

	return nil
}

// complete asks one node whether every node that runs is registered and there is a controller.
func (c *Cluster) complete(ctx context.Context, seed *kgo.Broker) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}

	raw, err := seed.Request(ctx, req)
	if err != nil {
		return false
	}

	resp := raw.(*kmsg.MetadataResponse)
	registered := make(map[int32]bool)
	for _, b := range resp.Brokers {
		registered[b.NodeID] = true
	}

	for _, n := range c.nodes {
		if n.alive() && !registered[int32(n.id)] {
			return false
		}
	}

	return resp.ControllerID > 0
}

// freePorts finds ports that nothing listens on, below the range that outgoing connections take theirs from: a node that
// is started again must find its own still free.
func freePorts(n int) ([]int, error) {
	const lowest, highest = 20000, 32000
	var ports []int
	for range 100 * n {
		p := lowest + rand.IntN(highest-lowest)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err != nil {
			continue
		}

		defer l.Close() // held until all are found, so that none is found twice
		if ports = append(ports, p); len(ports) == n {
			return ports, nil
		}
	}

	return nil, errors.New("no free ports")
}

// format writes every node's properties and storage. Kafka's own tool formats the first node's; the others are copies
// with an id of their own, which saves a Java start each.
func (c *Cluster) format() error {
	for _, n := range c.nodes {
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(n.properties(), c.propertiesOf(n), 0o600); err != nil {
			return err
		}
	}

	first := c.nodes[0]
	args := []string{"format", "-t", newUUID(), "-c", first.properties()}
	for name, password := range c.cfg.Users {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, name, password))
		}
	}

	cmd := c.command([]string{"-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}, "kafka.tools.StorageTool", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("formatting storage: %w: %s", err, out)
	}

	for _, n := range c.nodes[1:] {
		if err := copyStorage(first, n); err != nil {
			return fmt.Errorf("copying storage: %w", err)
		}
	}

	return nil
}

// copyStorage gives a node the formatted storage of another, with ids of its own.
func copyStorage(from, to *node) error {
	src := filepath.Join(from.dir, "data")
	dst := filepath.Join(to.dir, "data")
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		return err
	}

	path := filepath.Join(dst, "meta.properties")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}

	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		switch {
		case bytes.HasPrefix(line, []byte("node.id=")):
			fmt.Fprintf(&out, "node.id=%d\n", to.id)
		case bytes.HasPrefix(line, []byte("directory.id=")):
			fmt.Fprintf(&out, "directory.id=%s\n", newUUID())
		default:
			out.Write(line)
		}
	}

	return os.WriteFile(path, out.Bytes(), 0o600)
}
