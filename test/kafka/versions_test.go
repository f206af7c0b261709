//go:build kafka

package kafka

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

// newIn44 are what Kafka 4.4 has and 4.3 has not, by the newest version announced; -1: not at all.
var newIn44 = map[string]map[kmsg.Key]int16{
	"4.4.0": {kmsg.DeleteGroups: 3, kmsg.StreamsGroupTopologyDescriptionUpdate: 0},
	"4.3.1": {kmsg.DeleteGroups: 2, kmsg.StreamsGroupTopologyDescriptionUpdate: -1},
}

// TestEveryKafkaIsServedInItsOwnVersions: clients are told what both sides know, produce, read as a group and delete it.
func TestEveryKafkaIsServedInItsOwnVersions(t *testing.T) {
	for _, version := range kafkatest.Versions() {
		t.Run(version, func(t *testing.T) {
			g := shared
			if version != kafkatest.Versions()[0] {
				older := kafkatest.Start(t, kafkatest.Config{Version: version, Nodes: 1})
				g = must(built.serve(options{node: "older", upstream: older.Bootstrap()}))(t)
				t.Cleanup(func() { g.stop() })
			}

			c := through(g).client(t)
			announced := map[kmsg.Key]int16{}
			resp := must(kmsg.NewPtrApiVersionsRequest().RequestWith(patient(t), c))(t)
			for _, k := range resp.ApiKeys {
				announced[kmsg.Key(k.ApiKey)] = k.MaxVersion
			}

			for key, want := range newIn44[version] {
				if got, ok := announced[key]; ok && got != want || !ok && want >= 0 {
					t.Errorf("%s is announced up to %d, want %d", key.Name(), got, want)
				}
			}

			groupOnce(t, through(g))
		})
	}
}

// groupOnce produces to a topic of its own, reads it as a group, and deletes the group in the newest version there is.
func groupOnce(t *testing.T, w way) {
	t.Helper()
	to := name(w, "plain")
	must(w.admin(t).CreateTopic(patient(t), 1, 1, nil, to))(t)
	c := w.client(t, kgo.ConsumerGroup(to), kgo.ConsumeTopics(to), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	mustSend(t, c, records(to, 0, "a", "b")...)

	var got []string
	for ctx := patient(t); len(got) < 2; {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("the group has read %q: %v", got, fetches.Err())
		}
		for _, r := range fetches.Records() {
			got = append(got, string(r.Value))
		}
	}

	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the group has read %q", got)
	}

	if err := c.CommitUncommittedOffsets(patient(t)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if resp := must(w.admin(t).DeleteGroups(patient(t), to))(t); resp.Error() != nil {
		t.Errorf("deleting the group: %v", resp.Error())
	}
}
