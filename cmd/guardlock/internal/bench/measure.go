package bench

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/internal/load"
)

// report is what was measured.
type report struct {
	Binding     string   `json:"binding"`
	Modules     []string `json:"modules"`
	Batch       int      `json:"records_per_batch"`
	Compression string   `json:"compression"`
	Cores       int      `json:"cores"`
	costs
}

// costs are the figures. Times of batches are in microseconds.
type costs struct {
	times
	rates
	MemoryBytes      uint64  `json:"memory_bytes"`
	LogBytesPerBatch float64 `json:"log_bytes_per_batch"`
	Batches          int     `json:"batches"`
	Refused          int     `json:"refused_batches"`
	TargetMB         float64 `json:"target_mb_per_second,omitempty"`
	TargetCores      float64 `json:"target_cores,omitempty"`

	entries uint64 // of the decision log, in all
}

// times are those of one batch at a time.
type times struct {
	AddedP50  float64 `json:"added_p50_us"`
	AddedP99  float64 `json:"added_p99_us"`
	DirectP50 float64 `json:"direct_p50_us"`
	DirectP99 float64 `json:"direct_p99_us"`
}

// rates are those at full load.
type rates struct {
	MBPerSecond        float64 `json:"mb_per_second"`
	RecordsPerSecond   float64 `json:"records_per_second"`
	CPUMillisPerMB     float64 `json:"cpu_ms_per_mb"`
	CPUMicrosPerRecord float64 `json:"cpu_us_per_record"`
	MBPerCore          float64 `json:"mb_per_second_per_core"`
}

// ask says how many cores a target in bytes a second takes.
func (r *report) ask(target uint64) {
	r.TargetMB = float64(target) / 1e6
	r.TargetCores = r.TargetMB * r.CPUMillisPerMB / 1e3
}

func (m *measuring) measure(ctx context.Context) (*report, error) {
	defer m.progress.Finish()
	r := &report{}
	r.Cores = m.gateway.cores
	if r.Cores == 0 {
		r.Cores = runtime.NumCPU()
	}

	direct, err := m.oneByOne(ctx, m.direct)
	if err != nil {
		return nil, err
	}
	through, err := m.oneByOne(ctx, m.gateway.addr)
	if err != nil {
		return nil, err
	}
	r.DirectP50 = quantile(direct, 50)
	r.DirectP99 = quantile(direct, 99)
	r.AddedP50 = quantile(through, 50) - r.DirectP50
	r.AddedP99 = quantile(through, 99) - r.DirectP99

	return r, m.fullLoad(ctx, r)
}

// The shares of the full load's time: a measurement of one batch at a time, and what
// is sent before anything is measured.
const (
	timesShare  = 5
	warmUpShare = 20
)

// fewest batches are sent one by one before anything is measured, and measured.
const fewest = 50

// oneByOne sends one batch after the other for a time.
func (m *measuring) oneByOne(ctx context.Context, addr string) ([]time.Duration, error) {
	l, err := load.Dial(addr, 1, 1)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, l.Close)()
	l.Refused = new(atomic.Int64)

	var all []time.Duration
	warm := time.Now().Add(m.lasts / warmUpShare)
	end := warm.Add(m.lasts / timesShare)
	for i := 0; len(all) < fewest || time.Now().Before(end); i++ {
		f := m.frames[i%len(m.frames)]
		took, err := l.ClosedLoop(f, 1)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}

		m.progress.Add(f.Records, f.Raw)
		if i >= fewest && time.Now().After(warm) {
			all = append(all, took...)
		}
	}

	return all, nil
}

// quantile is in microseconds; of nothing it is zero.
func quantile(all []time.Duration, percent int) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[len(all)*percent/100].Nanoseconds()) / 1e3
}

// fullLoad keeps every connection busy for the whole time.
func (m *measuring) fullLoad(ctx context.Context, r *report) error {
	l, err := load.Dial(m.gateway.addr, m.connections, m.inFlight)
	if err != nil {
		return err
	}
	defer l.Close()
	l.Refused = new(atomic.Int64)

	if err := l.Run(ctx, m.frames, m.lasts/warmUpShare, func(load.Frame) {}); err != nil {
		return err
	}
	l.Refused.Store(0)
	before, err := m.gateway.usage()
	if err != nil {
		return err
	}

	m.progress.Restart()
	begun := time.Now()
	sent := &tally{progress: m.progress}
	err = l.Run(ctx, m.frames, m.lasts, sent.add)
	took := time.Since(begun)
	if err != nil {
		return err
	}

	after, err := m.gateway.usage()
	if err != nil {
		return err
	}
	r.fill(sent, took, after.CPU-before.CPU)
	r.Refused = int(l.Refused.Load())
	r.MemoryBytes = after.Memory
	r.entries = after.Entries
	return nil
}

func (r *report) fill(sent *tally, took, cpu time.Duration) {
	mb := float64(sent.bytes) / 1e6
	r.Batches = sent.batches
	r.MBPerSecond = mb / took.Seconds()
	r.RecordsPerSecond = float64(sent.records) / took.Seconds()
	if mb > 0 && cpu > 0 {
		r.CPUMillisPerMB = cpu.Seconds() * 1e3 / mb
		r.CPUMicrosPerRecord = cpu.Seconds() * 1e6 / float64(sent.records)
		r.MBPerCore = 1e3 / r.CPUMillisPerMB
	}
}

// tally counts what was acknowledged, by several goroutines.
type tally struct {
	mu                      sync.Mutex
	progress                *cli.Progress
	batches, records, bytes int
}

func (t *tally) add(f load.Frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.batches++
	t.records += f.Records
	t.bytes += f.Raw
	t.progress.Add(f.Records, f.Raw) // not safe for concurrent use
}
