package modules_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/guardlock/guardlock/transforms/record"
)

// refDevice is the window of one device, as sensor's comment describes it.
type refDevice struct {
	mean  float64
	count int
}

func (d *refDevice) observe(x float64, window, minSamples int, maxJitter float64) bool {
	jitter := d.count >= minSamples && math.Abs(x-d.mean) > maxJitter*max(math.Abs(d.mean), 1)
	d.count = min(d.count+1, window)
	d.mean += (x - d.mean) / float64(d.count)
	return jitter
}

func TestSensorAgreesWithTheReferencePerDevice(t *testing.T) {
	g := mustOpen(t, "sensor", `{"path":"$.value","window":8,"max_jitter":0.3,"min_samples":3}`)
	r := rand.New(rand.NewPCG(9, 10))
	devices := make([]refDevice, 300)
	alarms := 0
	for range 40 {
		recs := make([]input, 100)
		want := make([]bool, 100)
		for i := range recs {
			n := r.IntN(len(devices))
			x := math.Round(1e6*(float64(n)-150+r.NormFloat64()*float64(n)/8)) / 1e6
			key := fmt.Sprintf("device-%d%s", n, strings.Repeat("k", n%20))
			recs[i] = input{key: []byte(key), value: fmt.Appendf(nil, `{"value":%v,"at":%d}`, x, i)}
			want[i] = devices[n].observe(x, 8, 3, 0.3)
		}

		for i, out := range g.run(t, recs...) {
			if got := bytes.Contains(out.headers, []byte("guardlock-sensor-alarm")); got != want[i] || got != (out.verdict == record.Modified) {
				t.Fatalf("alarm %v (%s), want %v for %s", got, out.verdict, want[i], recs[i].value)
			}
			if want[i] {
				alarms++
			}
		}
	}

	if alarms < 100 {
		t.Fatalf("only %d alarms", alarms)
	}
}

// The table is bounded: more devices than it holds push out the oldest, and the
// module goes on.
func TestSensorForgetsTheDeviceSilentLongest(t *testing.T) {
	g := mustOpen(t, "sensor", `{"path":"$.v","window":2,"max_jitter":0.5,"min_samples":1}`)
	one := []byte(`{"v":1}`)
	nine := []byte(`{"v":9}`)
	g.run(t, input{key: []byte("old"), value: one})

	for i := range 50 {
		recs := make([]input, 1000)
		for n := range recs {
			recs[n] = input{key: fmt.Appendf(nil, "d%d-%d", i, n), value: one}
		}
		g.run(t, recs...)
	}

	if out := g.run(t, input{key: []byte("old"), value: nine})[0]; out.verdict != record.Passed {
		t.Errorf("%s: a device silent for 50000 others is still known", out.verdict)
	}
	if out := g.run(t, input{key: []byte("d49-999"), value: nine})[0]; out.verdict != record.Modified {
		t.Errorf("%s: the device heard of last was forgotten", out.verdict)
	}
}

// A call whose headers do not fit the arena is made again with a larger one.
// The readings of the first try must not have been counted.
func TestSensorCountsReadingsOnceWhenTheArenaGrows(t *testing.T) {
	g := mustOpen(t, "sensor", `{"path":"$.v","window":2,"max_jitter":0.5,"min_samples":2}`)
	name := "n"
	large := strings.Repeat("h", 235)
	recs := make([]input, 1000)
	for i := range recs {
		recs[i] = input{key: []byte("d"), value: []byte(`{"v":1}`), headers: appendHeaders(nil, []header{{&name, &large}})}
	}

	recs[1].value = []byte(`{"v":9}`)
	if out := g.run(t, recs...)[1]; out.verdict != record.Passed {
		t.Fatalf("%s: the second reading was counted as a third one", out.verdict)
	}
}

func BenchmarkSensor(b *testing.B) {
	recs := make([]input, 500)
	for i := range recs {
		recs[i] = input{key: fmt.Appendf(nil, "sensor-%03d", i%50), value: fmt.Appendf(nil, `{"value":%d.5,"unit":"C","at":1773480413589,"site":"hall-7"}`, 20+i%2)}
	}
	bench(b, "sensor", example(b, "sensor"), recs)
}

func BenchmarkUppercase(b *testing.B) {
	recs := customers(b)
	b.Run("guest", func(b *testing.B) { bench(b, "uppercase", "", recs) })
	b.Run("go", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(recs[0].value)))
		for i := 0; i < b.N; i++ {
			if len(bytes.ToUpper(recs[i%len(recs)].value)) == 0 {
				b.Fatal("empty")
			}
		}
	})
}

func BenchmarkRejectUppercase(b *testing.B) {
	recs := customers(b)
	for i := range recs {
		recs[i].value = bytes.ToLower(recs[i].value)
	}
	bench(b, "reject-uppercase", "", recs)
}
