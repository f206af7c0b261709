package e2e

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/broker"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/policy"
	"github.com/guardlock/guardlock/signing"
	"github.com/guardlock/guardlock/transforms"
)

// setup says what a world is made of; its zero value is one broker and no
// binding.
type setup struct {
	topics    map[string]int32 // partitions
	modules   []module
	bindings  []admission.Rule
	kafka     []kfake.Opt
	configure func(*gateway.Config)
	tamper    func(name string, p *signing.Package) // after signing
	started   *kfake.Cluster                        // instead of a new one
}

// world is a gateway in this process with everything around it.
type world struct {
	t       *testing.T
	kafka   *kfake.Cluster
	journal *audit.Log
	gateway *gateway.Gateway
	cluster *gateway.Cluster
	set     *admission.Set
	stop    func() // drains the gateway; may be called twice
	logDir  string
}

// bind is a binding of one module chain to topics.
func bind(topic string, modules ...string) admission.Rule {
	return admission.Rule{Place: admission.Place{Binding: topic, Topics: []string{topic}, DataClass: "internal"}, Modules: modules,
		RejectCode: kerr.InvalidRecord.Code, KeepCodec: true}
}

// newWorld starts a world and ends it with the test.
func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, logDir: t.TempDir(), kafka: s.started}
	if w.kafka == nil {
		w.kafka = startKafka(t, s)
	}

	w.journal = must(audit.Open(w.logDir, audit.Options{Key: [32]byte{1}, Node: "e2e"}))(t)
	runtime := must(transforms.New(transforms.Config{Worker: []string{transforms.WorkerCommand}}))(t)
	w.set = w.admit(s, runtime)
	cfg := gateway.Config{Decisions: w.journal, Log: zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)),
		FrameTimeout: 10 * time.Second, DrainTimeout: 10 * time.Second,
		Clusters: []gateway.ClusterConfig{{Name: "main", Upstream: upstream(t, w.kafka), Host: "127.0.0.1", MaxNode: 63}}}

	if s.configure != nil {
		s.configure(&cfg)
	}
	w.gateway = must(gateway.New(cfg))(t)
	w.cluster = w.gateway.Cluster("main")
	w.cluster.SetBindings(gateway.NewBindings(w.set.Bindings, pipeline.Unbound))
	w.serve()
	t.Cleanup(func() {
		w.stop()
		ctx := context.WithoutCancel(t.Context())
		w.set.Close(ctx)
		runtime.Close(ctx)
		w.journal.Close()
	})

	return w
}

func startKafka(t *testing.T, s setup) *kfake.Cluster {
	t.Helper()
	opts := []kfake.Opt{kfake.NumBrokers(1)}
	for _, topic := range slices.Sorted(maps.Keys(s.topics)) {
		opts = append(opts, kfake.SeedTopics(s.topics[topic], topic))
	}

	k := must(kfake.NewCluster(append(opts, s.kafka...)...))(t)
	t.Cleanup(k.Close)
	return k
}

func upstream(t *testing.T, k *kfake.Cluster) gateway.Upstream {
	t.Helper()
	return upstreamAt(t, k.ListenAddrs()...)
}

func upstreamAt(t *testing.T, bootstrap ...string) gateway.Upstream {
	t.Helper()
	var addrs []broker.HostPort
	for _, a := range bootstrap {
		addrs = append(addrs, must(broker.ParseHostPort(a))(t))
	}
	return must(broker.NewCluster(broker.ClusterConfig{Bootstrap: addrs}))(t)
}

// admit takes the modules the way that serve does.
func (w *world) admit(s setup, runtime *transforms.Runtime) *admission.Set {
	w.t.Helper()
	p := newPeople(w.t)
	a := admission.New(admission.Admitter{Trust: must(signing.ParseTrustRoot(p.root(w.t)))(w.t), Policy: must(policy.Load(w.t.Context(), policy.Default()))(w.t),
		Runtime: runtime, Keys: map[string][]byte{"pseudonyms": make([]byte, 32)}, Record: w.journal, Node: "e2e", Version: "test", Now: time.Now})

	packages := map[string]admission.Module{}
	for _, m := range s.modules {
		pkg := p.approve(w.t, m)
		if s.tamper != nil {
			s.tamper(m.name, &pkg)
		}
		packages[m.name] = admission.Module{Name: m.name, Package: pkg}
	}

	return must(a.Build(w.t.Context(), s.bindings, packages))(w.t)
}

func (w *world) serve() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	if err := w.gateway.Listen(ctx); err != nil {
		w.t.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- w.gateway.Run(ctx) }()
	var done bool
	w.stop = func() {
		if done {
			return
		}
		done = true
		cancel()

		if err := <-ended; err != nil {
			w.t.Errorf("the gateway ended with: %v", err)
		}
	}
}

// addr is where clients bootstrap.
func (w *world) addr() string { return w.cluster.Addr() }

// judged is a world with one topic under the judge, and its quarantine.
func judged(t *testing.T, partitions int32) *world {
	t.Helper()
	return newWorld(t, judgeSetup(partitions, nil))
}

func judgeSetup(partitions int32, configure func(*gateway.Config)) setup {
	return setup{topics: map[string]int32{"in": partitions, "quarantine": 1}, configure: configure,
		modules: []module{judgeModule("in")}, bindings: []admission.Rule{bind("in", "judge")}}
}
