package modules_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/transforms"
	"github.com/guardlock/guardlock/transforms/modules"
	"github.com/guardlock/guardlock/transforms/record"
)

var (
	testKeys   = [][]byte{[]byte("first key of the modules' tests"), []byte("second key of the same")}
	testRoutes = []string{"quarantine", "alerts"}
)

// mac is what the host's HMAC must return.
func mac(key uint32, p []byte) []byte {
	h := hmac.New(sha256.New, testKeys[key])
	h.Write(p)
	return h.Sum(nil)
}

type input struct {
	key, value, headers []byte // nil key or value: Kafka's null; nil headers: none
	at                  int64  // milliseconds
}

type output struct {
	verdict        record.Verdict
	reason         string
	route          uint8
	key            []byte
	value, headers []byte
}

// guest is one module in the real sandbox, with a single instance.
type guest struct {
	module *transforms.Module
	chain  *transforms.Chain
	batch  record.Batch
	lax    bool // it was told to pass what paths do not understand
	inside refInside
}

// grants are the host functions that each module may call, and no more.
var grants = map[string][]string{
	"enrich":         {"guardlock_lookup.find"},
	"fraud-velocity": {"guardlock_state.count", "guardlock_state.since"},
	"gdpr":           {"guardlock_crypto.hmac_sha256"},
	"gdpr-keys": {
		"guardlock_crypto.hmac_sha256", "guardlock_crypto.ff1_encrypt", "guardlock_crypto.ff1_decrypt",
		"guardlock_crypto.aes_gcm_open", "guardlock_crypto.aes_gcm_seal", "guardlock_crypto.tokenise",
	},
	"sensor": {"guardlock_state.count", "guardlock_state.seen"},
}

// newRuntime makes a runtime, in which a module is compiled once however often
// it is opened.
func newRuntime(tb testing.TB) *transforms.Runtime {
	tb.Helper()
	r, err := transforms.New(transforms.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close(context.Background()) })
	return r
}

func open(tb testing.TB, r *transforms.Runtime, name, config string) (*guest, error) {
	tb.Helper()
	wasm, ok := modules.Wasm(name)
	if !ok {
		tb.Fatalf("no module %q", name)
	}

	grant := transforms.Grant{
		HostFunctions: grants[name],
		Routes:        testRoutes,
		Limits:        transforms.Limits{Instances: 1, Deadline: time.Minute, OutputBytes: 16 << 20},
	}
	for i, k := range testKeys {
		grant.Keys = append(grant.Keys, transforms.Key{Name: fmt.Sprint("key", i), Secret: k})
	}

	tables, err := transforms.OpenTables([]byte(config), func(table, format string) (*transforms.TableContent, error) {
		raw, err := os.ReadFile(fmt.Sprintf("%s/tables/%s.%s", name, table, format))
		return transforms.NewTableContent(raw), err
	})
	if err != nil {
		return nil, err
	}

	m, err := r.Load(tb.Context(), transforms.Spec{Name: name, Wasm: wasm, Config: []byte(config), Grant: grant, Tables: tables})
	if err != nil {
		return nil, err
	}

	return &guest{module: m, chain: transforms.NewChain(m)}, nil
}

func mustOpen(tb testing.TB, name, config string) *guest {
	tb.Helper()
	g, err := open(tb, newRuntime(tb), name, config)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func appendSpan(b *record.Batch, p []byte) record.Span {
	if p == nil {
		return record.Null
	}
	s := record.Span{Off: uint32(len(b.Data)), Len: int32(len(p))}
	b.Data = append(b.Data, p...)
	return s
}

// load lays the records out as a decoded Kafka batch has them.
func (g *guest) load(recs []input) {
	b := &g.batch
	b.Reset()
	for _, r := range recs {
		if r.headers == nil {
			r.headers = []byte{0}
		}
		start := len(b.Data)
		b.Data = append(b.Data, 0) // stands for the varints in front
		rec := record.Record{Timestamp: r.at, Key: appendSpan(b, r.key), Value: appendSpan(b, r.value), Headers: appendSpan(b, r.headers)}
		rec.Whole = record.Span{Off: uint32(start), Len: int32(len(b.Data) - start)}
		b.Records = append(b.Records, rec)
	}
}

func (g *guest) run(tb testing.TB, recs ...input) []output {
	tb.Helper()
	g.load(recs)
	if err := g.chain.Run(tb.Context(), &g.batch, transforms.Origin{Topic: "t"}); err != nil {
		tb.Fatal(err)
	}

	outs := make([]output, len(recs))
	for i, r := range g.batch.Records {
		outs[i] = output{
			verdict: r.Verdict,
			reason:  g.module.Reasons()[r.Reason],
			route:   r.Route,
			key:     g.batch.Bytes(r.Key),
			value:   g.batch.Bytes(r.Value),
			headers: g.batch.Bytes(r.Headers),
		}
	}

	return outs
}

// bench runs a module over the same batch again and again: everything from a
// decoded batch to its verdicts, the sandbox's own checks included.
func bench(b *testing.B, name, config string, recs []input) {
	g := mustOpen(b, name, config)
	g.load(recs)
	fresh := slices.Clone(g.batch.Records)
	data := slices.Clone(g.batch.Data)
	b.ReportAllocs()
	b.SetBytes(int64(len(recs[0].value)))
	b.ResetTimer()

	for i := 0; i < b.N; i += len(recs) {
		copy(g.batch.Records, fresh)
		copy(g.batch.Data, data)
		g.batch.Out = g.batch.Out[:0]
		if err := g.chain.Run(b.Context(), &g.batch, transforms.Origin{Topic: "t"}); err != nil {
			b.Fatal(err)
		}
	}
}
