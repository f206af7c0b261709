package ops

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/guardlock/guardlock/internal/meter"
)

// Samples takes the values of metrics, for one scrape.
type Samples struct {
	to      chan<- prometheus.Metric
	descs   map[*Metric]*prometheus.Desc
	example func(seq uint64) string // a decision's id by its number
}

// Value gives the value of a metric, under one value for each of its labels.
func (s *Samples) Value(m *Metric, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if m.Kind == Counter {
		kind = prometheus.CounterValue
	}
	s.to <- prometheus.MustNewConstMetric(s.descs[m], kind, value, valid(labels)...)
}

// Is gives 1 for yes.
func (s *Samples) Is(m *Metric, yes bool, labels ...string) {
	value := 0.0
	if yes {
		value = 1
	}
	s.Value(m, value, labels...)
}

// Histogram gives what a histogram held. Its examples carry decision ids, by which
// a slow batch can be asked for.
func (s *Samples) Histogram(m *Metric, r meter.Reading, labels ...string) {
	h := prometheus.MustNewConstHistogram(s.descs[m], r.Count, r.Sum, r.UpTo, valid(labels)...)
	examples := make([]prometheus.Exemplar, len(r.Examples))
	for i, e := range r.Examples {
		examples[i] = prometheus.Exemplar{
			Value:     e.Seconds,
			Labels:    prometheus.Labels{"decision": s.example(e.Seq)},
			Timestamp: e.At,
		}
	}

	if len(examples) == 0 {
		s.to <- h
		return
	}
	s.to <- prometheus.MustNewMetricWithExemplars(h, examples...)
}

// valid makes labels that a scrape can carry: a name from a file or a client may
// be no UTF-8.
func valid(labels []string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "?")
	}
	return labels
}

// collector reads the gateway anew at each scrape.
type collector struct {
	from  Source
	descs map[*Metric]*prometheus.Desc
}

// newRegistry makes the registry of one gateway, with what the Go runtime and the
// system tell of the process.
func newRegistry(from Source) *prometheus.Registry {
	c := &collector{from, map[*Metric]*prometheus.Desc{}}
	for _, m := range all {
		c.descs[m] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	}

	r := prometheus.NewRegistry()
	r.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range all {
		to <- c.descs[m]
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	c.from.Measure(&Samples{to, c.descs, c.from.DecisionID})
}

// Reference is docs/metrics.md.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nMade from `internal/ops/metrics.go` by `go test ./internal/ops -update`; do not edit. " +
		"How to have them served is in [operating.md](operating.md#watch).\n\n" +
		"Labels hold names of the configuration and words of closed catalogues: no principal, no client id, no address, nothing of a record. " +
		"The process's own metrics (`go_*`, `process_*`) are those of the Prometheus client for Go. All durations are in seconds, all sizes in bytes. " +
		"Histograms have buckets up to ")

	bounds := make([]string, len(meter.Bounds))
	for i, bound := range meter.Bounds {
		bounds[i] = time.Duration(bound * float64(time.Second)).String()
	}
	b.WriteString(strings.Join(bounds, ", ") + ", and carry decision ids as examples where a scrape asks for OpenMetrics.\n\n| metric | kind | labels | is |\n|---|---|---|---|\n")

	for _, m := range all {
		b.WriteString("| `" + m.Name + "` | " + string(m.Kind) + " | " + strings.Join(m.Labels, ", ") + " | " + m.Help + " |\n")
	}
	b.WriteString("\n" + strconv.Itoa(len(all)) + " metrics.\n")
	return b.String()
}
