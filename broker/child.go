package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sys/unix"
)

// childConfig crosses from parent to child as one JSON value on standard input, which then stays open: its end tells
// the child that the parent is gone. Arguments and environment would show in a process list.
type childConfig struct {
	DataDir     string            `json:"data_dir"`
	Socket      string            `json:"socket"`
	ClusterID   string            `json:"cluster_id"`
	NoSync      bool              `json:"no_sync"`
	AutoCreate  bool              `json:"auto_create"`
	Partitions  int               `json:"partitions"`
	Settings    map[string]string `json:"settings"`
	LockTimeout time.Duration     `json:"lock_timeout"`
	StopTimeout time.Duration     `json:"stop_timeout"`
	Retention   time.Duration     `json:"retention"`
}

// childState is what the child says on standard output, once: that it serves, or why it never will.
type childState struct {
	Ready  bool   `json:"ready"`
	Failed string `json:"failed,omitempty"`
}

// RunChild is the whole of the hidden subcommand that [Embedded] starts its own program with. It owns the process: it
// sets the umask and takes SIGTERM. It returns when ctx ends, on that signal, or when stdin ends. An error means that it
// never served, or that its state was not saved in time: exit non-zero, at once.
func RunChild(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unix.Umask(0o077) // segments hold records

	var cfg childConfig
	in := json.NewDecoder(stdin)
	if err := in.Decode(&cfg); err != nil {
		return fmt.Errorf("reading broker configuration: %w", err)
	}

	go func() { // ends with the process at the latest: a read cannot be called off
		io.Copy(io.Discard, stdin)
		cancel()
	}()

	err := serveChild(ctx, cfg, stdout, stderr)
	if err != nil && ctx.Err() == nil {
		tell(stdout, childState{Failed: err.Error()})
	}

	return err
}

// serveChild serves one data directory until ctx ends. It holds the directory's lock from before the first file is
// touched until everything is saved.
func serveChild(ctx context.Context, cfg childConfig, stdout, stderr io.Writer) error {
	unlock, err := lockDir(ctx, cfg.DataDir, cfg.LockTimeout)
	if err != nil {
		return err
	}
	defer unlock()

	// Under the lock nobody else serves this directory, so a socket that is there is stale.
	if err := os.Remove(cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing stale socket: %w", err)
	}
	cluster, err := kfake.NewCluster(childOptions(cfg, stderr)...)
	if err != nil {
		return fmt.Errorf("starting embedded broker: %w", err)
	}
	if cfg.AutoCreate {
		autoCreate(cluster)
	}

	if err := tell(stdout, childState{Ready: true}); err != nil {
		cluster.Close()
		return fmt.Errorf("telling parent: %w", err)
	}

	applyRetention(ctx, cluster, cfg.Retention)
	return closeWithin(cluster, cfg.StopTimeout)
}

// childOptions are kfake's options for what the parent asks for. Writes are synced unless the parent says otherwise.
func childOptions(cfg childConfig, stderr io.Writer) []kfake.Opt {
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID(cfg.ClusterID),
		kfake.DataDir(cfg.DataDir),
		kfake.DefaultNumPartitions(cfg.Partitions),
		kfake.BrokerConfigs(cfg.Settings),
		kfake.WithLogger(childLog{stderr}),
		kfake.ListenFn(func(_, _ string) (net.Listener, error) { return listenUnix(cfg.Socket) }),
	}

	if !cfg.NoSync {
		opts = append(opts, kfake.SyncWrites())
	}
	return opts
}

// applyRetention runs until ctx ends. kfake arms its own timer only when a topic is created or altered, so that after a
// restart retention would never be enforced.
func applyRetention(ctx context.Context, cluster *kfake.Cluster, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			cluster.ApplyRetention()
		}
	}
}

// closeWithin saves and closes; past the deadline it gives up, and whatever was acknowledged is on disk all the same.
func closeWithin(cluster *kfake.Cluster, d time.Duration) error {
	closed := make(chan struct{})
	go func() {
		cluster.Close()
		close(closed)
	}()
	select {
	case <-closed:
		return nil
	case <-time.After(d):
		return errors.New("closing embedded broker: deadline passed")
	}
}

// lockDir takes the data directory for this process, waiting for a predecessor that is still ending. The lock goes with
// the process, however it ends.
func lockDir(ctx context.Context, dir string, wait time.Duration) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock file: %w", err)
	}

	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()

	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}

		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking data directory: %w", err)
		}

		select {
		case <-ctx.Done():
			f.Close()
			return nil, errors.New("locking data directory: another process is using it")
		case <-t.C:
		}
	}
}

func tell(w io.Writer, s childState) error { return json.NewEncoder(w).Encode(s) }

// childLog writes kfake's messages as lines that start with their level. Its messages hold topic, group and member
// names, offsets and file errors; none holds anything from a record.
type childLog struct{ w io.Writer }

func (l childLog) Logf(level kfake.LogLevel, format string, args ...any) {
	if level <= kfake.LogLevelWarn {
		fmt.Fprintf(l.w, "%s %s\n", level, fmt.Sprintf(format, args...))
	}
	if format == "persist %s: %v" {
		// The one failure to save that kfake does not answer with an error: going on would acknowledge a topic that is
		// gone after a restart. Crash before the answer is written; the parent starts us again.
		panic("embedded broker: its state could not be saved")
	}
}
