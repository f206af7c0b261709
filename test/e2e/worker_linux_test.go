package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/transforms"
)

// apart is a gateway with one module on two topics: on "in" its guests have
// processes of their own, on "near" they do not.
func apart(t *testing.T) *world {
	t.Helper()
	far := bind("in", "judge")
	far.Isolation = admission.Apart

	return newWorld(t, setup{topics: map[string]int32{"in": 1, "near": 1, "quarantine": 1},
		modules:  []module{judgeModule("in", "near")},
		bindings: []admission.Rule{far, bind("near", "judge")}})
}

// workers are the processes that guests of this gateway run in.
func workers(t *testing.T) []int {
	t.Helper()
	var all []int
	for _, dir := range must(filepath.Glob("/proc/[0-9]*"))(t) {
		arguments, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.HasSuffix(string(arguments), "\x00"+transforms.WorkerCommand+"\x00") {
			continue // it is none, or is gone
		}
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil || !strings.Contains(string(status), fmt.Sprintf("PPid:\t%d\n", os.Getpid())) {
			continue
		}

		var pid int
		must(fmt.Sscan(filepath.Base(dir), &pid))(t)
		all = append(all, pid)
	}
	return all
}

func TestGuestsApartDoWhatTheyDoHere(t *testing.T) {
	w := apart(t)
	c := dial(t, w.addr())
	if n := len(workers(t)); n != 1 {
		t.Fatalf("%d workers", n)
	}

	w.taken(w.produce(c, "in", "pass", "drop", "quarantine"), 0)
	w.taken(w.produce(c, "near", "pass", "drop", "quarantine"), 0)
	equal(t, "records apart", values(w.stored("in", 0)), values(w.stored("near", 0)))
	for _, c := range []struct {
		value string
		want  refusal
	}{
		{"trap", refusal{codeUnknown, "trap", "trap", nil}},
		{"loop", refusal{codeTimedOut, "timeout", "timeout", nil}},
	} {
		w.refused(w.produce(dial(t, w.addr()), "in", c.value), c.want)
		w.refused(w.produce(dial(t, w.addr()), "near", c.value), c.want)
	}
	w.taken(w.produce(c, "in", "next"), 3)
}

// A worker that is killed while it has a batch takes that batch with it: it is
// refused, with its decision, and stored when it is sent again. Nobody else
// notices.
func TestKilledWorkerLosesNoRecordAndNoDecision(t *testing.T) {
	w := apart(t)
	c := dial(t, w.addr())
	worker := workers(t)[0]
	if err := unix.Kill(worker, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	answered := make(chan kmsgPartition)
	go func() { answered <- w.produce(c, "in", "pass") }()
	waitForCall(t, worker)
	w.taken(w.produce(dial(t, w.addr()), "near", "meanwhile"), 0)
	if err := unix.Kill(worker, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}

	w.refused(<-answered, refusal{codeTimedOut, "unavailable", "worker_ended", nil})
	w.holdsNothing("in")
	mustSend(t, client(t, w.addr()), "in", 0, "pass")
	w.decided("in", 0, 0, "passed", "")

	now := workers(t)
	if len(now) != 1 || now[0] == worker {
		t.Errorf("the workers are %v, and %d was killed", now, worker)
	}
	w.stop()
	if err := errors.Join(w.set.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if left := workers(t); len(left) != 0 {
		t.Errorf("the workers %v are left", left)
	}
}

// waitForCall returns when something lies in the pipe to a process that is stopped.
func waitForCall(t *testing.T, pid int) {
	t.Helper()
	pipe := must(os.Open(fmt.Sprintf("/proc/%d/fd/0", pid)))(t)
	defer pipe.Close()
	for {
		if n := must(unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ))(t); n > 0 {
			return
		}
	}
}
