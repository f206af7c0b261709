package transforms

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/guardlock/guardlock/transforms/ff1"
	"github.com/guardlock/guardlock/transforms/wasm"
)

// What host functions answer when they cannot do what was asked. All of them
// are negative, where a length is not.
const (
	hostBadArguments = -1 // out of bounds, or longer than maxHostBytes
	hostTooSmall     = -2 // the output does not fit
	hostUnknownKey   = -3
	hostFailed       = -5 // -4 was an answer of earlier versions
	hostNotOpened    = -6 // a sealed value that is not of this key, topic and purpose
	hostSmallDomain  = -7 // too few values for FF1
	hostNotFound     = -8 // no such row of a table; a key that was not seen
	hostStale        = -9 // a table that is older than it may be
)

// maxHostParams is how many parameters a host function can have.
const maxHostParams = 10

// maxHostBytes bounds what one call of a host function may be given, so that
// none runs long past the deadline.
const maxHostBytes = 1 << 20

// A call of a host function counts whatever comes of it. The clock is looked at
// when a slice of them is used up, which takes less than a millisecond: compression
// is the slowest, at some 20 ns a byte.
const (
	hostCallCost = 256 // bytes
	hostSlice    = 32 << 10
)

// hostFunction is one function that a grant may hold, with its type and what it
// does.
type hostFunction struct {
	module, name    string
	params, results string // a letter each: i is i32, I is i64
	call            func(*instance, []uint64) int32
}

func hostFunctions() []hostFunction {
	return slices.Concat([]hostFunction{
		{"guardlock_compress", "gunzip", "iiii", "i", hostDecompress(gunzipBytes)},
		{"guardlock_compress", "gzip", "iiii", "i", hostCompress(gzipBytes)},
		{"guardlock_compress", "lz4", "iiii", "i", hostCompress(lz4Bytes)},
		{"guardlock_compress", "snappy", "iiii", "i", hostCompress(snappyBytes)},
		{"guardlock_compress", "unlz4", "iiii", "i", hostDecompress(unlz4Bytes)},
		{"guardlock_compress", "unsnappy", "iiii", "i", hostDecompress(unsnappyBytes)},
		{"guardlock_compress", "unzstd", "iiii", "i", hostDecompress(unzstdBytes)},
		{"guardlock_compress", "zstd", "iiii", "i", hostCompress(zstdBytes)},
		{"guardlock_crypto", "aes_gcm_open", "iiiiiii", "i", hostOpen},
		{"guardlock_crypto", "aes_gcm_seal", "iiiiiii", "i", hostSeal},
		{"guardlock_crypto", "ff1_decrypt", "iiiiiiiii", "i", hostFF1((*ff1.Cipher).Decrypt)},
		{"guardlock_crypto", "ff1_encrypt", "iiiiiiiii", "i", hostFF1((*ff1.Cipher).Encrypt)},
		{"guardlock_crypto", "hmac_sha256", "iiii", "i", hostHMAC},
		{"guardlock_crypto", "sha256", "iii", "i", hostSHA256},
		{"guardlock_crypto", "tokenise", "iiiiiii", "i", hostTokenise},
		{"guardlock_json", "find", "iiiiii", "i", hostJSONFind},
		{"guardlock_json", "replace", "iiiiiiii", "i", hostJSONReplace},
		{"guardlock_log", "log", "ii", "", hostLog},
		{lookupModule, "find", "iiiiiiii", "i", hostFind},
		{"guardlock_metric", "add", "ii", "", hostMetric},
		{"guardlock_state", "count", "iiii", "i", hostCount},
		{"guardlock_state", "seen", "iii", "i", hostSeen},
		{"guardlock_state", "since", "i", "i", hostSince},
	}, redpandaFunctions(), wasiFunctions())
}

// alwaysGranted are the imports that need no grant: AssemblyScript's abort
// takes four numbers and never returns.
func alwaysGranted() []hostFunction {
	return []hostFunction{{"env", "abort", "iiii", "", func(i *instance, _ []uint64) int32 {
		i.stop(errAbort)
		return 0
	}}}
}

// AllHostFunctions returns the names that a grant may hold, sorted, as
// approvals spell them.
func AllHostFunctions() []string {
	var names []string
	for _, f := range hostFunctions() {
		names = append(names, f.module+"."+f.name)
	}
	return names
}

// KnownHostFunction reports whether a grant may hold name. Whether one does is
// for the caller to look at.
func KnownHostFunction(name string) bool {
	return slices.Contains(AllHostFunctions(), name)
}

// signature is the function's type as Info spells it, so that an import can be
// compared with it.
func (f hostFunction) signature() string {
	words := func(types string) string {
		all := make([]string, len(types))
		for n, t := range types {
			all[n] = api.ValueTypeName(valueType(t))
		}
		return strings.Join(all, ",")
	}

	result := "()"
	if f.results != "" {
		result = words(f.results)
	}
	return "(" + words(f.params) + ")->" + result
}

func valueType(letter rune) api.ValueType {
	if letter == 'I' {
		return api.ValueTypeI64
	}
	return api.ValueTypeI32
}

// Call implements api.GoModuleFunction. The context is the instance that calls,
// which saves a look-up and an allocation.
func (f hostFunction) Call(ctx context.Context, _ api.Module, stack []uint64) {
	i := ctx.(*instance)
	i.charged += hostCallCost
	if i.charged > hostSlice {
		i.charged = 0
		i.checkTime()
	}

	if r := f.call(i, stack); f.results != "" {
		stack[0] = api.EncodeI32(r)
	}
}

// yield is the rewriter's way out of guest code, where the host looks at the
// clock.
type yield struct{}

// Call implements api.GoModuleFunction.
func (yield) Call(ctx context.Context, _ api.Module, stack []uint64) {
	i := ctx.(*instance)
	if uint32(stack[0]) == wasm.YieldStack {
		i.stop(errStackBudget)
	}
	i.yields++
	i.module.usage.spent()
	i.charged = 0
	i.checkTime()
}

// granted returns the functions behind a module's imports, or an error that
// names the first import that the grant does not hold.
func granted(info wasm.Info, grant Grant) ([]hostFunction, error) {
	for _, name := range grant.HostFunctions {
		if !KnownHostFunction(name) {
			return nil, fmt.Errorf("checking grant: %q is not a host function", name)
		}
	}

	return imported(info, func(name string) bool { return slices.Contains(grant.HostFunctions, name) })
}

// imported returns the functions behind a module's imports, each of which must
// be a host function and allowed.
func imported(info wasm.Info, allowed func(name string) bool) ([]hostFunction, error) {
	known := hostFunctions()
	var functions []hostFunction

	for _, im := range info.Imports {
		f, ok := find(alwaysGranted(), im)
		if !ok && allowed(im.String()) {
			f, ok = find(known, im)
		}

		switch {
		case !ok || im.Kind != "func":
			return nil, fmt.Errorf("checking imports: the %s %q is not granted", im.Kind, im)
		case im.Type != f.signature():
			return nil, fmt.Errorf("checking imports: %q is declared as %s, but is %s", im, im.Type, f.signature())
		}

		if _, twice := find(functions, im); !twice {
			functions = append(functions, f)
		}
	}

	return functions, nil
}

func find(functions []hostFunction, im wasm.Import) (hostFunction, bool) {
	for _, f := range functions {
		if f.module == im.Module && f.name == im.Name {
			return f, true
		}
	}
	return hostFunction{}, false
}

// instantiateHost gives the runtime the granted functions and yield, and
// nothing else: an import of anything else fails.
func instantiateHost(ctx context.Context, engine wazero.Runtime, functions []hostFunction) error {
	builders := map[string]wazero.HostModuleBuilder{wasm.YieldModule: engine.NewHostModuleBuilder(wasm.YieldModule)}
	builders[wasm.YieldModule].NewFunctionBuilder().
		WithGoModuleFunction(yield{}, []api.ValueType{api.ValueTypeI32}, nil).Export(wasm.YieldName)
	for _, f := range functions {
		if builders[f.module] == nil {
			builders[f.module] = engine.NewHostModuleBuilder(f.module)
		}
		builders[f.module].NewFunctionBuilder().
			WithGoModuleFunction(f, valueTypes(f.params), valueTypes(f.results)).Export(f.name)
	}

	for name, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("instantiating host module %s: %w", name, err)
		}
	}

	return nil
}

func valueTypes(letters string) []api.ValueType {
	all := make([]api.ValueType, len(letters))
	for n, t := range letters {
		all[n] = valueType(t)
	}
	return all
}

// input is the guest's view ptr, len: valid until guest code runs again.
func (i *instance) input(ptr, length uint64) ([]byte, bool) {
	if uint32(length) > maxHostBytes {
		return nil, false
	}

	i.charged += int(uint32(length))
	data, ok := i.mem.Read(uint32(ptr), uint32(length))
	if i.module.apart { // a worker could change it under our hands
		begin := len(i.given)
		i.given = append(i.given, data...)
		data = i.given[begin:]
	}

	return data, ok
}

// stop ends the running call. The engine turns the panic into the call's error.
func (i *instance) stop(cause error) {
	i.reason = cause
	panic(cause)
}
