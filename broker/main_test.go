//go:build linux

package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"
)

// The test binary is its own child, as guardlock is; and a gateway of one broker, for the tests that kill one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "__broker":
			if err := RunChild(context.Background(), os.Stdin, os.Stdout, os.Stderr); err != nil {
				os.Exit(1)
			}
			os.Exit(0)
		case "__gateway":
			os.Exit(runGateway(os.Args[2]))
		case "__stubborn":
			stubborn()
		}
	}
	os.Exit(m.Run())
}

// runGateway holds an embedded broker until it is killed, and prints its child's pid when that serves.
func runGateway(dir string) int {
	e, err := OpenEmbedded(EmbeddedConfig{DataDir: dir, Args: []string{"__broker"}})
	if err != nil {
		return 1
	}

	go func() {
		if e.Ready(context.Background()) == nil {
			fmt.Println(e.Status().PID)
		}
	}()

	if e.Run(context.Background()) != nil {
		return 1
	}
	return 0
}

// stubborn serves nothing and does not end when told to.
func stubborn() {
	ignoreTerm()
	fmt.Println(`{"ready":true}`)
	select {}
}

// start runs an embedded broker until the test ends.
func start(t *testing.T, cfg EmbeddedConfig) *Embedded {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	if cfg.Args == nil {
		cfg.Args = []string{"__broker"}
	}

	e, err := OpenEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}

	ran := make(chan error, 1)
	go func() { ran <- e.Run(context.Background()) }()
	t.Cleanup(func() {
		e.Close()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})

	if err := e.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return e
}

// client is a Kafka client of the embedded broker.
func client(t *testing.T, e *Embedded, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(e.Bootstrap()[0].String()),
		kgo.Dialer(func(ctx context.Context, _, addr string) (net.Conn, error) {
			hp, err := ParseHostPort(addr)
			if err != nil {
				return nil, err
			}
			return e.DialNode(ctx, hp)
		}),
		kgo.AllowAutoTopicCreation(),
		kgo.DefaultProduceTopic("t"),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
		kgo.MetadataMinAge(20 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(c.Close)
	return c
}

// kill ends a process of ours hard and waits until it is gone.
func kill(t *testing.T, pid int) {
	t.Helper()
	fd := watch(t, pid)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, fd)
}

// watch gets a hold of a process that is not our child.
func watch(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func waitGone(t *testing.T, pidfd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 30_000)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != 1 {
			t.Fatalf("the process did not end: %d, %v", n, err)
		}

		return
	}
}
