package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/kernelcpu"
	"github.com/guardlock/guardlock/internal/load"
	"github.com/guardlock/guardlock/transforms"
)

// childArg makes the test binary serve as a proxy.
const childArg = "serve-as-proxy"

func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == childArg {
		if err := runChild(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == spinArg {
		runSpin(os.Args[2])
	}
	if len(os.Args) > 1 && os.Args[1] == transforms.TrialCommand {
		if err := transforms.RunTrial(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(transforms.TrialExit)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// proxy is a child process under test.
type proxy struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	addr string
}

func startProxy(tb testing.TB, mode, upstream string) *proxy {
	tb.Helper()
	return startProxyIn(tb, mode, upstream, tb.TempDir())
}

func startProxyIn(tb testing.TB, mode, upstream, dir string) *proxy {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}

	p := &proxy{cmd: exec.Command(exe, childArg, mode, upstream, dir)}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = ownSession()
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}

	out, err := p.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}

	tb.Cleanup(func() { p.in.Close(); p.cmd.Wait() })
	p.out = bufio.NewScanner(out)
	if !p.out.Scan() {
		tb.Fatal("the proxy did not start")
	}

	p.addr = p.out.Text()
	return p
}

// usage asks the proxy for its CPU time in microseconds and its memory in KiB.
func (p *proxy) usage(tb testing.TB) (cpu, kib int) {
	tb.Helper()
	if _, err := io.WriteString(p.in, "usage\n"); err != nil {
		tb.Fatal(err)
	}
	if !p.out.Scan() {
		tb.Fatal("the proxy has ended")
	}

	f := strings.Fields(p.out.Text())
	cpu, err1 := strconv.Atoi(f[0])
	kib, err2 := strconv.Atoi(f[1])
	if err1 != nil || err2 != nil {
		tb.Fatalf("reading usage from %q", p.out.Text())
	}

	return cpu, kib
}

// BenchmarkGateway sends Produce requests of 1 KiB records, 4 connections with 5
// in flight each. MB/s and ms/MB are of raw record bytes; ms/MB is the proxy's
// CPU alone.
func BenchmarkGateway(b *testing.B) {
	eachLoad(b, func(b *testing.B, f load.Frame) {
		for _, mode := range slices.Concat([]string{"direct"}, modes) {
			b.Run(mode, func(b *testing.B) { benchmarkMode(b, mode, f) })
		}
	})
}

// BenchmarkRatio gives all proxies the load of BenchmarkGateway in turns, so
// that a machine whose speed drifts drifts for all alike. Beside each proxy's
// CPU it gives the ratio to the splice's, and what the kernel's threads did in
// the proxy's turns.
func BenchmarkRatio(b *testing.B) {
	eachLoad(b, func(b *testing.B, f load.Frame) { compareModes(b, f, modes) })
}

// BenchmarkEvidence is what it takes to commit to the decision log (audit.evidence), with
// a checkpoint each second, over the same without: the ratio of CPU in one run.
func BenchmarkEvidence(b *testing.B) {
	eachLoad(b, func(b *testing.B, f load.Frame) {
		for _, mode := range []string{modeRecord, modeMask} {
			b.Run(mode, func(b *testing.B) { compareModes(b, f, []string{mode, mode + committed}) })
		}
	})
}

// BenchmarkMetrics is what counting and measuring costs on the way of a batch, over the
// same without: the ratio of CPU in one run. Who asks for the metrics takes a millisecond
// each time, once in a quarter of a minute.
func BenchmarkMetrics(b *testing.B) {
	eachLoad(b, func(b *testing.B, f load.Frame) {
		for _, mode := range []string{modeRecord, modeMask} {
			b.Run(mode, func(b *testing.B) { compareModes(b, f, []string{mode + unmeasured, mode}) })
		}
	})
}

// compareModes gives proxies the same load in turns; the first is what the others are
// compared with.
func compareModes(b *testing.B, f load.Frame, modes []string) {
	broker := nullBrokerFor(b)
	cpu := make([]int, len(modes))
	kernel := make([]time.Duration, len(modes))
	send := make([]func(n int), len(modes))
	for i, mode := range modes {
		p := startProxy(b, mode, broker.Addr())
		l := loaderFor(b, p.addr)
		send[i] = func(n int) {
			others := kernelTimes(b)
			before, _ := p.usage(b)
			if err := l.Send(f, n); err != nil {
				b.Fatal(err)
			}

			after, _ := p.usage(b)
			cpu[i] += after - before
			kernel[i] += kernelTimes(b).Since(others)
		}

		send[i](200) // warm-up
		cpu[i] = 0
		kernel[i] = 0
	}

	turn := 250_000_000 / f.Raw // short ones would measure how proxies wake up
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += turn {
		for i := range modes {
			send[i](min(turn, b.N-sent))
		}
	}

	b.StopTimer()
	for i, mode := range modes {
		mb := float64(b.N) * float64(f.Raw) / 1e6
		b.ReportMetric(float64(cpu[i])/1e3/mb, mode+"-ms/MB")
		b.ReportMetric(kernel[i].Seconds()*1e3/mb, mode+"-kernel-ms/MB")
		b.ReportMetric(float64(cpu[i])/float64(b.N), mode+"-µs/frame")
		b.ReportMetric(float64(cpu[i])/float64(cpu[0]), mode+"/"+modes[0])
	}
}

func kernelTimes(tb testing.TB) kernelcpu.Times {
	tb.Helper()
	now, err := kernelcpu.Now()
	if err != nil {
		tb.Fatal(err)
	}
	return now
}

// modes are all proxies; the first is what the others are compared with.
var modes = []string{modeSplice, modePass, modeRecord, modeNative, modeContent, modeUppercase, modeMask}

// eachLoad runs fn for small and large requests, compressed or not.
func eachLoad(b *testing.B, fn func(b *testing.B, f load.Frame)) {
	for _, size := range []struct {
		name    string
		records int
	}{{"16KiB", 15}, {"256KiB", 245}} {
		for _, codec := range []recordbatch.Compression{recordbatch.None, recordbatch.LZ4} {
			f, err := load.NewFrame(benchTopic, load.Samples(size.records), codec)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(size.name+"/"+codec.String(), func(b *testing.B) { fn(b, f) })
		}
	}
}

func nullBrokerFor(tb testing.TB) *load.Broker {
	tb.Helper()
	broker, err := load.NewBroker(benchTopic)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(broker.Close)
	return broker
}

func loaderFor(tb testing.TB, addr string) *load.Loader {
	tb.Helper()
	l, err := load.Dial(addr, 4, 5)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	return l
}

func benchmarkMode(b *testing.B, mode string, f load.Frame) {
	addr := nullBrokerFor(b).Addr()
	var p *proxy
	if mode != "direct" {
		p = startProxy(b, mode, addr)
		addr = p.addr
	}

	l := loaderFor(b, addr)
	if err := l.Send(f, 200); err != nil { // warm-up
		b.Fatal(err)
	}

	cpu := 0
	if p != nil {
		cpu, _ = p.usage(b)
	}

	b.SetBytes(int64(f.Raw))
	b.ResetTimer()
	if err := l.Send(f, b.N); err != nil {
		b.Fatal(err)
	}

	b.StopTimer()
	if p == nil {
		return
	}

	after, kib := p.usage(b)
	mb := float64(b.N) * float64(f.Raw) / 1e6
	b.ReportMetric(float64(after-cpu)/1e3/mb, "cpu-ms/MB")
	b.ReportMetric(float64(kib)/1024, "RSS-MiB")
}

// BenchmarkLatency is one 1 KiB record at a time over one connection.
func BenchmarkLatency(b *testing.B) {
	for _, mode := range []string{"direct", modeSplice, modePass, modeRecord, modeUppercase} {
		b.Run(mode, func(b *testing.B) { benchmarkLatency(b, mode) })
	}
}

func benchmarkLatency(b *testing.B, mode string) {
	f, err := load.NewFrame(benchTopic, load.Samples(1), recordbatch.None)
	if err != nil {
		b.Fatal(err)
	}

	addr := nullBrokerFor(b).Addr()
	if mode != "direct" {
		addr = startProxy(b, mode, addr).addr
	}

	l, err := load.Dial(addr, 1, 1)
	if err != nil {
		b.Fatal(err)
	}

	defer l.Close()
	if _, err := l.ClosedLoop(f, 100); err != nil {
		b.Fatal(err)
	}

	b.ResetTimer()
	took, err := l.ClosedLoop(f, b.N)
	if err != nil {
		b.Fatal(err)
	}

	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
}

// TestEveryModeAcknowledges keeps the benchmark honest: each proxy must bring
// every batch through.
func TestEveryModeAcknowledges(t *testing.T) {
	broker := nullBrokerFor(t)
	for _, records := range []int{15, 245} {
		for _, codec := range []recordbatch.Compression{recordbatch.None, recordbatch.LZ4} {
			f, err := load.NewFrame(benchTopic, load.Samples(records), codec)
			if err != nil {
				t.Fatal(err)
			}

			for _, mode := range modes {
				l, err := load.Dial(startProxy(t, mode, broker.Addr()).addr, 2, 5)
				if err != nil {
					t.Fatal(err)
				}
				if err := l.Send(f, 40); err != nil {
					t.Errorf("%s, %s, %d records: %v", mode, codec, records, err)
				}

				l.Close()
			}
		}
	}
}
