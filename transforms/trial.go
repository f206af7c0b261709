package transforms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/guardlock/guardlock/internal/child"
)

// A file is compiled, and started for the first time, in a child process that is
// thrown away: the scan bounds what makes the engine costly, but the engine is
// large, and what the scan does not foresee must not take the gateway's memory
// and processors. The child has no environment, its memory and processor time are
// limited by the kernel, and what it compiled comes back by a file, so that the
// gateway does not compile again.
const (
	// trialMemory is what the child may take of address space beyond what a Go
	// program has when it starts. The largest of real modules, of 16 MiB, take a
	// third of it.
	trialMemory = 1 << 30
	// trialCPU is the processor time that it may take. It is not the time that
	// passes: on a busy machine an honest module takes longer, and is not refused.
	trialCPU = 30 * time.Second
	// trialWait ends a child that hangs without using its processor time.
	trialWait = 15 * time.Minute
	// trialNice lets records go before reloads.
	trialNice = 10

	maxRefusals = 1024

	// TrialCommand is the hidden command of this program that calls RunTrial.
	TrialCommand = "__compile"

	// TrialExit is the exit code of a process in which RunTrial failed. It tells
	// a refusal from a crash.
	TrialExit = 9
)

// trialRequest is what the child reads, in front of the file.
type trialRequest struct {
	Dir    string // where compiled code goes; empty for nowhere
	Limits Limits
	Scan   ScanLimits
	Size   int // of the file, which follows
	Bounds trialBounds
}

// trialBounds are what the child may take.
type trialBounds struct {
	Memory uint64
	CPU    time.Duration // whole seconds
}

var defaultTrialBounds = trialBounds{Memory: trialMemory, CPU: trialCPU}

// refusedFiles remembers files that were refused after a trial: they would be refused
// again at the same cost.
type refusedFiles map[codeKey]error

func (r refusedFiles) remember(key codeKey, err error) {
	if len(r) >= maxRefusals {
		for forgotten := range r {
			delete(r, forgotten)
			break
		}
	}
	r[key] = err
}

// refused is what an earlier trial of the same file ended with, or nil.
func (r *Runtime) refused(key codeKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refusals[key]
}

// try compiles and starts the file in a child. A nil error means that it may be
// compiled here.
func (r *Runtime) try(ctx context.Context, file []byte, key codeKey) error {
	if len(r.config.Trial) == 0 {
		return nil
	}
	if err := r.refused(key); err != nil {
		return err
	}

	err := r.trial(ctx, file, key)
	if final, ok := errors.AsType[*trialError](err); ok {
		r.mu.Lock()
		r.refusals.remember(key, final)
		r.mu.Unlock()
	}

	return err
}

// trialError says that the file is at fault, and not the machine.
type trialError struct{ reason string }

func (e *trialError) Error() string { return "compiling: " + e.reason }

// trial has a child compile the file under limits, as this process would. A
// trialError says that the file is at fault.
func (r *Runtime) trial(ctx context.Context, file []byte, key codeKey) error {
	ctx, cancel := context.WithTimeout(ctx, trialWait)
	defer cancel()

	request, err := r.trialRequest(file, key, r.trialBounds)
	if err != nil {
		return fmt.Errorf("compiling: %w", err)
	}

	cmd, err := child.Command(ctx, r.config.Trial...)
	if err != nil {
		return fmt.Errorf("compiling: %w", err)
	}

	var said child.Words
	cmd.Stdin = request
	cmd.Stdout = &said
	cmd.Stderr = &said

	process, err := child.Start(cmd)
	if err != nil {
		return fmt.Errorf("compiling: %w", err)
	}
	if err := process.Wait(); err != nil {
		return r.trialBounds.verdict(ctx, process, &said)
	}

	return nil
}

// trialRequest is what a child is sent to compile a file.
func (r *Runtime) trialRequest(file []byte, key codeKey, bounds trialBounds) (io.Reader, error) {
	request, err := json.Marshal(trialRequest{
		Dir:    r.codeDir(),
		Limits: Limits{MemoryBytes: key.pages * wasmPage, StackBytes: key.stackBytes},
		Scan:   r.config.Scan,
		Size:   len(file),
		Bounds: trialBounds{bounds.Memory + uint64(mostPages(key.pages))*wasmPage, bounds.CPU},
	})
	if err != nil {
		return nil, err
	}

	return io.MultiReader(bytes.NewReader(append(request, '\n')), bytes.NewReader(file)), nil
}

// verdict tells what a child that failed says about the file.
func (b trialBounds) verdict(ctx context.Context, process *child.Process, said *child.Words) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("compiling: %w", ctx.Err())
	case process.ProcessState.ExitCode() == TrialExit:
		return &trialError{said.First()}
	case process.OutOfTime():
		return &trialError{fmt.Sprintf("it takes more than %s of processor time", b.CPU)}
	case said.OutOfMemory():
		return &trialError{fmt.Sprintf("it takes more than %d MiB of memory", b.Memory>>20)}
	case process.Killed():
		return errors.New("compiling: the child was killed")
	}

	return &trialError{"the engine failed"}
}

// RunTrial is the whole of the hidden command that a Runtime starts its own
// program with (Config.Trial). It owns the process, whose limits it sets. On an
// error, which is written to stdout, the exit code must be TrialExit.
func RunTrial(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	err := runTrial(ctx, stdin)
	if err != nil {
		fmt.Fprintln(stdout, err)
	}

	return err
}

// runTrial does what the request on stdin asks for.
func runTrial(ctx context.Context, stdin io.Reader) error {
	request, file, err := readTrialRequest(stdin)
	if err != nil {
		return err
	}
	if err := child.GiveWay(trialNice); err != nil {
		return err
	}

	return request.run(ctx, file)
}

// readTrialRequest reads the request and then the file, and sets the limits in
// between, before anything of the file is looked at.
func readTrialRequest(stdin io.Reader) (request trialRequest, file []byte, err error) {
	in := json.NewDecoder(io.LimitReader(stdin, 1<<30))
	if err := in.Decode(&request); err != nil {
		return request, nil, fmt.Errorf("reading the request: %w", err)
	}
	if err := request.Bounds.apply(); err != nil {
		return request, nil, fmt.Errorf("setting limits: %w", err)
	}

	rest := io.MultiReader(in.Buffered(), stdin)
	if _, err := io.ReadFull(rest, make([]byte, 1)); err != nil { // the line's end
		return request, nil, fmt.Errorf("reading the request: %w", err)
	}

	file = make([]byte, request.Size)
	if _, err := io.ReadFull(rest, file); err != nil {
		return request, nil, fmt.Errorf("reading the file: %w", err)
	}

	return request, file, nil
}

// run compiles the file as the parent would, and starts it once with all that
// it imports.
func (q trialRequest) run(ctx context.Context, file []byte) error {
	code, err := q.compile(ctx, file, Config{Scan: q.Scan})
	if err != nil {
		return err
	}

	m, err := code.Load(ctx, Spec{Name: "trial", Grant: Grant{HostFunctions: code.grantable(), Limits: q.Limits}})
	if failed, ok := errors.AsType[*Error](err); ok && failed.Kind != Closed {
		return nil // the guest's own error: without its configuration it may have to fail
	}
	if err != nil {
		return err
	}

	return m.Close(ctx)
}

// compile compiles the file, or takes the code from the folder.
func (q trialRequest) compile(ctx context.Context, file []byte, config Config) (*Code, error) {
	r, err := New(config)
	if err != nil {
		return nil, err
	}

	if q.Dir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(q.Dir)
		if err != nil {
			return nil, fmt.Errorf("opening the folder of compiled code: %w", err)
		}
		r.cache = cache
	}

	return r.Compile(ctx, file, q.Limits)
}

// grantable are the names of the imports that a grant must hold.
func (c *Code) grantable() []string {
	var names []string
	for _, f := range c.functions {
		if name := f.module + "." + f.name; KnownHostFunction(name) {
			names = append(names, name)
		}
	}

	return names
}

// apply bounds this process.
func (b trialBounds) apply() error {
	return child.Bounds{Reserved: b.Memory, CPU: b.CPU}.Apply()
}
