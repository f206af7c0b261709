package transforms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// The test binary is its own child, as guardlock is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == TrialCommand {
		if len(os.Environ()) > 0 {
			fmt.Println("it has an environment")
			os.Exit(TrialExit)
		}

		if err := RunTrial(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(TrialExit)
		}
		os.Exit(0)
	}

	if len(os.Args) > 1 && os.Args[1] == WorkerCommand {
		if err := RunWorker(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}

	os.Exit(m.Run())
}

var withTrial = Config{Trial: []string{TrialCommand}}

func TestFileIsCompiledInAChild(t *testing.T) {
	r := newRuntime(t, withTrial)
	m := load(t, r, Spec{Wasm: testdata(t, "upper.wasm"), Grant: Grant{HostFunctions: AllHostFunctions()}})
	batch := values("hello")
	if err := NewChain(m).Run(t.Context(), batch, Origin{}); err != nil {
		t.Fatal(err)
	}
	if got := string(batch.Bytes(batch.Records[0].Value)); got != "HELLO" {
		t.Errorf("got %q", got)
	}

	// The child's code is what runs here.
	entries, err := os.ReadDir(r.codeDir())
	if err != nil || len(entries) == 0 {
		t.Errorf("the child left no compiled code: %v", err)
	}
	if info, err := os.Stat(r.codeDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("compiled code is open to others: %v, %v", info.Mode(), err)
	}
}

func TestChildsGuestMayNeedItsConfiguration(t *testing.T) {
	wants := asmFunc{typ: typAlloc, export: "guardlock_init_v1", code: cat(lget(1), op(0x45))} // refuses an empty one
	load(t, newRuntime(t, withTrial), Spec{Wasm: asm{extra: []asmFunc{wants}}.wasm(), Config: []byte("{}")})
}

// costly is functions with branch tables, each of which the engine keeps apart
// for every entry.
func costly(functions int) []byte {
	table := cat(lget(0), op(opBrTable), u32(4000), make([]byte, 4001))
	block := cat(op(opBlock, 0x40), table, op(opEnd))
	f := asmFunc{typ: typTransform, code: cat(bytes.Repeat(block, 50), i32c(0))}
	return asm{extra: slices.Repeat([]asmFunc{f}, functions)}.wasm()
}

// A file that takes the engine longer, or more memory, than any real one is
// refused, and is tried once. The scan is told here to let it pass, and the
// child's limits are small, so that the test is short.
func TestFileThatIsTooCostlyToCompileIsRefusedOnce(t *testing.T) {
	config := withTrial
	config.Scan = ScanLimits{TableEntries: 1 << 30, ModuleTableEntries: 1 << 30, Values: 1 << 30, ModuleValues: 1 << 30}
	for name, c := range map[string]struct {
		bounds trialBounds
		want   string
	}{
		"Memory": {trialBounds{Memory: 128 << 20, CPU: time.Minute}, "compiling: it takes more than 128 MiB of memory"},
		"CPU":    {trialBounds{Memory: 4 << 30, CPU: time.Second}, "compiling: it takes more than 1s of processor time"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRuntime(t, config)
			r.trialBounds = c.bounds
			file := costly(20)

			for range 2 {
				_, err := r.Compile(t.Context(), file, Limits{})
				if err == nil || err.Error() != c.want {
					t.Fatalf("got %v, want %s", err, c.want)
				}
				// Were it tried again, it would now pass or fail otherwise.
				r.trialBounds.CPU = 0
			}
		})
	}
}

// A caller that goes away says nothing about the file.
func TestTrialThatWasCalledOffIsNotRemembered(t *testing.T) {
	r := newRuntime(t, withTrial)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Load(ctx, Spec{Name: "m", Wasm: asm{}.wasm()}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	load(t, r, Spec{Wasm: asm{}.wasm()})
}

func TestRefusalsAreBounded(t *testing.T) {
	refused := make(refusedFiles)
	for n := range 3 * maxRefusals {
		refused.remember(codeKey{pages: uint32(n)}, errors.New("no"))
	}
	if len(refused) > maxRefusals {
		t.Errorf("%d refusals are kept", len(refused))
	}
}

func BenchmarkTrial(b *testing.B) {
	for _, trial := range [][]string{nil, withTrial.Trial} {
		b.Run(fmt.Sprintf("child=%v", trial != nil), func(b *testing.B) {
			file := testdata(b, "parse.wasm")
			for b.Loop() {
				r := newRuntime(b, Config{Trial: slices.Clone(trial)})
				load(b, r, Spec{Wasm: file})
				if err := r.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
