package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/meter"
	"github.com/guardlock/guardlock/internal/timeslice"
	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
	"github.com/guardlock/guardlock/transforms/record"
)

// The proxies that a child can be.
const (
	modeSplice    = "splice"    // two io.Copy, which is splice(2) on Linux
	modePass      = "pass"      // the gateway, topics not bound: frames
	modeRecord    = "record"    // decoded, recorded, forwarded unchanged
	modeUnsynced  = "unsynced"  // as record, and no decision waits for the disk
	modeNative    = "native"    // every record changed by Go code, recorded
	modeContent   = "content"   // as native, with evidence of the content: a MAC over every byte
	modeUppercase = "uppercase" // every record changed by the uppercase module, recorded
	modeMask      = "gdpr"      // three fields of every record masked by the gdpr module, recorded
)

// unmeasured behind a mode's name leaves out what metrics count.
const unmeasured = "+unmeasured"

// longTurns behind a mode's name leaves its threads the kernel's usual turns of the processor.
const longTurns = "+longturns"

// committed behind a mode's name has the decision log committed to, as audit.evidence does.
const committed = "+evidence"

// serving is a proxy that serves.
type serving struct {
	addr string
	// settle does what is left to do for the load so far, which would otherwise be done
	// in another proxy's turn, where nobody counts it. Optional.
	settle func()
}

// runChild serves as one proxy in front of upstream until stdin ends. It prints
// its address, then for each line read its CPU time in microseconds and its
// resident set in KiB.
func runChild(mode, upstream, dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	mode, long := strings.CutSuffix(mode, longTurns)
	if mode != modeSplice && !long {
		if err := timeslice.Shorten(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}

	mode, meter.Off = strings.CutSuffix(mode, unmeasured)
	serve := serveGateway

	switch mode {
	case modeSplice:
		serve = serveSplice
	case modeSite:
		serve = serveSite
	}
	p, err := serve(ctx, mode, upstream, dir)
	if err != nil {
		return err
	}

	fmt.Println(p.addr)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if p.settle != nil {
			p.settle()
		}
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return err
		}
		cpu := (u.Utime.Nano() + u.Stime.Nano()) / 1e3
		fmt.Println(cpu, residentKiB())
	}

	return lines.Err()
}

func residentKiB() int {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, resident int
	fmt.Sscan(string(raw), &total, &resident)
	return resident * os.Getpagesize() / 1024
}

func serveSplice(_ context.Context, _, upstream, _ string) (serving, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return serving{}, err
	}

	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}

			up, err := net.Dial("tcp", upstream)
			if err != nil {
				c.Close()
				continue
			}

			go func() { io.Copy(up, c); up.Close() }()
			go func() { io.Copy(c, up); c.Close() }()
		}
	}()

	return serving{addr: ln.Addr().String()}, nil
}

func serveGateway(ctx context.Context, mode, upstream, dir string) (p serving, err error) {
	journal, err := audit.Open(dir, audit.Options{Node: "bench", InsecureNoSync: mode == modeUnsynced})
	if err != nil {
		return p, err
	}

	mode, evident := strings.CutSuffix(mode, committed)
	if evident {
		if p.settle, err = commitTo(ctx, journal, filepath.Join(dir, tree.DirName)); err != nil {
			return p, err
		}
	}

	at, err := broker.ParseHostPort(upstream)
	if err != nil {
		return p, err
	}

	cluster, err := broker.NewCluster(broker.ClusterConfig{Bootstrap: []broker.HostPort{at}})
	if err != nil {
		return p, err
	}

	g, err := gateway.New(gateway.Config{Decisions: journal, Clusters: []gateway.ClusterConfig{{
		Name: "bench", Upstream: cluster, Host: "127.0.0.1", MaxNode: 10}}})
	if err != nil {
		return p, err
	}
	if err := g.Listen(ctx); err != nil {
		return p, err
	}

	bindings, err := bindingsFor(ctx, mode)
	if err != nil {
		return p, err
	}

	g.Cluster("bench").SetBindings(bindings)
	go g.Run(ctx)
	p.addr = g.Cluster("bench").Addr()
	return p, nil
}

// commitTo signs a checkpoint of the log each second, and whenever settle is called.
func commitTo(ctx context.Context, journal *audit.Log, dir string) (settle func(), err error) {
	private, public, err := note.GenerateKey(rand.Reader, "bench")
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return nil, err
	}
	t, err := tree.Open(ctx, journal.Reader(), tree.Options{Dir: dir, Signer: signer, Verifier: verifier})
	if err != nil {
		return nil, err
	}

	asked := make(chan struct{})
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(time.Second)
		for {
			if _, err := t.Checkpoint(ctx); err != nil && ctx.Err() == nil {
				panic(err)
			}

			select {
			case <-tick.C:
			case <-asked:
				done <- struct{}{}
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { asked <- struct{}{}; <-done }, nil
}

func bindingsFor(ctx context.Context, mode string) (*gateway.Bindings, error) {
	grant := &pipeline.Grant{Binding: "bench", RejectCode: kerr.InvalidRecord.Code, KeepCodec: true}
	switch mode {
	case modePass:
		grant.Unaudited = true
	case modeNative, modeContent:
		if mode == modeContent {
			grant.Evidence = audit.EvidenceContent
		}
		grant.Chain = native{}
		grant.Modules = []audit.ModuleRef{{Name: "native"}}
		grant.Reasons = [][]string{{"unspecified"}}
		grant.Routes = [][]string{nil}
	case modeUppercase, modeMask:
		m, err := bundled(ctx, mode)
		if err != nil {
			return nil, err
		}
		grant.Chain = transforms.NewChain(m)
		grant.Modules, grant.Reasons, grant.Routes = []audit.ModuleRef{{Name: mode, Digest: m.Digest()}}, [][]string{m.Reasons()}, [][]string{nil}
	}

	return gateway.NewBindings([]gateway.Binding{{Topics: []string{benchTopic}, Grant: grant}}, pipeline.Unbound), nil
}

// maskConfig masks the three texts of load.Samples, which keep their lengths.
const maskConfig = `{"rules":[{"path":"$.id","action":"mask"},{"path":"$.customer.name","action":"mask"},` +
	`{"path":"$.customer.email","action":"mask","keep_last":4}]}`

// bundled loads one of the product's own modules.
func bundled(ctx context.Context, name string) (*transforms.Module, error) {
	runtime, err := transforms.New(transforms.Config{})
	if err != nil {
		return nil, err
	}

	wasm, ok := modules.Wasm(name)
	if !ok {
		return nil, fmt.Errorf("module %s is not bundled", name)
	}

	spec := transforms.Spec{Name: name, Wasm: wasm}
	if name == modeMask {
		spec.Config = []byte(maskConfig)
		spec.Grant.HostFunctions = []string{"guardlock_crypto.hmac_sha256"}
	}
	return runtime.Load(ctx, spec)
}

// native changes one byte of every record: the least that a transform can do,
// so that what is measured is the gateway's own work on changed batches.
type native struct{}

// Run implements gateway.Transformer.
func (native) Run(_ context.Context, b *record.Batch, _ transforms.Origin) error {
	for i := range b.Records {
		r := &b.Records[i]
		b.Data[r.Value.Off] ^= 0x20
		r.Verdict = record.Modified
		r.Touched = record.Span{Off: r.Value.Off, Len: 1}
	}

	b.Changed = true
	return nil
}
