package transforms

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// theWorker is the one worker of a module that nobody uses just now.
func theWorker(t *testing.T, m *Module) *worker {
	t.Helper()
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	if len(m.pool.idle) != 1 {
		t.Fatalf("%d workers are idle", len(m.pool.idle))
	}
	return m.pool.idle[0].guest.(*worker)
}

func pid(w *worker) int { return w.process.Process.Pid }

func runOnce(t *testing.T, m *Module) error {
	t.Helper()
	return NewChain(m).Run(t.Context(), values("value"), Origin{})
}

// A worker that is killed in the middle of a batch takes that batch with it, and
// nothing else.
func TestKilledWorkerFailsItsBatchAlone(t *testing.T) {
	r := newRuntime(t, withWorkers)
	endless := asm{transform: cat(frameField(framePartition), op(opIf, 0x40), loopForever(nil), op(opEnd), copyDescs(), count())}
	m := load(t, r, Spec{Wasm: endless.wasm(), Apart: true, Grant: Grant{Limits: Limits{Deadline: time.Hour}}})
	other := load(t, r, Spec{Wasm: asm{}.wasm(), Apart: true})

	first := pid(theWorker(t, m))
	failed := make(chan error)
	go func() { failed <- NewChain(m).Run(t.Context(), values("x"), Origin{Partition: 1}) }()
	waitUntilBusy(t, first)

	if err := runOnce(t, other); err != nil {
		t.Error(err)
	}

	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantKind(t, <-failed, Ended)
	for range 2 {
		if err := errors.Join(runOnce(t, m), runOnce(t, other)); err != nil {
			t.Error(err)
		}
	}

	if pid(theWorker(t, m)) == first {
		t.Error("the worker is still there")
	}
}

// A worker that dies while nobody uses it is not missed.
func TestWorkerThatDiedIdleIsReplaced(t *testing.T) {
	m := load(t, newRuntime(t, withWorkers), Spec{Wasm: asm{}.wasm(), Apart: true})
	w := theWorker(t, m)
	if err := unix.Kill(pid(w), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}

	<-w.gone
	if err := runOnce(t, m); err != nil {
		t.Error(err)
	}
}

// The worker's own clock stops a guest. One that has no clock any more is killed.
func TestWorkerThatDoesNotAnswerIsKilled(t *testing.T) {
	m := load(t, newRuntime(t, withWorkers), Spec{Wasm: asm{}.wasm(), Apart: true, Grant: Grant{Limits: Limits{Deadline: 100 * time.Millisecond}}})
	stopped := pid(theWorker(t, m))
	if err := unix.Kill(stopped, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for processStat(t, stopped)[2] != "T" { // the signal takes effect when the kernel gets to it
	}

	err := runOnce(t, m)
	wantKind(t, err, Timeout)
	if !errors.Is(err, errOverdue) {
		t.Errorf("got %v", err)
	}
	if err := unix.Kill(stopped, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the worker is still there: %v", err)
	}
	if err := runOnce(t, m); err != nil {
		t.Error(err)
	}
}

func TestClosedModuleLeavesNoWorker(t *testing.T) {
	m := load(t, newRuntime(t, withWorkers), Spec{Wasm: asm{}.wasm(), Apart: true})
	left := pid(theWorker(t, m))
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(left, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the worker is still there: %v", err)
	}
}

// waitUntilBusy returns when a process has used some processor time since.
func waitUntilBusy(t *testing.T, pid int) {
	t.Helper()
	used := func() string { return strings.Join(processStat(t, pid)[13:15], " ") }
	for before := used(); used() == before; {
	}
}

// processStat is what the kernel says of a process: state is the third field.
func processStat(t *testing.T, pid int) []string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(stat))
}

// A worker has nothing that a guest could take, were it to escape from the engine.
func TestWorkerHasNothingToTake(t *testing.T) {
	t.Setenv("GUARDLOCK_SECRET", "of the environment")
	secret := make([]byte, 32) // not one of the program's own constants
	rand.Read(secret)

	m := load(t, newRuntime(t, Config{Trial: withTrial.Trial, Worker: withWorkers.Worker}), Spec{Wasm: testdata(t, "upper.wasm"), Apart: true,
		Grant: Grant{Keys: []Key{{"k", secret}}}})
	if err := runOnce(t, m); err != nil {
		t.Fatal(err)
	}

	proc := fmt.Sprintf("/proc/%d/", pid(theWorker(t, m)))

	if environ, err := os.ReadFile(proc + "environ"); err != nil || len(environ) != 0 {
		t.Errorf("environment %q, %v", environ, err)
	}
	if cmdline, err := os.ReadFile(proc + "cmdline"); err != nil || bytes.Contains(cmdline, secret) {
		t.Errorf("arguments %q, %v", cmdline, err)
	}

	// Standard input, output and error, what the runtime's poller needs, and where it
	// reads how many processors there are.
	open, err := filepath.Glob(proc + "fd/*")
	if err != nil {
		t.Fatal(err)
	}

	for _, fd := range open {
		to, err := os.Readlink(fd)
		known := func(prefix string) bool { return strings.HasPrefix(to, prefix) }
		if err != nil || !slices.ContainsFunc([]string{"pipe:", "anon_inode:[event", "/sys/fs/cgroup/"}, known) {
			t.Errorf("descriptor %s is %s, %v", filepath.Base(fd), to, err)
		}
	}

	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}

	// The hard limit of time is seconds behind the soft one, whose signal says what it was.
	for name, want := range map[string]string{"Max core file size": "0 0", "Max open files": "0 0", "Max file size": "0 0", "Max cpu time": "3600 3605"} {
		_, rest, _ := strings.Cut(string(limits), name)
		if f := strings.Fields(rest); len(f) < 2 || f[0]+" "+f[1] != want {
			t.Errorf("%s is not %s: %.40s", name, want, rest)
		}
	}

	if _, rest, _ := strings.Cut(string(limits), "Max address space"); strings.HasPrefix(strings.TrimSpace(rest), "unlimited") {
		t.Error("its address space is not bounded")
	}

	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}

	for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("its status has no %q", want)
		}
	}

	if holds(t, proc, secret) {
		t.Error("the key is in its memory")
	}
	if !holds(t, fmt.Sprintf("/proc/%d/", os.Getpid()), secret) {
		t.Error("the key was not found where it must be: the search is of no use")
	}
}

// An access to memory that somebody made smaller would end the gateway.
func TestSizeOfSharedMemoryIsForGood(t *testing.T) {
	_, file, unmap, err := shareMemory(4 * wasmPage)
	if err != nil {
		t.Fatal(err)
	}
	defer unmap()
	defer file.Close()

	for _, size := range []int64{0, wasmPage, 8 * wasmPage} {
		if err := file.Truncate(size); !errors.Is(err, unix.EPERM) {
			t.Errorf("its size was set to %d: %v", size, err)
		}
	}
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("it was sealed once more: %v", err)
	}
}

// holds reports whether bytes are in the memory of a process that can be
// written to.
func holds(t *testing.T, proc string, want []byte) bool {
	t.Helper()
	maps, err := os.ReadFile(proc + "maps")
	if err != nil {
		t.Fatal(err)
	}

	memory, err := os.Open(proc + "mem")
	if err != nil {
		t.Fatal(err)
	}

	defer memory.Close()

	part := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(rights, "rw") {
			continue
		}

		// A part of it may go away meanwhile, which ends what can be read of it.
		for at, n := int64(from), len(part); n == len(part) && at < int64(to); at += int64(n - len(want)) {
			n, _ = memory.ReadAt(part, at)
			if bytes.Contains(part[:n], want) {
				return true
			}
		}
	}

	return false
}
