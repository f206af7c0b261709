//go:build kafka

package kafka

import (
	"bufio"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// typed are the consumers of testdata/Typed.java, each with what it must be given of the topic that typedTopic makes.
var typed = map[string][]string{
	"ktable":  {`got 1={"n":1}`, `got 3={"n":3}`},
	"kstream": {`got 1={"n":1}`, `got null=null`, `got 3={"n":3}`},
	"share":   {`got 1={"n":1}`, `got null=null`, `got 3={"n":3}`},
	"connect": {`got 1={n=1}`, `got null=null`, `got 3={n=3}`},
}

// typedTopic has keys of eight bytes and values of JSON, and one record that was dropped between two others.
func typedTopic(t *testing.T, policy string) string {
	t.Helper()
	w := through(shared)
	to := topic(t, w, "dropping", 1)
	set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}}
	must(kadm.NewClient(direct().client(t)).AlterTopicConfigs(patient(t), set, to))(t)

	all := records(to, 0, `{"n":1}`, "drop 2", `{"n":3}`)
	for i, r := range all {
		r.Key = binary.BigEndian.AppendUint64(nil, uint64(i+1))
	}

	mustSend(t, w.client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), all...)
	return to
}

// TestTypedConsumersBesideTheGatewayPassOverPlaceholders: a table with keys of type Long, a task of Connect with converters
// and a typed share consumer read straight from the brokers, where a dropped record's place is seen. None of them may end.
func TestTypedConsumersBesideTheGatewayPassOverPlaceholders(t *testing.T) {
	to := typedTopic(t, "delete")
	for kind, want := range typed {
		t.Run(kind, func(t *testing.T) {
			said := sayings(t, kind, to, want)
			for _, line := range said {
				if strings.HasPrefix(line, "ended: ") || strings.Contains(line, "Task is being killed") {
					t.Errorf("it ends: %s", line)
				}
			}

			var got []string
			for _, line := range said {
				if slices.Contains(want, line) {
					got = append(got, line)
				}
			}

			if !slices.Equal(got, want) {
				t.Errorf("it was given %q, want %q", got, want)
			}
		})
	}
}

// TestTypedConsumersOfATopicThatCompactsMeetASentinel: such a topic refuses records without a key, so that a binding whose
// topic compacts and has typed consumers beside the gateway needs on_drop: reject (docs/dropping.md says so).
func TestTypedConsumersOfATopicThatCompactsMeetASentinel(t *testing.T) {
	to := typedTopic(t, "compact")
	for _, kind := range []string{"ktable", "connect"} {
		said := sayings(t, kind, to, typed[kind])
		if last := said[len(said)-1]; !strings.HasPrefix(last, "ended: ") && !strings.Contains(last, "Task is being killed") {
			t.Errorf("%s goes on: docs/dropping.md says that it ends", kind)
		}
	}
}

// sayings runs a consumer until it has been given the last record or says that it ends, and returns what it printed.
func sayings(t *testing.T, kind, topic string, want []string) []string {
	t.Helper()
	cmd := cluster.Java(patient(t), "testdata/Typed.java", kind, cluster.Bootstrap()[0], topic, t.TempDir())
	out := must(cmd.StdoutPipe())(t)
	cmd.Stderr = cmd.Stdout // Connect says there that a task has failed

	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()

	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		said = append(said, line)
		if line == want[len(want)-1] || strings.HasPrefix(line, "ended: ") || strings.Contains(line, "Task is being killed") {
			return said
		}
	}

	t.Fatalf("%s ended, or said nothing more, before the last record:\n%s", kind, strings.Join(said, "\n"))
	return nil
}
