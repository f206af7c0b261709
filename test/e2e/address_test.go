package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// hidden is an address that nothing but the gateway may ever name.
const hidden = "127.77.66.55"

// hiddenCluster is a world whose three brokers live at hidden.
func hiddenCluster(t *testing.T) *world {
	t.Helper()
	listen := func(network, address string) (net.Listener, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return net.Listen(network, net.JoinHostPort(hidden, port))
	}

	s := judgeSetup(3, nil)
	s.kafka = []kfake.Opt{kfake.NumBrokers(3), kfake.ListenFn(listen)}
	return newWorld(t, s)
}

// Nothing that the gateway sends holds an upstream address: every API, in every
// version that it announces, answered by real brokers.
func TestNoAnswerHoldsAnUpstreamAddress(t *testing.T) {
	w := hiddenCluster(t)
	secrets := []string{hidden}
	for _, a := range w.kafka.ListenAddrs() {
		_, port, _ := net.SplitHostPort(a)
		n := must(strconv.Atoi(port))(t)
		secrets = append(secrets, port, string(binary.BigEndian.AppendUint32(nil, uint32(n))))
	}

	announced := dial(t, w.addr()).request(kmsg.NewPtrApiVersionsRequest()).(*kmsg.ApiVersionsResponse)
	answered := 0
	withAddresses := 0
	for _, api := range announced.ApiKeys {
		for v := api.MinVersion; v <= api.MaxVersion; v++ {
			req := askFor(w, api.ApiKey)
			if req == nil || v > req.MaxVersion() {
				continue
			}

			req.SetVersion(v)
			frame, err := oneAnswer(t, w, req)
			if err != nil {
				continue // the broker has nothing to say, or not yet
			}

			answered++
			if contains(frame, "127.0.0.1") {
				withAddresses++
			}

			for _, s := range secrets {
				if contains(frame, s) {
					t.Errorf("the answer to %s v%d holds %q", kmsg.NameForKey(api.ApiKey), v, s)
				}
			}
		}
	}

	// Metadata, FindCoordinator, DescribeCluster and the endpoints of a leader
	// that moved: else this test has looked at nothing.
	if t.Logf("%d answers, %d with addresses of ours", answered, withAddresses); answered < 100 || withAddresses < 20 {
		t.Errorf("only %d answers were looked at, %d with addresses", answered, withAddresses)
	}
}

// oneAnswer asks on a connection of its own, to a broker that need not be the
// one that leads.
func oneAnswer(t *testing.T, w *world, req kmsg.Request) ([]byte, error) {
	c := dial(t, w.addr())
	defer c.Close()
	c.SetDeadline(time.Now().Add(500 * time.Millisecond))
	c.send(req)

	frame, err := c.answer()
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !contains([]byte(err.Error()), "EOF") && !contains([]byte(err.Error()), "reset") {
		t.Errorf("%s v%d: %v", kmsg.NameForKey(req.Key()), req.GetVersion(), err)
	}
	return frame, err
}

// askFor makes a request that is answered with as much as there is: topics,
// brokers, coordinators, configurations.
func askFor(w *world, key int16) kmsg.Request {
	req := kmsg.RequestForKey(key)
	if d, ok := req.(interface{ Default() }); ok {
		d.Default()
	}

	topic := "in"
	id := w.kafka.TopicInfo("in").TopicID
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		made := produceOf(-1)
		for p := range int32(3) { // two of them are led elsewhere
			made = produceOf(-1, append(partsOf(made), part{topic, p, batchOf(nobody, "a")})...)
		}
		made.Topics[0].TopicID = id
		return made
	case *kmsg.FetchRequest:
		r.MaxWaitMillis = 10
		r.MaxBytes = 1 << 20
		r.ReplicaID = -1
		t := kmsg.NewFetchRequestTopic()
		t.Topic = topic
		t.TopicID = id

		for p := range int32(3) {
			rp := kmsg.NewFetchRequestTopicPartition()
			rp.Partition = p
			rp.PartitionMaxBytes = 1 << 20
			t.Partitions = append(t.Partitions, rp)
		}

		r.Topics = append(r.Topics, t)
	case *kmsg.MetadataRequest:
		return metadataRequest(topic)
	case *kmsg.FindCoordinatorRequest:
		r.CoordinatorKey = "group"
		r.CoordinatorKeys = []string{"group", "another", "third"}
	case *kmsg.DescribeConfigsRequest:
		rr := kmsg.NewDescribeConfigsRequestResource()
		rr.ResourceType = kmsg.ConfigResourceTypeBroker
		rr.ResourceName = "0"
		r.Resources = append(r.Resources, rr)
	case *kmsg.DescribeTopicPartitionsRequest:
		t := kmsg.NewDescribeTopicPartitionsRequestTopic()
		t.Topic = topic
		r.Topics = append(r.Topics, t)
		r.ResponsePartitionLimit = 100
	case *kmsg.DescribeGroupsRequest:
		r.Groups = []string{"group"}
	}

	return req
}

func partsOf(req *kmsg.ProduceRequest) []part {
	var out []part
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			out = append(out, part{t.Topic, p.Partition, p.Records})
		}
	}
	return out
}
