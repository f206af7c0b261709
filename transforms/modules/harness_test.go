package modules_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/guardlock/guardlock/transforms/modules"
)

var testKeys = [][]byte{[]byte("first key of the modules' tests"), []byte("second key")}

type input struct {
	key, value, headers []byte // nil key or value: Kafka's null
	timestamp           int64
}

type output struct {
	verdict        string
	reason         string
	value, headers []byte
	route          uint32
}

type guest struct {
	mod                                   api.Module
	transform                             api.Function
	reasons                               []string
	frame, in, desc, out, arena, arenaCap uint32
	stack                                 []uint64
}

var ctx = context.Background()

func mac(key uint32, p []byte) ([]byte, bool) {
	if int(key) >= len(testKeys) {
		return nil, false
	}
	h := hmac.New(sha256.New, testKeys[key])
	h.Write(p)
	return h.Sum(nil), true
}

func hostHMAC(_ context.Context, m api.Module, stack []uint64) {
	p, ok := m.Memory().Read(uint32(stack[1]), uint32(stack[2]))
	sum, known := mac(uint32(stack[0]), p)
	if !ok || !known || !m.Memory().Write(uint32(stack[3]), sum) {
		stack[0] = api.EncodeI32(-3)
		return
	}
	stack[0] = 32
}

func open(tb testing.TB, name, config string) (*guest, error) {
	tb.Helper()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCustomSections(true))
	tb.Cleanup(func() { r.Close(ctx) })
	i32 := api.ValueTypeI32
	_, err := r.NewHostModuleBuilder("guardlock_crypto").NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(hostHMAC), []api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}).
		Export("hmac_sha256").Instantiate(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	wasm, ok := modules.Wasm(name)
	if !ok {
		tb.Fatalf("no module %q", name)
	}
	c, err := r.CompileModule(ctx, wasm)
	if err != nil {
		tb.Fatal(err)
	}
	g := &guest{arenaCap: 4 << 20, stack: make([]uint64, 2)}
	for _, s := range c.CustomSections() {
		if s.Name() == "guardlock.reasons" {
			g.reasons = append([]string{"unspecified"}, strings.Split(string(s.Data()), "\n")...)
		}
	}
	g.mod, err = r.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		tb.Fatal(err)
	}
	if err := g.init(config); err != nil {
		return nil, err
	}
	g.transform = g.mod.ExportedFunction("guardlock_transform_v1")
	g.frame, g.in, g.desc = g.alloc(64), g.alloc(2<<20), g.alloc(1024*48)
	g.out, g.arena = g.alloc(1024*48), g.alloc(g.arenaCap)
	return g, nil
}

func (g *guest) alloc(n uint32) uint32 {
	res, err := g.mod.ExportedFunction("guardlock_alloc").Call(ctx, uint64(n), 16)
	if err != nil || res[0] == 0 {
		panic("guest out of memory")
	}
	return uint32(res[0])
}

func (g *guest) init(config string) error {
	f := g.mod.ExportedFunction("guardlock_init_v1")
	if f == nil {
		return nil
	}
	p := g.alloc(uint32(len(config)) + 1)
	g.mod.Memory().Write(p, []byte(config))
	res, err := f.Call(ctx, uint64(p), uint64(len(config)))
	if err != nil {
		return fmt.Errorf("initialising module: %w", err)
	}
	if res[0] != 0 {
		return fmt.Errorf("initialising module: refused with %d", res[0])
	}
	return nil
}

// load writes the records into the guest.
func (g *guest) load(recs []input) {
	mem := g.mod.Memory()
	at := g.in
	put := func(p []byte) uint32 {
		start := at
		mem.Write(at, p)
		at += uint32(len(p))
		return start
	}
	for i, r := range recs {
		var d [48]byte
		flags := uint32(0)
		if r.key == nil {
			flags |= 1
		}
		if r.value == nil {
			flags |= 2
		}
		if r.headers == nil {
			r.headers = []byte{0}
		}
		le := binary.LittleEndian
		le.PutUint32(d[0:], flags)
		le.PutUint32(d[4:], uint32(i))
		le.PutUint64(d[8:], uint64(r.timestamp))
		le.PutUint32(d[16:], put(r.key))
		le.PutUint32(d[20:], uint32(len(r.key)))
		le.PutUint32(d[24:], put(r.value))
		le.PutUint32(d[28:], uint32(len(r.value)))
		le.PutUint32(d[32:], put(r.headers))
		le.PutUint32(d[36:], uint32(len(r.headers)))
		mem.Write(g.desc+uint32(i)*48, d[:])
	}
	var f [64]byte
	for i, v := range []uint32{64, 0, g.desc, uint32(len(recs)), g.out, 1024, 0, g.arena, g.arenaCap} {
		binary.LittleEndian.PutUint32(f[i*4:], v)
	}
	mem.Write(g.frame, f[:])
}

func (g *guest) call() int32 {
	g.stack[0] = uint64(g.frame)
	if err := g.transform.CallWithStack(ctx, g.stack); err != nil {
		panic(err)
	}
	return int32(g.stack[0])
}

func (g *guest) run(tb testing.TB, recs ...input) []output {
	tb.Helper()
	g.load(recs)
	size := uint32(16)
	for _, r := range recs {
		size += uint32(len(r.key) + len(r.value) + len(r.headers) + 1)
	}
	before, _ := g.mod.Memory().Read(g.in, size)
	before = append([]byte(nil), before...)
	if rc := g.call(); rc != int32(len(recs)) {
		tb.Fatalf("transform returned %d for %d records", rc, len(recs))
	}
	if after, _ := g.mod.Memory().Read(g.in, size); string(after) != string(before) {
		tb.Fatal("the guest left the input changed")
	}
	outs := make([]output, len(recs))
	for i := range recs {
		outs[i] = g.result(recs[i], uint32(i))
	}
	return outs
}

func (g *guest) result(in input, i uint32) output {
	mem := g.mod.Memory()
	d, _ := mem.Read(g.out+i*48, 48)
	src, _ := mem.Read(g.desc+i*48, 48)
	le := binary.LittleEndian
	status := le.Uint32(d[44:])
	o := output{reason: g.reasons[status>>16], route: le.Uint32(d[40:])}
	o.verdict = []string{"modified", "rejected", "dropped", "routed"}[status&0xff]
	if status&0xff == 0 && string(d[16:40]) == string(src[16:40]) {
		o.verdict, o.reason = "passed", "unspecified"
	}
	if le.Uint32(d)&2 == 0 {
		v, _ := mem.Read(le.Uint32(d[24:]), le.Uint32(d[28:]))
		o.value = append([]byte{}, v...)
	}
	h, _ := mem.Read(le.Uint32(d[32:]), le.Uint32(d[36:]))
	o.headers = append([]byte{}, h...)
	return o
}
