package policy

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/guardlock/guardlock/internal/problem"
)

// The test binary is its own worker, as guardlock is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == WorkerCommand {
		if err := RunWorker(context.Background(), os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func workers() Options {
	return Options{Worker: []string{WorkerCommand}, Timeout: 200 * time.Millisecond}
}

// bombs are policies whose decision takes memory or time without bound, each by
// what it does it with. In the gateway's own process the first ended it.
var bombs = map[string]string{
	"a shift":                   `x := bits.lsh(1, 400000000000)`,
	"a tower of products":       "a0 := 123456789123456789\n" + tower(40, "a%1 := a%0 * a%0") + "x := a40",
	"numbers.range":             `x := count([k | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); k := i * j])`,
	"a long numbers.range":      `x := count(numbers.range(1, 1000000000000))`,
	"a tower of replace":        `s0 := "aaaaaaaa"` + "\n" + tower(40, `s%1 := replace(s%0, "a", "aa")`) + "x := count(s40)",
	"a tower of concat":         `s0 := "aaaaaaaa"` + "\n" + tower(40, `s%1 := concat("", [s%0, s%0])`) + "x := count(s40)",
	"a tower of arrays":         `l0 := [1, 2]` + "\n" + tower(40, `l%1 := array.concat(l%0, l%0)`) + "x := count(l40)",
	"a tower of sprintf":        `s0 := "aaaaaaaa"` + "\n" + tower(40, `s%1 := sprintf("%v%v", [s%0, s%0])`) + "x := count(s40)",
	"net.cidr_expand":           `x := count(net.cidr_expand("10.0.0.0/1"))`,
	"a tower of base64":         `s0 := "aaaaaaaa"` + "\n" + tower(120, `s%1 := base64.encode(s%0)`) + "x := count(s120)",
	"a power set of arrays":     `x := count({[a, b, c, d] | some a in numbers.range(1, 400); some b in numbers.range(1, 400); some c in numbers.range(1, 400); some d in numbers.range(1, 400)})`,
	"a text of a large number":  `x := count(sprintf("%d", [bits.lsh(1, 2000000000)]))`,
	"a large number as JSON":    `x := count(json.marshal(bits.lsh(1, 1000000000)))`,
	"loops in loops":            `x := count([1 | some i in numbers.range(1, 5000); some j in numbers.range(1, 5000); some k in numbers.range(1, 5000); i + j == k])`,
	"a large format_int":        `x := count(format_int(bits.lsh(1, 1000000000), 2))`,
	"a reader of great numbers": `x := to_number(concat("", [s | some _ in numbers.range(1, 10000000); s := "9"]))`,
}

// tower writes line n times, with %0 and %1 for a number and the next.
func tower(n int, line string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.NewReplacer("%0", itoa(i), "%1", itoa(i+1)).Replace(line) + "\n")
	}
	return b.String()
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}

func bomb(body string) fs.FS {
	return policyOf(body + "\n\n" + strings.Replace(allowing, `"allow": true`, `"allow": x == 0`, 1))
}

func TestAPolicyCannotEndOrStallTheProcess(t *testing.T) {
	for name, body := range bombs {
		t.Run(name, func(t *testing.T) {
			e, err := LoadWith(t.Context(), bomb(body), workers())
			if err != nil {
				t.Fatal(err)
			}

			d, err := e.Decide(t.Context(), request())
			if d.Allow || !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrMemory) {
				t.Errorf("got %+v, %v", d, err)
			}
			if errors.Is(err, ErrUnavailable) {
				t.Errorf("what the policy did is taken for the machine's fault: %v", err)
			}
		})
	}
}

func TestCheckingAndTestingAPolicyThatHasNoBounds(t *testing.T) {
	fsys := bomb(bombs["a shift"]).(fstest.MapFS)
	found, err := Check(t.Context(), fsys, workers())
	if err != nil || len(found) != 1 || !strings.Contains(found[0].Message, ErrMemory.Error()) {
		t.Errorf("check: got %v, %v", found, err)
	}

	fsys["m_test.rego"] = &fstest.MapFile{Data: []byte("package m_test\n\ntest_it if data.guardlock.module.decision.allow\n")}
	if r, err := Test(t.Context(), fsys, workers()); !errors.Is(err, ErrMemory) {
		t.Errorf("test: got %+v, %v", r, err)
	}
}

// A policy whose text alone is too much for the compiler is a problem too.
func TestCompilingIsBounded(t *testing.T) {
	deep := policyOf("x := " + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + "\n\n" + allowing)
	if _, err := LoadWith(t.Context(), deep, workers()); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if found, err := Check(t.Context(), deep, workers()); err != nil || len(found) == 0 {
		t.Errorf("got %v, %v", found, err)
	}
}

// What is undefined in a child is undefined, and not a decision of the wrong form.
func TestAnUndefinedDecisionIsUndefinedInAChildToo(t *testing.T) {
	e, err := LoadWith(t.Context(), policyOf(`decision := true if input.nothing`), workers())
	if err != nil {
		t.Fatal(err)
	}
	if d, err := e.Decide(t.Context(), request()); d.Allow || !errors.Is(err, ErrUndefined) {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestAWorkerDecidesAsThisProcessDoes(t *testing.T) {
	changed := fstest.MapFS{"extra.rego": {Data: []byte("package extra\n")}}
	names, err := fs.Glob(Default(), "*.*")
	if err != nil || len(names) < 6 {
		t.Fatal(names, err)
	}

	for _, name := range names {
		raw, err := fs.ReadFile(Default(), name)
		if err != nil {
			t.Fatal(err)
		}
		changed[name] = &fstest.MapFile{Data: raw}
	}

	e, err := LoadWith(t.Context(), changed, workers())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := e.evaluator.(*worker); !ok {
		t.Fatalf("evaluated by %T", e.evaluator)
	}

	here := mustLoad(t, changed)
	few := request()
	few.Module.Approvers = []string{"bob@example.com"}

	for _, in := range []Input{request(), few} {
		got, err1 := e.Decide(t.Context(), in)
		want, err2 := here.Decide(t.Context(), in)
		if err1 != nil || err2 != nil || got.Allow != want.Allow || len(got.Why) != len(want.Why) || got.Limits != want.Limits {
			t.Errorf("got %+v, %v; want %+v, %v", got, err1, want, err2)
		}

		for i := range got.Why {
			if got.Why[i] != want.Why[i] || got.Why[i].Title == "" {
				t.Errorf("got %+v, want %+v", got.Why[i], want.Why[i])
			}
		}
	}

	report, err := Test(t.Context(), changed, workers())
	if err != nil || !report.Passed() || report.Coverage < 90 {
		t.Errorf("got %+v, %v", report, err)
	}
}

// What data takes when it is parsed is many times its size; it is parsed in the
// worker.
func TestDataThatIsLargeWhenParsedEndsNothing(t *testing.T) {
	fsys := policyOf(allowing).(fstest.MapFS)
	var laughs strings.Builder
	laughs.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")

	for i := range 20 {
		laughs.WriteString(strings.NewReplacer("%0", itoa(i), "%1", itoa(i+1)).Replace("a%1: &a%1 [*a%0, *a%0, *a%0, *a%0, *a%0, *a%0, *a%0, *a%0, *a%0]\n"))
	}
	fsys["laughs/data.yaml"] = &fstest.MapFile{Data: []byte(laughs.String())}
	if _, err := LoadWith(t.Context(), fsys, workers()); err == nil || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if found, err := Check(t.Context(), fsys, workers()); err != nil || len(found) == 0 {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestProblemsOfAPolicyComeBackFromAWorker(t *testing.T) {
	broken := policyOf("x := http.send({})\n\n" + allowing)
	var found problem.List
	if _, err := LoadWith(t.Context(), broken, workers()); !errors.As(err, &found) || found[0].File != "m.rego" || found[0].Line != 3 {
		t.Errorf("got %v", err)
	}
}

// After a policy has ended its worker, and after a worker was ended from outside,
// the next question gets another.
func TestAWorkerIsReplaced(t *testing.T) {
	e, err := LoadWith(t.Context(), policyOf(strings.Replace(allowing, `"allow": true`, `"allow": bits.lsh(1, count(input.module.name) * 100000000000) > 0`, 1)), workers())
	if err != nil {
		t.Fatal(err)
	}

	small := request()
	small.Module.Name = ""
	for range 2 {
		if _, err := e.Decide(t.Context(), request()); !errors.Is(err, ErrMemory) {
			t.Fatalf("got %v", err)
		}
		if d, err := e.Decide(t.Context(), small); err != nil || !d.Allow {
			t.Fatalf("after a worker's end: %+v, %v", d, err)
		}
	}

	w := e.evaluator.(*worker)
	<-w.turn
	killed := w.child
	w.turn <- struct{}{}

	if err := killed.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	if _, err := e.Decide(t.Context(), small); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of a worker that was killed: %v", err)
	}
	if d, err := e.Decide(t.Context(), small); err != nil || !d.Allow {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestWhoGivesUpWaitingIsToldThatNobodyWasAsked(t *testing.T) {
	e, err := LoadWith(t.Context(), bomb(bombs["loops in loops"]), Options{Worker: []string{WorkerCommand}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := e.Decide(ctx, request()); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestManyAskOneWorker(t *testing.T) {
	e, err := LoadWith(t.Context(), policyOf(allowing), workers())
	if err != nil {
		t.Fatal(err)
	}

	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for range 50 {
				if d, err := e.Decide(t.Context(), request()); err != nil || !d.Allow {
					t.Errorf("got %+v, %v", d, err)
					return
				}
			}
		})
	}

	asking.Wait()
}

// A worker ends with whoever started it, even while a policy keeps it busy.
func TestAWorkerEndsWithItsStandardInput(t *testing.T) {
	src, err := readSource(bomb(bombs["loops in loops"]), Options{})
	if err != nil {
		t.Fatal(err)
	}

	c, err := startChild([]string{WorkerCommand})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ask(t.Context(), order{Source: src, CPU: compileTime}); err != nil {
		t.Fatal(err)
	}

	input, err := MarshalInput(request())
	if err != nil {
		t.Fatal(err)
	}
	if err := writeMessage(c.stdin, order{Question: &question{Input: input}, CPU: time.Hour}, maxRequestBytes); err != nil {
		t.Fatal(err)
	}
	if err := c.stdin.Close(); err != nil {
		t.Fatal(err)
	}

	var exit *exec.ExitError
	if err := c.process.Wait(); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
}

func BenchmarkDecideInAWorker(b *testing.B) {
	e, err := LoadWith(b.Context(), policyOf(allowing), workers())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := e.Decide(b.Context(), request()); err != nil {
		b.Fatal(err)
	}

	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Decide(b.Context(), request()); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Add([]byte("\xff\xff\xff\xff{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var q order
		if err := readMessage(strings.NewReader(string(raw)), &q, 1<<20); err == nil && len(raw) < 6 {
			t.Errorf("read a message from %q", raw)
		}
	})
}
