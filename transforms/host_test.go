package transforms

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/guardlock/guardlock/transforms/envelope"
	"github.com/guardlock/guardlock/transforms/record"
	"github.com/guardlock/guardlock/transforms/wasm"
)

var testSecret = []byte("a secret of enough bytes")

// hostGuest replaces the first record's value by what a host function wrote to
// 1 MiB: function 0, its arguments made by args, its result at 1 MiB - 4. The
// value's length is size, or the result where size is 0.
func hostGuest(name string, typ uint32, args []byte, size int32) asm {
	length := i32c(size)
	if size == 0 {
		length = cat(i32c(hostOut-4), load32(0))
	}

	module, function, _ := strings.Cut(name, ".")
	return asm{imports: [][]byte{importFunc(module, function, typ)}, pages: 64, transform: tampered(
		i32c(hostOut-4), args, call(0), store32(0), setOut(0, descValue, hostOut),
		frameField(frameOutDescs), length, store32(descValue+4))}
}

const (
	hostOut   = 3 << 20
	hostTopic = "customers"
)

// firstValue pushes pointer and length of the first input value.
func firstValue() []byte {
	return cat(frameField(frameInDescs), load32(descValue), frameField(frameInDescs), load32(descValue+4))
}

func runHost(t *testing.T, name string, a asm, value string) ([]byte, error) {
	t.Helper()
	spec := Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: []string{name}, Keys: []Key{{"k0", []byte(strings.Repeat("x", 16))}, {"k1", testSecret}}}}
	b, err := runBothWays(t, spec, func() *record.Batch { return values(value) }, Origin{Topic: hostTopic})
	if err != nil {
		return nil, err
	}
	return b.Bytes(b.Records[0].Value), nil
}

// runHere is runHost in this process alone, for what a worker makes no difference to.
func runHere(t *testing.T, name string, a asm, value string) error {
	t.Helper()
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(),
		Grant: Grant{HostFunctions: []string{name}, Keys: []Key{{"k0", []byte(strings.Repeat("x", 16))}, {"k1", testSecret}}}})
	return NewChain(m).Run(t.Context(), values(value), Origin{Topic: hostTopic})
}

func TestHashingHostFunctions(t *testing.T) {
	got, err := runHost(t, "guardlock_crypto.sha256", hostGuest("guardlock_crypto.sha256", typThree, cat(firstValue(), i32c(hostOut)), 32), "value")
	want := sha256.Sum256([]byte("value"))
	if err != nil || !bytes.Equal(got, want[:]) {
		t.Errorf("sha256: %x, %v", got, err)
	}

	got, err = runHost(t, "guardlock_crypto.hmac_sha256", hostGuest("guardlock_crypto.hmac_sha256", typFour, cat(i32c(1), firstValue(), i32c(hostOut)), 0), "value")
	mac := hmac.New(sha256.New, testSecret)
	mac.Write([]byte("value"))

	if err != nil || !bytes.Equal(got, mac.Sum(nil)) {
		t.Errorf("hmac_sha256: %x, %v", got, err)
	}
}

func sealArgs(key int32) []byte {
	return cat(i32c(key), firstValue(), firstValue(), i32c(hostOut), i32c(1000))
}

func openArgs(key int32) []byte {
	return cat(i32c(key), firstValue(), i32c(0), i32c(0), i32c(hostOut), i32c(1000))
}

func TestSealedValueIsAnEnvelopeForItsTopic(t *testing.T) {
	const name = "guardlock_crypto.aes_gcm_seal"
	seal := func() []byte {
		sealed, err := runHost(t, name, hostGuest(name, typSeal, sealArgs(1), 0), "value")
		if err != nil || len(sealed) != len("value")+envelope.Overhead {
			t.Fatalf("got %d bytes, %v", len(sealed), err)
		}
		return sealed
	}

	key, err := envelope.New(testSecret)
	if err != nil {
		t.Fatal(err)
	}

	sealed := seal()
	if plain, err := key.Open(nil, sealed, hostTopic, []byte("value")); err != nil || string(plain) != "value" {
		t.Errorf("got %q, %v", plain, err)
	}
	if _, err := key.Open(nil, sealed, "another", []byte("value")); err == nil {
		t.Error("it opens for another topic")
	}
	if again := seal(); bytes.Equal(again[9:25], sealed[9:25]) || bytes.Equal(again[25:37], sealed[25:37]) {
		t.Error("two runs share a salt or a nonce")
	}
}

func TestGuestOpensWhatWasSealedForItsTopicAndPurpose(t *testing.T) {
	const name = "guardlock_crypto.aes_gcm_open"
	key, err := envelope.New(testSecret)
	if err != nil {
		t.Fatal(err)
	}

	sealed := func(topic, purpose string) string {
		out, err := key.Seal(nil, []byte("value"), topic, []byte(purpose))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}

	got, err := runHost(t, name, hostGuest(name, typSeal, openArgs(1), 0), sealed(hostTopic, ""))
	if err != nil || string(got) != "value" {
		t.Errorf("got %q, %v", got, err)
	}

	for rule, c := range map[string]struct {
		value string
		args  []byte
		want  int32
	}{
		"AnotherTopic":   {sealed("another", ""), openArgs(1), hostNotOpened},
		"AnotherPurpose": {sealed(hostTopic, "email"), openArgs(1), hostNotOpened},
		"AnotherKey":     {sealed(hostTopic, ""), openArgs(0), hostNotOpened},
		"NotSealed":      {"value", openArgs(1), hostNotOpened},
		"UnknownKey":     {sealed(hostTopic, ""), openArgs(2), hostUnknownKey},
		"TooSmall":       {sealed(hostTopic, ""), cat(i32c(1), firstValue(), i32c(0), i32c(0), i32c(hostOut), i32c(4)), hostTooSmall},
		"OutOfMemory":    {sealed(hostTopic, ""), cat(i32c(1), firstValue(), i32c(0), i32c(0), i32c(-1), i32c(1000)), hostBadArguments},
	} {
		t.Run(rule, func(t *testing.T) {
			if _, err := runHost(t, name, expectResult(name, typSeal, c.args, c.want), c.value); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCompressingHostFunctions(t *testing.T) {
	value := strings.Repeat("compress me, ", 100)
	for name, open := range map[string]func([]byte) ([]byte, error){
		"gzip": func(p []byte) ([]byte, error) {
			r, err := gzip.NewReader(bytes.NewReader(p))
			if err != nil {
				return nil, err
			}
			return io.ReadAll(r)
		},
		"lz4":    func(p []byte) ([]byte, error) { return io.ReadAll(lz4.NewReader(bytes.NewReader(p))) },
		"snappy": func(p []byte) ([]byte, error) { return snappy.Decode(nil, p) },
		"zstd": func(p []byte) ([]byte, error) {
			d, err := zstd.NewReader(bytes.NewReader(p))
			if err != nil {
				return nil, err
			}
			defer d.Close()
			return io.ReadAll(d)
		},
	} {
		name = "guardlock_compress." + name
		packed, err := runHost(t, name, hostGuest(name, typFour, cat(firstValue(), i32c(hostOut), i32c(4096)), 0), value)
		if err != nil || len(packed) >= len(value) {
			t.Errorf("%s: %d bytes, %v", name, len(packed), err)
			continue
		}

		if got, err := open(packed); err != nil || string(got) != value {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// expectResult is a guest that traps unless the host function answers want.
func expectResult(name string, typ uint32, args []byte, want int32) asm {
	module, function, _ := strings.Cut(name, ".")
	return asm{imports: [][]byte{importFunc(module, function, typ)}, pages: 64,
		transform: tampered(args, call(0), i32c(want), op(0x47, opIf, 0x40, opUnreachable, opEnd))}
}

func TestHostFunctionsCheckTheirArguments(t *testing.T) {
	const seal, sha, mac, zst = "guardlock_crypto.aes_gcm_seal", "guardlock_crypto.sha256", "guardlock_crypto.hmac_sha256", "guardlock_compress.zstd"
	for _, c := range []struct {
		rule, name string
		typ        uint32
		args       []byte
		want       int32
	}{
		{"InputOutOfMemory", sha, typThree, cat(i32c(-8), i32c(16), i32c(0)), hostBadArguments},
		{"InputTooLong", sha, typThree, cat(i32c(0), i32c(maxHostBytes+1), i32c(0)), hostBadArguments},
		{"InputLengthNegative", sha, typThree, cat(i32c(0), i32c(-1), i32c(0)), hostBadArguments},
		{"OutputOutOfMemory", sha, typThree, cat(i32c(0), i32c(1), i32c(-4)), hostBadArguments},
		{"UnknownKey", mac, typFour, cat(i32c(2), i32c(0), i32c(1), i32c(0)), hostUnknownKey},
		{"NegativeKey", mac, typFour, cat(i32c(-1), i32c(0), i32c(1), i32c(0)), hostUnknownKey},
		{"UnknownSealKey", seal, typSeal, sealArgs(2), hostUnknownKey},
		{"SealTooSmall", seal, typSeal, cat(i32c(0), i32c(0), i32c(10), i32c(0), i32c(0), i32c(0), i32c(62)), hostTooSmall},
		{"SealInputOutOfMemory", seal, typSeal, cat(i32c(0), i32c(-1), i32c(10), i32c(0), i32c(0), i32c(0), i32c(99)), hostBadArguments},
		{"SealDataOutOfMemory", seal, typSeal, cat(i32c(0), i32c(0), i32c(10), i32c(-1), i32c(5), i32c(0), i32c(99)), hostBadArguments},
		{"SealOutputOutOfMemory", seal, typSeal, cat(i32c(0), i32c(0), i32c(10), i32c(0), i32c(0), i32c(-1), i32c(99)), hostBadArguments},
		{"CompressTooSmall", zst, typFour, cat(i32c(0), i32c(100), i32c(0), i32c(3)), hostTooSmall},
		{"CompressOutputOutOfMemory", zst, typFour, cat(i32c(0), i32c(100), i32c(-1), i32c(-1)), hostBadArguments},
		{"CompressInputTooLong", zst, typFour, cat(i32c(0), i32c(maxHostBytes+1), i32c(0), i32c(3)), hostBadArguments},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if _, err := runHost(t, c.name, expectResult(c.name, c.typ, c.args, c.want), "v"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSecretIsNotInGuestMemory(t *testing.T) {
	const name = "guardlock_crypto.hmac_sha256"
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: hostGuest(name, typFour, cat(i32c(0), firstValue(), i32c(hostOut)), 32).wasm(),
		Grant: Grant{HostFunctions: []string{name}, Keys: []Key{{"k", testSecret}}}})
	if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(m.pool.idle[0].memory(), testSecret) {
		t.Error("the secret is in guest memory")
	}
}

func TestImportOutsideTheGrantIsRefused(t *testing.T) {
	wasm := func(imports ...[]byte) []byte { return asm{imports: imports}.wasm() }
	global := cat(str("env"), str("secret"), op(3, 0x7f, 0))
	for rule, c := range map[string]struct {
		wasm  []byte
		grant []string
		want  string
	}{
		"NotGranted":      {wasm(importFunc("guardlock_crypto", "sha256", typThree)), []string{"guardlock_log.log"}, `the func "guardlock_crypto.sha256" is not granted`},
		"OneOfTwo":        {wasm(importFunc("guardlock_log", "log", typLog), importFunc("guardlock_crypto", "sha256", typThree)), []string{"guardlock_log.log"}, `the func "guardlock_crypto.sha256" is not granted`},
		"WASI":            {wasm(importFunc("wasi_snapshot_preview1", "fd_write", typFour)), nil, `the func "wasi_snapshot_preview1.fd_write" is not granted`},
		"Unknown":         {wasm(importFunc("guardlock_net", "dial", typFour)), nil, `the func "guardlock_net.dial" is not granted`},
		"Yield":           {wasm(importFunc("guardlock_runtime", "yield", typVoid)), nil, `the func "guardlock_runtime.yield" is not granted`},
		"Global":          {asm{others: [][]byte{global}}.wasm(), nil, `the global "env.secret" is not granted`},
		"NotAFunction":    {asm{others: [][]byte{cat(str("guardlock_crypto"), str("sha256"), op(3, 0x7f, 0))}}.wasm(), []string{"guardlock_crypto.sha256"}, `the global "guardlock_crypto.sha256" is not granted`},
		"WrongType":       {wasm(importFunc("guardlock_crypto", "sha256", typFour)), []string{"guardlock_crypto.sha256"}, `is declared as (i32,i32,i32,i32)->i32, but is (i32,i32,i32)->i32`},
		"UnknownInGrant":  {wasm(), []string{"guardlock_net.dial"}, `"guardlock_net.dial" is not a host function`},
		"AbortInTheGrant": {wasm(), []string{"env.abort"}, `"env.abort" is not a host function`},
	} {
		_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "m", Wasm: c.wasm, Grant: Grant{HostFunctions: c.grant}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", rule, err, c.want)
		}
	}
}

// What is granted but not imported is not there either.
func TestEngineHoldsOnlyWhatIsImported(t *testing.T) {
	m := load(t, newRuntime(t, Config{}), Spec{Wasm: asm{imports: [][]byte{importFunc("guardlock_crypto", "sha256", typThree)}}.wasm(),
		Grant: Grant{HostFunctions: AllHostFunctions()}})
	host := m.code.engine.Module("guardlock_crypto")
	if got := len(host.ExportedFunctionDefinitions()); got != 1 {
		t.Errorf("%d functions", got)
	}
	if m.code.engine.Module("guardlock_log") != nil || m.code.engine.Module("guardlock_compress") != nil {
		t.Error("host modules that nothing imports")
	}
}

func TestFunctionImportedTwiceIsOneFunction(t *testing.T) {
	log := importFunc("guardlock_log", "log", typLog)
	load(t, newRuntime(t, Config{}), Spec{Wasm: asm{imports: [][]byte{log, log}}.wasm(), Grant: Grant{HostFunctions: AllHostFunctions()}})
}

func TestHostFunctionsAllocateNothingInSteadyState(t *testing.T) {
	for name, a := range map[string]asm{
		"guardlock_crypto.sha256":       hostGuest("guardlock_crypto.sha256", typThree, cat(firstValue(), i32c(hostOut)), 32),
		"guardlock_crypto.hmac_sha256":  hostGuest("guardlock_crypto.hmac_sha256", typFour, cat(i32c(0), firstValue(), i32c(hostOut)), 32),
		"guardlock_crypto.aes_gcm_seal": hostGuest("guardlock_crypto.aes_gcm_seal", typSeal, sealArgs(0), 0),
		"guardlock_crypto.aes_gcm_open": hostGuest("guardlock_crypto.aes_gcm_open", typSeal, openArgs(0), 1),
		"guardlock_crypto.ff1_encrypt": hostGuest("guardlock_crypto.ff1_encrypt", typNine,
			cat(i32c(0), frameField(frameInDescs), load32(descValue), i32c(5), i32c(26), i32c(0), i32c(0), i32c(0), i32c(0), i32c(hostOut)), 5),
		"guardlock_crypto.tokenise": hostGuest("guardlock_crypto.tokenise", typSeal, sealArgs(0), 30),
		"guardlock_compress.snappy": hostGuest("guardlock_compress.snappy", typFour, cat(firstValue(), i32c(hostOut), i32c(4096)), 0),
		"guardlock_compress.zstd":   hostGuest("guardlock_compress.zstd", typFour, cat(firstValue(), i32c(hostOut), i32c(4096)), 0),
	} {
		m := load(t, newRuntime(t, Config{}), Spec{Wasm: a.wasm(), Grant: Grant{HostFunctions: []string{name}, Keys: []Key{{"k", testSecret}}}})
		c := NewChain(m)
		b := values(strings.Repeat("value ", 40))
		rewind := rewinder(b)

		run := func() {
			rewind()
			if err := c.Run(t.Context(), b, Origin{}); err != nil {
				t.Fatal(err)
			}
		}
		allocs := testing.AllocsPerRun(20, run)
		for again := 0; allocs > 0 && again < 5; again++ {
			allocs = testing.AllocsPerRun(20, run) // the race detector has pools forget, and so has a collection
		}
		if allocs > 0 {
			t.Errorf("%s: %.1f allocations for a batch", name, allocs)
		}
	}
}

func TestShortSecretIsRefused(t *testing.T) {
	_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "m", Wasm: asm{}.wasm(), Grant: Grant{Keys: []Key{{"weak", []byte("hunter2")}}}})
	if err == nil || !strings.Contains(err.Error(), `the secret of key "weak" is shorter than 16 bytes`) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestRegistryIsSortedAndComplete(t *testing.T) {
	want := []string{"guardlock_compress.gunzip", "guardlock_compress.gzip", "guardlock_compress.lz4", "guardlock_compress.snappy",
		"guardlock_compress.unlz4", "guardlock_compress.unsnappy", "guardlock_compress.unzstd", "guardlock_compress.zstd",
		"guardlock_crypto.aes_gcm_open", "guardlock_crypto.aes_gcm_seal", "guardlock_crypto.ff1_decrypt", "guardlock_crypto.ff1_encrypt",
		"guardlock_crypto.hmac_sha256", "guardlock_crypto.sha256", "guardlock_crypto.tokenise",
		"guardlock_json.find", "guardlock_json.replace", "guardlock_log.log", "guardlock_lookup.find", "guardlock_metric.add",
		"guardlock_state.count", "guardlock_state.seen", "guardlock_state.since"}
	for _, name := range []string{"check_abi_version_0", "create_subject_schema", "get_schema_definition", "get_schema_definition_len",
		"get_subject_schema", "get_subject_schema_len"} {
		want = append(want, "redpanda_schema_registry."+name)
	}
	for _, name := range []string{"check_abi_version_1", "check_abi_version_2", "read_batch_header", "read_next_record", "write_record",
		"write_record_with_options"} {
		want = append(want, "redpanda_transform."+name)
	}
	for _, name := range []string{"args_get", "args_sizes_get", "clock_res_get", "clock_time_get", "environ_get", "environ_sizes_get", "fd_close",
		"fd_fdstat_get", "fd_fdstat_set_flags", "fd_prestat_dir_name", "fd_prestat_get", "fd_read", "fd_seek", "fd_write", "poll_oneoff",
		"proc_exit", "random_get", "sched_yield"} {
		want = append(want, "wasi_snapshot_preview1."+name)
	}
	if got := AllHostFunctions(); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if KnownHostFunction("guardlock_crypto.sha512") || !KnownHostFunction("guardlock_log.log") {
		t.Error("KnownHostFunction is wrong")
	}
}

func TestAbortIsATrap(t *testing.T) {
	a := asm{imports: [][]byte{importFunc("env", "abort", typAbort)}, transform: cat(i32c(0), i32c(0), i32c(0), i32c(0), call(0), i32c(0))}
	_, err := runOne(t, a, ample)
	wantKind(t, err, Trap)
	if !errors.Is(err, errAbort) {
		t.Errorf("got %v", err)
	}
}

func TestLogTakesOnlyCatalogueReasons(t *testing.T) {
	var events []LogEvent
	r := newRuntime(t, Config{Log: func(e LogEvent) { events = append(events, e) }})
	say := func(level, reason int32) []byte { return cat(i32c(level), i32c(reason), call(0)) }
	a := asm{reasons: "card.seen", imports: [][]byte{importFunc("guardlock_log", "log", typLog)},
		transform: tampered(say(1, 1), say(2, 0), say(3, 2), say(4, 1), say(-1, 1), say(0, -1))}

	m := load(t, r, Spec{Name: "talker", Wasm: a.wasm(), Grant: Grant{HostFunctions: []string{"guardlock_log.log"}}})
	if err := NewChain(m).Run(t.Context(), values("x"), Origin{}); err != nil {
		t.Fatal(err)
	}

	want := []LogEvent{{Module: "talker", Level: 1, Reason: "card.seen"}, {Module: "talker", Level: 2, Reason: "unspecified"}}
	if !slices.Equal(events, want) {
		t.Errorf("got %v", events)
	}
}

func TestLogIsRateLimitedAndSaysSo(t *testing.T) {
	var g logGate
	now := time.Unix(1_700_000_000, 0)
	passed := 0
	for range 100 {
		if _, ok := g.allow(now); ok {
			passed++
		}
	}

	if passed != logBurst {
		t.Errorf("%d events passed at once", passed)
	}
	suppressed, ok := g.allow(now.Add(logInterval))
	if !ok || suppressed != 100-logBurst {
		t.Errorf("got %v with %d suppressed", ok, suppressed)
	}
	if _, ok := g.allow(now.Add(logInterval)); ok {
		t.Error("two events passed where one was due")
	}
}

func TestConfigurationIsHandedToInit(t *testing.T) {
	check := cat(lget(1), i32c(9), op(0x47, opIf, 0x7f), i32c(7), op(opElse), lget(0), op(0x2d, 0, 0), i32c('{'), op(0x47, opEnd))
	wasm := asm{extra: []asmFunc{{typ: typAlloc, export: wasm.ExportInit, code: check}}}.wasm()
	load(t, newRuntime(t, Config{}), Spec{Wasm: wasm, Config: []byte(`{"a":"b"}`)})
	_, err := newRuntime(t, Config{}).Load(t.Context(), Spec{Name: "m", Wasm: wasm, Config: []byte("[]")})
	wantKind(t, err, GuestFailed)

	if !strings.Contains(err.Error(), "guardlock_init_v1 refused its configuration with code 7") {
		t.Errorf("got %v", err)
	}
}
