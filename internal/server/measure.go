package server

import (
	"time"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/ops"
)

// directions are the words of labels.
var directions = map[pipeline.Direction]string{pipeline.Produce: "produce", pipeline.Consume: "consume"}

// Measure implements ops.Source.
func (v *view) Measure(to *ops.Samples) {
	b := build.Read()
	to.Value(ops.BuildInfo, 1, b.Version, b.Revision, b.Go, v.cfg.Node)
	to.Is(ops.Ready, len(v.Missing()) == 0)
	to.Value(ops.Started, seconds(v.started))

	v.eachCluster(func(c *gateway.Cluster, n gateway.ClusterCount) {
		measureBatches(to, c.Name(), c.Counts())
		measureCluster(to, c, n)
	})

	for _, m := range v.gateway.Memory() {
		to.Value(ops.MemoryHeld, float64(m.Held), m.Holder)
		to.Value(ops.MemoryLimit, float64(m.Limit), m.Holder)
		to.Value(ops.MemoryWaiting, float64(m.Waiting), m.Holder)
	}

	for _, u := range v.runtime.Usage() {
		to.Value(ops.ModuleFuel, float64(u.Fuel), u.Module)
		to.Value(ops.ModuleMemory, float64(u.Memory), u.Module)
	}
	for _, m := range v.runtime.Metrics() {
		to.Value(ops.GuestMetrics, float64(m.Value), m.Module, m.Name)
	}

	if v.traces != nil {
		n := v.traces.Counts()
		to.Value(ops.TraceSpans, float64(n.Sent), "sent")
		to.Value(ops.TraceSpans, float64(n.NoRoom), "no_room")
		to.Value(ops.TraceSpans, float64(n.Failed), "failed")
		to.Value(ops.TraceLimited, float64(n.Limited))
	}

	v.measureLog(to)
	v.measureReconciled(to)
	v.measureClock(to)
	v.measureTerms(to)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func measureBatches(to *ops.Samples, cluster string, counts *pipeline.Counts) {
	counts.EachBinding(func(n pipeline.BindingCount) {
		direction := directions[n.Direction]
		for _, end := range n.Ends {
			to.Value(ops.Batches, float64(end.Batches), cluster, n.Binding, direction, end.Outcome.String(), end.Reason)
		}

		for verdict, records := range n.Records {
			to.Value(ops.Records, float64(records), cluster, n.Binding, direction, verdict)
		}

		to.Value(ops.ReceivedBytes, float64(n.BytesIn), cluster, n.Binding, direction)
		to.Value(ops.ForwardBytes, float64(n.BytesOut), cluster, n.Binding, direction)
		to.Value(ops.ModuleSeconds, n.Wasm.Seconds(), cluster, n.Binding, direction)
	})

	counts.EachTopic(func(topic string, records, bytes uint64) {
		to.Value(ops.TopicRecords, float64(records), cluster, topic)
		to.Value(ops.TopicBytes, float64(bytes), cluster, topic)
	})

	counts.EachError(func(name string, batches uint64) {
		to.Value(ops.UpstreamError, float64(batches), cluster, name)
	})
	for stage := range counts.Stages {
		to.Histogram(ops.StageSeconds, counts.Stages[stage].Read(), cluster, pipeline.StageNames[stage])
	}
}

func measureCluster(to *ops.Samples, c *gateway.Cluster, n gateway.ClusterCount) {
	name := c.Name()
	to.Value(ops.Connections, float64(n.Connections), name)
	to.Value(ops.InFlight, float64(n.InFlight), name)
	to.Value(ops.Accepted, float64(n.Accepted), name)
	to.Value(ops.TurnedAway, float64(n.TurnedAway), name)
	c.EachEnd(func(cause string, n uint64) { to.Value(ops.Ended, float64(n), name, cause) })
	to.Value(ops.Handshakes, float64(n.BadHandshakes), name)
	to.Value(ops.Authenticated, float64(n.Authenticated), name, "ok")
	to.Value(ops.Authenticated, float64(n.Denied), name, "denied")
	to.Value(ops.Unresolved, float64(n.Unresolved), name)
	to.Is(ops.ClusterUp, unreached(c) == "", name)
	to.Histogram(ops.AnswerSeconds, n.Answers, name)
}

func (v *view) measureLog(to *ops.Samples) {
	n := v.journal.Count()
	to.Value(ops.LogEntries, float64(n.Entries))
	to.Histogram(ops.LogCommits, n.Commits)
	to.Value(ops.LogPending, float64(n.Pending))
	to.Value(ops.LogOpen, float64(n.Open))
	to.Is(ops.LogFailed, n.Err != nil)

	l := v.logStatus()
	to.Value(ops.LogBytes, float64(l.Bytes))
	to.Value(ops.LogSegments, float64(l.Segments))

	if l.DiskFree >= 0 {
		to.Value(ops.LogDiskFree, float64(l.DiskFree))
	}
	to.Is(ops.LogDiskLow, l.DiskLow)
	to.Is(ops.LogDiskFull, n.Full)
	to.Value(ops.CheckpointSize, float64(l.Entries)-float64(min(l.Committed, l.Entries)))
	for _, w := range l.Witnesses {
		to.Value(ops.WitnessLag, float64(w.Behind), w.Name)
	}
	to.Value(ops.CheckpointFail, float64(v.commits.state.failures.Load()))

	if !l.Checkpoint.IsZero() {
		to.Value(ops.CheckpointAge, time.Since(l.Checkpoint).Seconds())
	}
}

// measureTerms tells what runs where, and until when.
func (v *view) measureTerms(to *ops.Samples) {
	e := v.reloader.explain()
	for _, cl := range e.cfg.Clusters {
		named := map[string]bool{} // several bindings may have one name
		for _, b := range e.bindings(cl.Name) {
			if named[b.Binding] {
				continue
			}
			named[b.Binding] = true
			v.measureBinding(to, cl.Name, &b)
		}
	}

	type key struct{ kind, name string }
	ended := map[key]bool{}
	for _, end := range v.ends(e) {
		if at := (key{end.Kind, end.Name}); !ended[at] { // the soonest of a name
			ended[at] = true
			to.Value(ops.EndTimes, seconds(end.At), end.Kind, end.Name)
		}
	}

	to.Value(ops.InsecureInUse, float64(len(e.cfg.Insecure())))
	if usable, until, ok := v.reloader.trustState(); ok {
		to.Is(ops.TrustUsable, usable)
		if !until.IsZero() {
			to.Value(ops.TrustUntil, seconds(until))
		}
	}
	if m := e.listed.status(e.cfg); m != nil {
		to.Is(ops.ManifestOK, m.Problem == "")
	}
	to.Value(ops.Reloads, float64(v.reloader.counts.applied.Load()), "applied")
	to.Value(ops.Reloads, float64(v.reloader.counts.refused.Load()), "refused")
}

func (v *view) measureBinding(to *ops.Samples, cluster string, b *ops.Binding) {
	to.Is(ops.BindingRefuses, b.Refused != "", cluster, b.Binding, b.Refused)
	to.Is(ops.Suspended, b.Suspended, cluster, b.Binding)
	named := map[string]bool{}
	for _, m := range b.Modules {
		if !named[m.Name] {
			named[m.Name] = true
			to.Value(ops.BindingInfo, 1, cluster, b.Binding, m.Name, m.Digest)
		}
	}
}
