package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/guardlock/guardlock/internal/child"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/internal/server"
)

// Command is the name by which the program starts itself as the gateway under
// measurement.
const Command = "__bench"

// order is what the child is to serve, in JSON on its standard input.
type order struct {
	Config   string `json:"config"`
	Binding  string `json:"binding"`
	Topic    string `json:"topic"`
	Upstream string `json:"upstream"`
	Dir      string `json:"dir"`
	Cores    int    `json:"cores"`
}

// usage is what the child has used since it began.
type usage struct {
	CPU     time.Duration `json:"cpu_ns"`
	Memory  uint64        `json:"memory_bytes"` // at most
	Entries uint64        `json:"entries"`      // of the decision log
}

// gateway is the child, as its parent has it.
type gateway struct {
	addr  string
	cores int
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
}

// start starts the gateway under measurement, and waits until it serves.
func start(ctx context.Context, stderr io.Writer, what order) (*gateway, error) {
	raw, err := json.Marshal(what)
	if err != nil {
		return nil, err
	}
	cmd, err := child.Command(ctx, Command)
	if err != nil {
		return nil, err
	}
	cmd.Env = os.Environ() // node_variable
	cmd.Stderr = stderr
	g := &gateway{cmd: cmd, cores: what.Cores}
	if g.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}

	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w", err)
	}
	g.out = bufio.NewScanner(out)
	if _, err = g.in.Write(append(raw, '\n')); err == nil && g.out.Scan() {
		g.addr = g.out.Text()
		return g, nil
	}

	g.stop()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, errors.New("the gateway to measure did not start; it says why above")
}

// stop ends the gateway and waits for it: its directory is removed next.
func (g *gateway) stop() {
	g.in.Close()
	_ = g.cmd.Wait()
}

func (g *gateway) usage() (usage, error) {
	var u usage
	if _, err := io.WriteString(g.in, "\n"); err != nil || !g.out.Scan() {
		return u, errGone
	}
	return u, json.Unmarshal(g.out.Bytes(), &u)
}

// RunChild serves what is ordered on stdin until that ends. Each further line there
// is answered with a usage.
func RunChild(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	in := bufio.NewScanner(stdin)
	if !in.Scan() {
		return in.Err()
	}
	var what order
	if err := json.Unmarshal(in.Bytes(), &what); err != nil {
		return err
	}
	if what.Cores > 0 {
		runtime.GOMAXPROCS(what.Cores)
	}

	cfg, err := what.configuration()
	if err != nil {
		return err
	}
	s, err := server.Open(ctx, cfg, server.NewLogger(cfg.Log, stderr))
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(string) { ready <- struct{}{} }) }()
	select {
	case <-ready:
		fmt.Fprintln(stdout, s.Addr(cfg.Clusters[0].Name))
	case err := <-ended:
		return errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}

	for in.Scan() {
		u := used()
		u.Entries = s.Decisions().Count().NextSeq
		if err := json.NewEncoder(stdout).Encode(u); err != nil {
			break
		}
	}
	stop()
	return errors.Join(<-ended, s.Close(context.WithoutCancel(ctx)))
}

// configuration is the one that is measured, with all that leads elsewhere taken out:
// other bindings and clusters, listeners, who clients must be, witnesses.
func (o *order) configuration() (*config.Config, error) {
	cfg, err := config.Load(o.Config)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(cfg.Bindings, func(b config.Binding) bool { return b.Name == o.Binding })
	if i < 0 {
		return nil, fmt.Errorf("no binding %s", o.Binding)
	}

	b := cfg.Bindings[i]
	b.Principals = nil
	b.ClientIDs = nil
	b.Sources = nil
	b.TLS = ""
	cluster := cfg.Clusters[0].Name
	if b.Cluster != "" {
		cluster = b.Cluster
	}
	cfg.Bindings = []config.Binding{b}
	cfg.Clusters = []config.Cluster{{
		Name:   cluster,
		Listen: config.Listen{Address: "127.0.0.1:0", NodeIDs: "0-0"},
		Broker: config.Broker{Upstream: &config.Upstream{Bootstrap: []string{o.Upstream}}},
	}}

	cfg.DataDir = o.Dir
	cfg.Audit = config.Audit{
		Dir:     filepath.Join(o.Dir, logFolder),
		KeyFile: filepath.Join(o.Dir, "audit.key"),
		NoSync:  cfg.Audit.NoSync,
		Evidence: config.Evidence{
			KeyFile: filepath.Join(o.Dir, "log.key"),
			Every:   cfg.Audit.Evidence.Every,
		},
	}
	cfg.Ops = nil
	cfg.Log = config.Log{Level: "warn", Format: "console"}
	return cfg, nil
}

// besideLog is a directory on the disk of the decision log: where it lies, if that is
// the same, and the log's own if a disk is mounted there.
func besideLog(dir string) string {
	dir = existing(dir)
	if above := filepath.Dir(dir); sameDisk(dir, above) {
		return above
	}
	return dir
}

// existing is the directory, or the first above it that is there.
func existing(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			return dir
		}
		dir = above
	}
}

// logFolder is where the decision log is, below the directory of an order.
const logFolder = "audit"

// logBytes is how much a gateway that has ended wrote into its decision log. Space
// that was reserved and not used is zeros.
func logBytes(dir string) int64 {
	segments, _ := filepath.Glob(filepath.Join(dir, logFolder, "audit-*.wal"))
	var size int64
	for _, path := range segments {
		if raw, err := os.ReadFile(path); err == nil {
			size += int64(len(bytes.TrimRight(raw, "\x00")))
		}
	}
	return size
}
