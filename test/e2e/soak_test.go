//go:build soak

package e2e

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var soakFor = flag.Duration("soak", 30*time.Minute, "how `long` the gateway is under load")

// usage is what a gateway holds at one moment, by its own metrics.
type usage struct{ memory, files, goroutines float64 }

// TestNothingGrowsUnderLastingLoad: a gateway that is produced to, connected to, and told
// to read its files again, all the time, holds at its end what it held in the middle.
func TestNothingGrowsUnderLastingLoad(t *testing.T) {
	ops, release := holdAddress(t)
	d := deploy(t, plan{
		modules:  []module{judgeModule("t")},
		bindings: map[string]string{"t": "judge"},
		more:     "ops: {address: \"" + ops + "\"}\nlimits: {max_connection_age: 5s}\n",
	})
	release()
	gateway := serve(t, d)
	steady := client(t, d.address, kgo.AllowAutoTopicCreation())
	mustSend(t, steady, "t", 0, "a")

	var seen []usage
	batch := slices.Repeat([]string{"a", "m"}, 50)
	produced := 0
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < *soakFor; <-tick.C {
		mustSend(t, steady, "t", int32(produced%loadPartitions), batch...)
		produced++

		if produced%10 == 0 {
			comesAndGoes(t, d.address)
		}
		if produced%100 == 0 {
			seen = append(seen, ask(t, ops))
		}
		if produced%400 == 0 {
			if err := gateway.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
	}

	third := len(seen) / 3
	if third < 3 {
		t.Fatalf("%d samples are too few; give -soak more time", len(seen))
	}
	middle, end := median(seen[third:2*third]), median(seen[2*third:])
	t.Logf("%d batches of %d in %s; in the middle and at the end: %+v, %+v", produced, len(batch), *soakFor, middle, end)
	if end.memory > 1.1*middle.memory+4<<20 {
		t.Errorf("memory grows from %.1f to %.1f MiB", middle.memory/(1<<20), end.memory/(1<<20))
	}
	if end.files > middle.files+8 {
		t.Errorf("open files grow from %.0f to %.0f", middle.files, end.files)
	}
	if end.goroutines > middle.goroutines+16 {
		t.Errorf("goroutines grow from %.0f to %.0f", middle.goroutines, end.goroutines)
	}
}

// comesAndGoes is a client that stays for one record.
func comesAndGoes(t *testing.T, address string) {
	t.Helper()
	c := client(t, address)
	mustSend(t, c, "t", 0, "a")
	c.Close()
}

// ask reads the gateway's metrics of itself.
func ask(t *testing.T, ops string) usage {
	t.Helper()
	text := scraped(t, ops, "/metrics")
	value := func(name string) float64 {
		found := regexp.MustCompile(fmt.Sprintf(`(?m)^%s (\S+)$`, name)).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("no metric %s", name)
		}
		return must(strconv.ParseFloat(found[1], 64))(t)
	}
	return usage{value("process_resident_memory_bytes"), value("process_open_fds"), value("go_goroutines")}
}

func median(all []usage) usage {
	of := func(get func(usage) float64) float64 {
		var values []float64
		for _, u := range all {
			values = append(values, get(u))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return usage{
		of(func(u usage) float64 { return u.memory }),
		of(func(u usage) float64 { return u.files }),
		of(func(u usage) float64 { return u.goroutines }),
	}
}
