package modules_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
)

// The test binary is its own worker, as guardlock is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == transforms.WorkerCommand {
		if err := transforms.RunWorker(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkApart compares guests here with guests in processes of their own
// (isolation: process), on batches of a size, in one run. What "pass" does is
// nothing: it is the price of a batch. gdpr calls the host for each record.
func BenchmarkApart(b *testing.B) {
	pass, err := os.ReadFile("../testdata/copy.wasm")
	if err != nil {
		b.Fatal(err)
	}

	for _, c := range []struct {
		name, config string
		wasm         []byte
	}{{"pass", "", pass}, {"uppercase", "", nil}, {"gdpr", example(b, "gdpr"), nil}} {
		if c.wasm == nil {
			c.wasm, _ = modules.Wasm(c.name)
		}
		for _, size := range []int{16 << 10, 256 << 10} {
			for _, apart := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/%dKiB/apart=%v", c.name, size>>10, apart), func(b *testing.B) {
					benchApart(b, transforms.Spec{Name: c.name, Wasm: c.wasm, Config: []byte(c.config), Apart: apart}, size)
				})
			}
		}
	}
}

func benchApart(b *testing.B, spec transforms.Spec, size int) {
	r, err := transforms.New(transforms.Config{Worker: []string{transforms.WorkerCommand}})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close(context.Background())

	spec.Grant = transforms.Grant{
		HostFunctions: grants[spec.Name],
		Keys:          []transforms.Key{{Name: "key0", Secret: testKeys[0]}},
		Limits:        transforms.Limits{Instances: 1, Deadline: time.Minute, OutputBytes: 16 << 20},
	}
	m, err := r.Load(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}

	g := &guest{module: m, chain: transforms.NewChain(m)}
	recs := customers(b)
	var batch []input
	for n, bytes := 0, 0; bytes < size; n++ {
		batch = append(batch, recs[n%len(recs)])
		bytes += len(recs[n%len(recs)].value)
	}
	g.load(batch)
	fresh := slices.Clone(g.batch.Records)
	data := slices.Clone(g.batch.Data)

	b.SetBytes(int64(len(data)))
	for b.Loop() {
		copy(g.batch.Records, fresh)
		copy(g.batch.Data, data)
		g.batch.Out = g.batch.Out[:0]
		if err := g.chain.Run(b.Context(), &g.batch, transforms.Origin{Topic: "t"}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(batch)), "records")
}
