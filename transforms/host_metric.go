package transforms

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Metric is one of the numbers that a module counts.
type Metric struct {
	Module, Name string
	Value        uint64
}

// metrics are the counters of all modules of a runtime, by the names of the modules
// and of their metrics. They outlive the modules, so that no reload begins anew.
type metrics struct {
	mu  sync.Mutex
	all map[metricKey]*atomic.Uint64
}

type metricKey struct{ module, name string }

// of returns a module's counters in the order of its catalogue.
func (m *metrics) of(module string, catalogue []string) []*atomic.Uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.all == nil {
		m.all = map[metricKey]*atomic.Uint64{}
	}

	counters := make([]*atomic.Uint64, 0, len(catalogue))
	for _, name := range catalogue {
		key := metricKey{module, name}
		if m.all[key] == nil {
			m.all[key] = &atomic.Uint64{}
		}
		counters = append(counters, m.all[key])
	}

	return counters
}

// Metrics are what the modules counted since the start, sorted by module and name.
func (r *Runtime) Metrics() []Metric {
	r.metrics.mu.Lock()
	defer r.metrics.mu.Unlock()

	var all []Metric
	for key, counter := range r.metrics.all {
		all = append(all, Metric{key.module, key.name, counter.Load()})
	}
	slices.SortFunc(all, func(a, b Metric) int {
		if c := strings.Compare(a.Module, b.Module); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})

	return all
}

// maxAmount is the most that one call counts: as many records as a call can have.
const maxAmount = chunkRecords

// hostMetric is add(metric, amount): a name of the module's own catalogue, from 1,
// counts up, never text. What is not in the catalogue is not counted, and no more than
// maxAmount at a time. A batch that fails later has been counted all the same.
func hostMetric(i *instance, a []uint64) int32 {
	metric := uint32(a[0])
	counters := i.module.counters
	if metric == 0 || uint64(metric) > uint64(len(counters)) {
		return hostBadArguments
	}

	counters[metric-1].Add(min(uint64(uint32(a[1])), maxAmount))
	return 0
}
