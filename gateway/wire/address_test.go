package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const upstreamHost = "broker.upstream.internal"

// advertiser is a mapping that tells clients one name and a port per node.
type advertiser struct{ fail error }

func (a advertiser) Advertise(node int32, host string, _ int32) (string, int32, error) {
	if a.fail != nil {
		return "", 0, a.fail
	}
	return "gw", 9100 + node, nil
}

// notAddresses are string fields that end in Host and tell no broker's address.
var notAddresses = map[string]string{
	".Resources.ACLs.Host":                        "a pattern for clients, typed by an administrator",
	".Results.MatchingACLs.Host":                  "a pattern for clients, typed by an administrator",
	".Groups.Members.ClientHost":                  "the client as the cluster sees it: this gateway",
	".Groups.Members.UserEndpoint.Host":           "set by a Streams application for its peers",
	".PartitionsByUserEndpoint.UserEndpoint.Host": "set by a Streams application for its peers",
}

// plant fills a response with the upstream's host wherever one can stand.
func plant(resp kmsg.Response, seed uint64) (planted int) {
	f := newFiller(seed)
	setting := ""
	f.visit = func(path string) (string, bool) {
		field := path[strings.LastIndexByte(path, '.')+1:]
		switch {
		case notAddresses[path] != "":
			return "", false
		case strings.HasSuffix(field, "Host"):
			planted++
			return upstreamHost, true
		case kmsg.Key(resp.Key()) == kmsg.DescribeConfigs && field == "Name":
			setting = []string{"advertised.listeners", "controller.quorum.voters", "listener.name.x.advertised.listeners", "listeners"}[f.rng.IntN(4)]
			return setting, true
		case kmsg.Key(resp.Key()) == kmsg.DescribeConfigs && field == "Value":
			planted++
			return "PLAINTEXT://" + upstreamHost + ":9092", true
		}

		return "", false
	}

	f.fill(resp)
	return planted
}

// Nothing that goes to a client holds an upstream address. Every API
// and version of the table is driven with the upstream's host in every field
// that can hold one.
func TestNoResponseHoldsAnUpstreamAddress(t *testing.T) {
	met := 0
	for _, api := range Table() {
		if api.Handling == Refuse {
			continue
		}
		for v := api.Min; v <= api.Max; v++ {
			for seed := uint64(0); seed < 10; seed++ {
				resp := api.Key.Response()
				resp.SetVersion(v)
				plant(resp, seed)
				frame := responseFrame(5, resp)

				out, changed, err := RewriteResponse(nil, api.Key, v, frame, advertiser{}, nil)
				if err != nil {
					t.Fatalf("%s v%d: %v", api.Name, v, err)
				}
				if !changed {
					out = frame
				}
				if bytes.Contains(out, []byte(upstreamHost)) {
					t.Fatalf("%s v%d tells the upstream's address", api.Name, v)
				}

				if changed {
					met++
					checkRewritten(t, api, v, out)
				}
			}
		}
	}

	if met < 300 {
		t.Fatalf("only %d responses had anything to replace", met)
	}
}

// checkRewritten: the frame is one that kmsg reads to the end and would write.
func checkRewritten(t *testing.T, api API, v int16, frame []byte) {
	t.Helper()
	_, body, err := ParseResponseHeader(api.Key, v, frame)
	if err != nil {
		t.Fatal(err)
	}

	resp := api.Key.Response()
	resp.SetVersion(v)
	if err := resp.ReadFrom(frame[body:]); err != nil {
		t.Fatalf("%s v%d: %v", api.Name, v, err)
	}
	if !bytes.Equal(resp.AppendTo(nil), frame[body:]) {
		t.Fatalf("%s v%d: kmsg writes it differently", api.Name, v)
	}
}

// Every field named Host that kmsg knows is either planted above or excused.
func TestHostFieldsAreAllAccountedFor(t *testing.T) {
	want := map[kmsg.Key]bool{kmsg.Produce: true, kmsg.Fetch: true, kmsg.Metadata: true, kmsg.FindCoordinator: true,
		kmsg.DescribeCluster: true, kmsg.ShareFetch: true, kmsg.ShareAcknowledge: true, kmsg.DescribeConfigs: true}
	for _, api := range Table() {
		if api.Handling == Refuse {
			continue
		}
		resp := api.Key.Response()
		resp.SetVersion(api.Max)

		if planted := plant(resp, 1) > 0; planted != want[api.Key] {
			t.Errorf("%s: holds addresses: %v, we rewrite: %v", api.Name, planted, want[api.Key])
		}
	}
}

// Everything but the addresses arrives as it was sent.
func TestRewritingKeepsTheRest(t *testing.T) {
	for v := int16(0); v <= 13; v++ {
		for seed := uint64(0); seed < 20; seed++ {
			resp := kmsg.NewPtrMetadataResponse()
			resp.Version = v
			newFiller(seed).fill(resp)

			out, changed, err := RewriteResponse(nil, kmsg.Metadata, v, responseFrame(1, resp), advertiser{}, nil)
			if err != nil {
				t.Fatal(err)
			}

			for i := range resp.Brokers {
				resp.Brokers[i].Host = "gw"
				resp.Brokers[i].Port = 9100 + resp.Brokers[i].NodeID
			}

			if changed != (len(resp.Brokers) > 0) || changed && !bytes.Equal(out, responseFrame(1, resp)) {
				t.Fatalf("v%d seed %d", v, seed)
			}
		}
	}
}

func TestNobodyHasNoAddress(t *testing.T) {
	for v := int16(0); v <= 6; v++ {
		resp := kmsg.NewPtrFindCoordinatorResponse()
		resp.Version = v
		resp.NodeID = -1
		resp.Port = -1
		resp.ErrorCode = 15
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key = "g"
		c.NodeID = -1
		c.Port = -1
		c.ErrorCode = 15
		resp.Coordinators = append(resp.Coordinators, c)

		_, changed, err := RewriteResponse(nil, kmsg.FindCoordinator, v, responseFrame(1, resp), advertiser{fail: errors.New("asked")}, nil)
		if changed || err != nil {
			t.Errorf("v%d: changed %v, %v", v, changed, err)
		}
	}
}

// An address that cannot be mapped is not passed on.
func TestAnUnmappedNodeFailsTheResponse(t *testing.T) {
	unknown := errors.New("no port for it")
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.Fetch, kmsg.Metadata, kmsg.FindCoordinator, kmsg.DescribeCluster, kmsg.ShareFetch, kmsg.ShareAcknowledge} {
		resp := key.Response()
		resp.SetVersion(table[key].Max)
		plant(resp, 2)
		out, changed, err := RewriteResponse([]byte("kept"), key, table[key].Max, responseFrame(1, resp), advertiser{fail: unknown}, nil)
		if !errors.Is(err, unknown) || changed || string(out) != "kept" {
			t.Errorf("%s: %q, %v, %v", table[key].Name, out, changed, err)
		}
	}
}

// Node ids are the cluster's own everywhere, so nothing else needs mapping.
func TestNodeIdsStayAsTheyAre(t *testing.T) {
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.Version = 2
	resp.ControllerID = 3
	b := kmsg.NewDescribeClusterResponseBroker()
	b.NodeID = 3
	b.Host = upstreamHost
	b.Port = 9092
	resp.Brokers = append(resp.Brokers, b)

	out, _, err := RewriteResponse(nil, kmsg.DescribeCluster, 2, responseFrame(1, resp), advertiser{}, nil)
	if err != nil {
		t.Fatal(err)
	}

	got := kmsg.NewPtrDescribeClusterResponse()
	got.Version = 2
	if err := got.ReadFrom(out[5:]); err != nil {
		t.Fatal(err)
	}
	if got.ControllerID != 3 || got.Brokers[0].NodeID != 3 || got.Brokers[0].Host != "gw" || got.Brokers[0].Port != 9103 {
		t.Fatalf("%+v", got)
	}
}

// ids is a TopicIDs in memory.
type ids map[[16]byte]string

func (m ids) Led([]byte, int32, int32, int32) {}

func (m ids) Learn(id [16]byte, name string) { m[id] = name }
func (m ids) Missing([]byte)                 {}
func (m ids) Name(id [16]byte) (string, bool) {
	name, ok := m[id]
	return name, ok
}

// missing is a TopicIDs that keeps what is missing.
type missing struct {
	ids
	names []string
}

func (m *missing) Missing(name []byte) { m.names = append(m.names, string(name)) }

// A topic that the cluster does not have is told of by its name.
func TestMissingTopicsAreToldOf(t *testing.T) {
	for _, version := range []int16{1, 9, 12} {
		resp := kmsg.NewPtrMetadataResponse()
		resp.Version = version
		for _, topic := range []struct {
			name string
			code int16
		}{{"here", 0}, {"nowhere", kerr.UnknownTopicOrPartition.Code}, {"not-yet", kerr.LeaderNotAvailable.Code}} {
			told := kmsg.NewMetadataResponseTopic()
			told.Topic = kmsg.StringPtr(topic.name)
			told.ErrorCode = topic.code
			resp.Topics = append(resp.Topics, told)
		}

		var m missing
		if _, _, err := RewriteResponse(nil, kmsg.Metadata, version, responseFrame(1, resp), advertiser{}, &m); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.names, []string{"nowhere"}) {
			t.Errorf("version %d: told of %q", version, m.names)
		}
	}
}

// Ids are learned wherever a response pairs them with names, and not
// where it reports an error.
func TestTopicIdsAreLearned(t *testing.T) {
	good := [16]byte{1}
	bad := [16]byte{2}
	metadata := func(v int16) kmsg.Response {
		r := kmsg.NewPtrMetadataResponse()
		r.Version = v
		for id, code := range map[[16]byte]int16{good: 0, bad: 3} {
			a := kmsg.NewMetadataResponseTopic()
			a.Topic = kmsg.StringPtr("t")
			a.TopicID = id
			a.ErrorCode = code
			r.Topics = append(r.Topics, a)
		}

		return r
	}

	create := kmsg.NewPtrCreateTopicsResponse()
	create.Version = 7
	describe := kmsg.NewPtrDescribeTopicPartitionsResponse()
	for id, code := range map[[16]byte]int16{good: 0, bad: 3} {
		a := kmsg.NewCreateTopicsResponseTopic()
		a.Topic = "t"
		a.TopicID = id
		a.ErrorCode = code
		create.Topics = append(create.Topics, a)
		b := kmsg.NewDescribeTopicPartitionsResponseTopic()
		b.Topic = kmsg.StringPtr("t")
		b.TopicID = id
		b.ErrorCode = code
		describe.Topics = append(describe.Topics, b)
	}

	for _, resp := range []kmsg.Response{metadata(10), metadata(11), metadata(12), metadata(13), create, describe} {
		m := ids{}
		_, changed, err := RewriteResponse(nil, kmsg.Key(resp.Key()), resp.GetVersion(), responseFrame(1, resp), advertiser{}, m)
		if err != nil || changed || len(m) != 1 || m[good] != "t" {
			t.Errorf("key %d v%d: %v, %v, %v", resp.Key(), resp.GetVersion(), m, changed, err)
		}
	}
}

// A withheld setting reads as a sensitive one; the others as they are.
func TestWithheldSettingsAreMarkedSensitive(t *testing.T) {
	for v := int16(1); v <= 4; v++ {
		resp := kmsg.NewPtrDescribeConfigsResponse()
		resp.Version = v
		r := kmsg.NewDescribeConfigsResponseResource()
		r.Configs = []kmsg.DescribeConfigsResponseResourceConfig{
			{Name: "advertised.listeners", Value: kmsg.StringPtr("PLAINTEXT://" + upstreamHost)},
			{Name: "cleanup.policy", Value: kmsg.StringPtr("delete")},
			{Name: "listeners"},
		}

		resp.Resources = append(resp.Resources, r)
		out, changed, err := RewriteResponse(nil, kmsg.DescribeConfigs, v, responseFrame(1, resp), advertiser{}, nil)
		if err != nil || !changed {
			t.Fatalf("v%d: %v %v", v, changed, err)
		}

		resp.Resources[0].Configs[0].Value = nil
		resp.Resources[0].Configs[0].IsSensitive = true
		if !bytes.Equal(out, responseFrame(1, resp)) {
			t.Errorf("v%d: %x", v, out)
		}
	}
}

// The least that a response can hold must not be taken for a count too many.
func TestSmallestElementsAreRead(t *testing.T) {
	for _, api := range Table() {
		for v := api.Min; v <= api.Max && api.Handling != Refuse; v++ {
			resp := api.Key.Response()
			resp.SetVersion(v)
			smallest(reflect.ValueOf(resp).Elem())

			frame := responseFrame(1, resp)
			if _, _, err := RewriteResponse(nil, api.Key, v, frame, advertiser{}, ids{}); err != nil {
				t.Errorf("%s v%d: %v", api.Name, v, err)
			}

			if api.Key == kmsg.Fetch || api.Key == kmsg.ShareFetch {
				if _, _, err := WalkFetchRecords(nil, api.Key, v, frame, keepRecords); err != nil {
					t.Errorf("%s v%d records: %v", api.Name, v, err)
				}
			}

			req := api.Key.Request()
			req.SetVersion(v)
			smallest(reflect.ValueOf(req).Elem())

			if err := CheckRequest(api.Key, v, req.AppendTo(nil)); err != nil {
				t.Errorf("%s v%d: %v", api.Name, v, err)
			}
			if err := ParseProduce(v, req.AppendTo(nil), new(Produce)); api.Key == kmsg.Produce && !errors.Is(err, ErrDuplicate) {
				t.Errorf("%s v%d: %v", api.Name, v, err)
			}
		}
	}
}

// smallest gives every array two elements and everything else nothing.
func smallest(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				smallest(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			smallest(v.Index(i))
		}
	}
}

// Settings that do not hold addresses are the client's to read.
func TestOtherSettingsAreNotWithheld(t *testing.T) {
	for _, name := range []string{"max.message.bytes", "cleanup.policy", "listener.security.protocol.map", "min.insync.replicas"} {
		if holdsAddress(name) {
			t.Errorf("%s is withheld", name)
		}
	}
}

func TestTruncatedResponsesAreNotPassedOn(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.Fetch, kmsg.Metadata, kmsg.FindCoordinator, kmsg.DescribeCluster, kmsg.ShareFetch, kmsg.ShareAcknowledge, kmsg.DescribeConfigs, kmsg.CreateTopics, kmsg.DescribeTopicPartitions} {
		api := table[key]
		resp := key.Response()
		resp.SetVersion(api.Max)
		plant(resp, 3)

		frame := responseFrame(1, resp)
		for n := range frame {
			if _, _, err := RewriteResponse(nil, key, api.Max, frame[:n], advertiser{}, nil); err == nil {
				t.Fatalf("%s: %d of %d bytes were taken for a response", api.Name, n, len(frame))
			}
		}
	}
}

func FuzzRewriteResponse(f *testing.F) {
	for _, api := range Table() {
		if api.Handling == Refuse || responseReader(api.Key, api.Max) == nil {
			continue
		}
		for v := api.Min; v <= api.Max; v++ {
			resp := api.Key.Response()
			resp.SetVersion(v)
			plant(resp, uint64(v))
			f.Add(api.Key.Int16(), v, responseFrame(1, resp))
		}
	}
	f.Fuzz(func(t *testing.T, number, version int16, frame []byte) {
		key := kmsg.Key(number)
		if api, ok := Lookup(key); !ok || !api.Serves(version) {
			return
		}

		out, changed, err := RewriteResponse(nil, key, version, frame, advertiser{}, ids{})
		if err != nil || !changed {
			return
		}

		again, changed, err := RewriteResponse(nil, key, version, out, advertiser{}, ids{})
		if err != nil || changed && !bytes.Equal(again, out) {
			t.Fatal(fmt.Errorf("rewriting what was rewritten: %v", err))
		}
	})
}
