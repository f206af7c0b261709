//go:build kafka

package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/internal/kafkatest"
)

// exchange sends one request on a connection of its own and returns the answer's frame.
func exchange(addr string, req kmsg.Request) ([]byte, error) {
	conn, err := net.DialTimeout("tcp", addr, testTimeout)
	if err != nil {
		return nil, err
	}

	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testTimeout))
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("kafka-test")).AppendRequest(nil, req, 7)); err != nil {
		return nil, err
	}

	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}

	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err = io.ReadFull(conn, frame)
	return frame, err
}

// upstreamIn finds an address of the cluster's own in a frame: as Kafka frames it, or as text.
func upstreamIn(frame []byte) string {
	for _, l := range []kafkatest.Listener{kafkatest.Plain, kafkatest.SASL, kafkatest.TLS} {
		for _, addr := range cluster.Addresses(l) {
			host, text, _ := strings.Cut(addr, ":")
			port, _ := strconv.Atoi(text)
			framed := binary.BigEndian.AppendUint32([]byte(host), uint32(port))
			if bytes.Contains(frame, framed) || bytes.Contains(frame, []byte(":"+text)) {
				return addr
			}
		}
	}
	return ""
}

// offered are the APIs and versions that a listener advertises.
func offered(t *testing.T, addr string) []kmsg.ApiVersionsResponseApiKey {
	t.Helper()
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version = 3
	req.ClientSoftwareName = "kafka-test"
	req.ClientSoftwareVersion = "1"
	frame := must(exchange(addr, req))(t)
	resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
	resp.Version = 3

	if err := resp.ReadFrom(frame[4:]); err != nil {
		t.Fatal(err)
	}
	return resp.ApiKeys
}

// TestNoAnswerOfAnyAPIHoldsAnUpstreamAddress sends every version of every API that the gateway offers for this cluster, both
// ways; where the cluster answers, so does the gateway, and never with an address of a node's own.
func TestNoAnswerOfAnyAPIHoldsAnUpstreamAddress(t *testing.T) {
	to := topic(t, through(shared), "plain", 1)
	id := metadataOf(t, direct().client(t), to).TopicID
	eventually(t, "the coordinator is known to the cluster", func() bool { // a new cluster makes its topic on the first question
		frame, err := exchange(cluster.Bootstrap()[0], question(int16(kmsg.FindCoordinator), 4, to, id))
		return err == nil && upstreamIn(frame) != ""
	})

	asked := 0
	leaks := map[string]bool{}
	for _, api := range offered(t, shared.addr) {
		row, ok := wire.Lookup(kmsg.Key(api.ApiKey))
		if !ok {
			t.Errorf("API key %d is offered and not in the table", api.ApiKey)
		}

		for version := max(api.MinVersion, row.Min); version <= api.MaxVersion; version++ {
			what := fmt.Sprintf("%s v%d", row.Name, version)
			got, err := exchange(shared.addr, question(api.ApiKey, version, to, id))
			want, directErr := exchange(cluster.Bootstrap()[0], question(api.ApiKey, version, to, id))
			if (err == nil) != (directErr == nil) {
				t.Errorf("%s: %v; from the cluster itself: %v", what, err, directErr)
			}
			if addr := upstreamIn(got); addr != "" {
				t.Errorf("%s tells %s", what, addr)
			}
			if upstreamIn(want) != "" {
				leaks[row.Name] = true
			}

			asked++
		}
	}

	t.Logf("%d versions asked; the cluster itself tells addresses in %v", asked, leaks)
	for _, name := range []string{"Metadata", "FindCoordinator", "DescribeCluster", "DescribeConfigs"} {
		if !leaks[name] {
			t.Errorf("%s does not tell addresses in the cluster itself: this test would not see them", name)
		}
	}

	if asked < 200 {
		t.Errorf("only %d versions asked", asked)
	}
}

// question is a request of an API that makes it tell what it knows; most know enough with an empty one.
func question(key, version int16, topic string, id [16]byte) kmsg.Request {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	defaultOf(req)
	switch r := req.(type) {
	case *kmsg.ApiVersionsRequest:
		r.ClientSoftwareName = "kafka-test"
		r.ClientSoftwareVersion = "1"
	case *kmsg.ProduceRequest:
		r.Acks = -1 // 0 has no answer
	case *kmsg.MetadataRequest:
		r.Topics = nil // all
	case *kmsg.FindCoordinatorRequest:
		r.CoordinatorKey = topic
		r.CoordinatorKeys = []string{topic}
	case *kmsg.FetchRequest:
		rt := kmsg.NewFetchRequestTopic()
		rp := kmsg.NewFetchRequestTopicPartition()
		rt.Topic = topic
		rt.TopicID = id
		rt.Partitions = append(rt.Partitions, rp)
		r.Topics = append(r.Topics, rt)
	case *kmsg.DescribeConfigsRequest:
		for _, node := range []string{"", "1", "2", "3"} {
			res := kmsg.NewDescribeConfigsRequestResource()
			res.ResourceType = kmsg.ConfigResourceTypeBroker
			res.ResourceName = node
			r.Resources = append(r.Resources, res)
		}

		r.IncludeSynonyms = true
		r.IncludeDocumentation = true
	case *kmsg.DescribeTopicPartitionsRequest:
		rt := kmsg.NewDescribeTopicPartitionsRequestTopic()
		rt.Topic = topic
		r.Topics = append(r.Topics, rt)
		r.ResponsePartitionLimit = 10
	case *kmsg.CreateTopicsRequest:
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic = topic
		rt.NumPartitions = 1
		rt.ReplicationFactor = 1
		r.Topics = append(r.Topics, rt)
	}

	return req
}

func defaultOf(req kmsg.Request) {
	if d, ok := req.(interface{ Default() }); ok {
		version := req.GetVersion()
		d.Default()
		req.SetVersion(version)
	}
}

// TestLeadersAreNamedWithTheGatewaysAddresses: asked of a node that does not lead, Produce, Fetch and ShareFetch
// name the leader and where it is (KIP-951).
func TestLeadersAreNamedWithTheGatewaysAddresses(t *testing.T) {
	w := through(shared)
	to := name(w, "plain")
	onOneNode(t, to, 1, 3)
	cl := w.client(t)
	meta := must(kmsg.NewPtrMetadataRequest().RequestWith(patient(t), cl))(t)
	at := slices.IndexFunc(meta.Brokers, func(b kmsg.MetadataResponseBroker) bool { return b.NodeID == 3 })

	want := fmt.Sprint("3 ", meta.Brokers[at].Host, ":", meta.Brokers[at].Port)
	if upstream := fmt.Sprint("3 ", cluster.Bootstrap()[2]); want == upstream {
		t.Fatalf("the gateway tells the address of the node itself: %s", want)
	}

	id := metadataOf(t, cl, to).TopicID
	other := cl.Broker(1)

	produced := must(produceOf(part{to, id, 0, batchOf("x")}).RequestWith(patient(t), other))(t)
	var named []string
	for _, b := range produced.Brokers {
		named = append(named, fmt.Sprint(b.NodeID, " ", b.Host, ":", b.Port))
	}

	p := produced.Topics[0].Partitions[0]
	check := func(what string, code int16, leader int32) {
		t.Helper()
		if code != kerr.NotLeaderForPartition.Code || leader != 3 || !slices.Equal(named, []string{want}) {
			t.Errorf("%s: error %d, leader %d at %q, want %q", what, code, leader, named, want)
		}
		named = nil
	}

	check("Produce", p.ErrorCode, p.CurrentLeader.LeaderID)

	fetched := must(question(1, 17, to, id).(*kmsg.FetchRequest).RequestWith(patient(t), other))(t)
	for _, b := range fetched.Brokers {
		named = append(named, fmt.Sprint(b.NodeID, " ", b.Host, ":", b.Port))
	}

	f := fetched.Topics[0].Partitions[0]
	check("Fetch", f.ErrorCode, f.CurrentLeader.LeaderID)

	group := to
	member := "AAAAAAAAAAAAAAAAAAAAAA"
	share := kmsg.NewPtrShareFetchRequest()
	share.GroupID = &group
	share.MemberID = &member
	share.MaxBytes = 1 << 20
	share.MaxRecords = 10
	share.BatchSize = 10
	st := kmsg.NewShareFetchRequestTopic()
	sp := kmsg.NewShareFetchRequestTopicPartition()
	st.TopicID = id
	st.Partitions = append(st.Partitions, sp)
	share.Topics = append(share.Topics, st)

	got := must(share.RequestWith(patient(t), other))(t)
	for _, b := range got.NodeEndpoints {
		named = append(named, fmt.Sprint(b.NodeID, " ", b.Host, ":", b.Port))
	}

	s := got.Topics[0].Partitions[0]
	check("ShareFetch", s.ErrorCode, s.CurrentLeader.LeaderID)
}

// TestRefusedAPIsCloseTheConnection: what is between brokers is not for clients, whatever the cluster would say.
func TestRefusedAPIsCloseTheConnection(t *testing.T) {
	open := map[int16]bool{}
	for _, api := range offered(t, shared.addr) {
		open[api.ApiKey] = true
	}
	for _, api := range offered(t, cluster.Bootstrap()[0]) {
		if open[api.ApiKey] {
			continue
		}
		_, err := exchange(shared.addr, question(api.ApiKey, api.MaxVersion, "t", [16]byte{}))
		if !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
			t.Errorf("API key %d: %v", api.ApiKey, err)
		}
	}
}
