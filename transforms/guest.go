package transforms

import (
	"context"
	"fmt"
	"runtime"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/guardlock/guardlock/transforms/wasm"
)

// guest is a running module as its instance sees it: one in this process, or one in
// a worker.
type guest interface {
	export(name string) callable // nil where it has none
	memory() memory
	close(ctx context.Context)
	dead() bool // it cannot be used any more
	worn() bool // it is to be replaced when its batch is done

	// A host function that the guest called is about to wait for the next batch, or
	// goes on with it under the limits that were armed meanwhile.
	rest(i *instance)
	resume(i *instance)
	abandon() // what it waits for will not come
}

// callable is an export of a guest.
type callable interface {
	// call runs it within the time of the instance's clock. Why the host stopped it
	// is in the instance; other errors are the engine's.
	call(i *instance, stack []uint64) error
}

// memory is a guest's linear memory. Every access is checked against its length,
// and views are valid until guest code runs again.
type memory interface {
	Size() uint32
	Read(at, n uint32) ([]byte, bool)
	ReadUint32Le(at uint32) (uint32, bool)
	Write(at uint32, p []byte) bool
	WriteUint32Le(at, v uint32) bool
	WriteUint64Le(at uint32, v uint64) bool
}

// localGuest runs in this process.
type localGuest struct{ api.Module }

// instantiate makes a guest in this process, with the memory that i.linear reserves.
func (i *instance) instantiate(ctx context.Context) (guest, error) {
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	code := i.module.code
	made, err := code.engine.InstantiateModule(inMemory(ctx, &i.linear), code.compiled, config)
	if err != nil {
		i.linear.Free()
		return nil, &Error{Memory, i.module.name, fmt.Errorf("instantiating: %w", trapText(err))}
	}

	return localGuest{made}, nil
}

func (g localGuest) export(name string) callable {
	f := g.ExportedFunction(name)
	if f == nil {
		return nil
	}
	return localFunction{f}
}

func (g localGuest) memory() memory { return g.ExportedMemory(wasm.ExportMemory) }

// close gives the memory back. The error is of no use: the guest is gone either way.
func (g localGuest) close(ctx context.Context) { _ = g.Close(context.WithoutCancel(ctx)) }

func (g localGuest) dead() bool { return false }

func (g localGuest) worn() bool { return false }

// localFunction has a stack of its own: it is fetched once.
type localFunction struct{ engine api.Function }

func (f localFunction) call(i *instance, stack []uint64) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	i.clock.startCall()
	defer i.clock.endCall()
	return f.engine.CallWithStack(i, stack)
}
