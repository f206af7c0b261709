package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/guardlock/guardlock/gateway"
)

// TestAnIdleFollowersIdIsNoReasonToCutAClientOff: kafka-python 3.0 asks for
// offsets with replica id 0, connects again when it is cut off, and so for ever.
func TestAnIdleFollowersIdIsNoReasonToCutAClientOff(t *testing.T) {
	w := judged(t, 1)
	mustSend(t, client(t, w.addr()), "in", 0, "a", "b")

	list := kmsg.NewPtrListOffsetsRequest()
	list.Version = 5
	list.ReplicaID = 0
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -1 // the end
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = "in"
	topic.Partitions = append(topic.Partitions, p)
	list.Topics = append(list.Topics, topic)

	c := dial(t, w.addr())
	c.send(list)
	got := c.receive(list, c.last).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	if got.ErrorCode != 0 || got.Offset != 2 {
		t.Errorf("the end is %d, code %d", got.Offset, got.ErrorCode)
	}
}

// TestACutNamesWhatWasAsked: the line in the log is all that its operator has.
func TestACutNamesWhatWasAsked(t *testing.T) {
	core, lines := observer.New(zapcore.WarnLevel)
	w := newWorld(t, judgeSetup(1, func(cfg *gateway.Config) { cfg.Log = zap.New(core) }))
	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version = 11
	fetch.ReplicaID = 0

	c := dial(t, w.addr())
	c.send(fetch)
	if !c.closed() {
		t.Fatal("a client that fetches as a broker is served")
	}

	eventually(t, "the log says so", func() bool {
		for _, line := range lines.All() {
			if text := fmt.Sprint(line.ContextMap()); strings.Contains(text, `Fetch v11 of client id "e2e"`) && strings.Contains(text, "replica id 0") {
				return true
			}
		}
		return false
	})
}
