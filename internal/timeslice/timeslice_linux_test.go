package timeslice_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/internal/timeslice"
)

func TestEveryThreadHasShortTurnsAndKeepsItsShare(t *testing.T) {
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}

	err = timeslice.Shorten()
	if errors.Is(err, errors.ErrUnsupported) && beforeWishes(t) {
		return // an earlier kernel says so, and goes on as it was
	}
	if err != nil {
		t.Fatal(err)
	}

	// Threads that are made now inherit it.
	var running, end sync.WaitGroup
	end.Add(1)
	defer end.Done()
	for range 8 {
		running.Add(1)
		go func() {
			runtime.LockOSThread()
			running.Done()
			end.Wait()
		}()
	}
	running.Wait()

	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	if len(threads) < 9 {
		t.Fatalf("%d threads; want those of the test", len(threads))
	}

	for _, name := range threads {
		id, err := strconv.Atoi(name.Name())
		if err != nil {
			t.Fatal(err)
		}
		attr, err := unix.SchedGetAttr(id, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if attr.Runtime != uint64(timeslice.Turn.Nanoseconds()) {
			t.Errorf("thread %d has turns of %d ns; want %v", id, attr.Runtime, timeslice.Turn)
		}
		if attr.Policy != before.Policy || attr.Nice != before.Nice {
			t.Errorf("thread %d has policy %d and nice %d; want %d and %d as before", id, attr.Policy, attr.Nice, before.Policy, before.Nice)
		}
	}
}

// beforeWishes says whether the kernel is one of before 6.12, which has no such wish.
func beforeWishes(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}

	parts := strings.SplitN(unix.ByteSliceToString(name.Release[:]), ".", 3)
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		t.Fatalf("the kernel is of version %q", parts)
	}

	return major < 6 || major == 6 && minor < 12
}

// A thread with another policy keeps it: work that takes only idle processors goes on so.
func TestPoliciesStayWhatTheyWere(t *testing.T) {
	const inChild = "TIMESLICE_CHILD"
	if os.Getenv(inChild) == "" { // threads of this process would inherit the policy
		child := exec.Command(os.Args[0], "-test.run", "^TestPoliciesStayWhatTheyWere$", "-test.v")
		child.Env = append(os.Environ(), inChild+"=1")
		out, err := child.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}

	runtime.LockOSThread()
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
		t.Fatal(err)
	}
	if err := timeslice.Shorten(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}

	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if attr.Policy != unix.SCHED_IDLE {
		t.Errorf("the policy is %d; want SCHED_IDLE", attr.Policy)
	}
}
