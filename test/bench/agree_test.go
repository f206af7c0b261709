package bench

import (
	"encoding/json"
	"math"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/load"
)

// agreement is how far apart two measurements of one gateway's processor time may be.
const agreement = 0.2

// BenchmarkAgreement holds `guardlock bench` against what is measured here, of the same
// configuration and load, one after the other. Both count processor time, which other
// work on the machine moves less than any other; it is measured three times at most.
func BenchmarkAgreement(b *testing.B) {
	program := filepath.Join(b.TempDir(), "guardlock")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/guardlock/guardlock/cmd/guardlock").CombinedOutput(); err != nil {
		b.Fatalf("building guardlock: %v\n%s", err, out)
	}

	for name, topic := range map[string]string{"record": benchTopic, "uppercase": "loud"} {
		b.Run(name, func(b *testing.B) {
			apart := math.Inf(1)
			for try := 0; try < 3 && apart > agreement; try++ {
				theirs, ours := measureBoth(b, program, topic)
				apart = math.Abs(theirs/ours - 1)
				b.ReportMetric(theirs, "bench-ms/MB")
				b.ReportMetric(ours, "here-ms/MB")
			}
			if apart > agreement {
				b.Errorf("guardlock bench is %.0f %% off", 100*apart)
			}
		})
	}
}

// measureBoth measures a batch of 100 records, in milliseconds of processor a MB.
func measureBoth(b *testing.B, program, topic string) (theirs, ours float64) {
	b.Helper()
	broker, err := load.NewBroker(topic)
	if err != nil {
		b.Fatal(err)
	}
	defer broker.Close()
	dir := b.TempDir()
	if _, err := newSite(dir, broker.Addr(), "uppercase", "", "loud"); err != nil {
		b.Fatal(err)
	}

	out, err := exec.Command(program, "bench", "--config", filepath.Join(dir, "guardlock.yaml"), "--topic", topic, "--time", "3s", "--json").Output()
	if err != nil {
		b.Fatal(err)
	}
	var report struct {
		CPU     float64 `json:"cpu_ms_per_mb"`
		Batches int     `json:"batches"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		b.Fatal(err)
	}

	f, err := load.NewFrame(topic, load.Samples(100), recordbatch.None)
	if err != nil {
		b.Fatal(err)
	}
	p := startProxyIn(b, modeSite, broker.Addr(), dir)
	l := loaderFor(b, p.addr)
	if err := l.Send(f, 200); err != nil {
		b.Fatal(err)
	}
	before, _ := p.usage(b)
	if err := l.Send(f, report.Batches); err != nil {
		b.Fatal(err)
	}
	after, _ := p.usage(b)

	return report.CPU, float64(after-before) / 1e3 / (float64(report.Batches) * float64(f.Raw) / 1e6)
}
