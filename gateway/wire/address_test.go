package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

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
		case resp.Key() == keyDescribeConfigs && field == "Name":
			setting = []string{"advertised.listeners", "controller.quorum.voters", "listener.name.x.advertised.listeners", "listeners"}[f.rng.IntN(4)]
			return setting, true
		case resp.Key() == keyDescribeConfigs && field == "Value":
			planted++
			return "PLAINTEXT://" + upstreamHost + ":9092", true
		}
		return "", false
	}
	f.fill(resp)
	return planted
}

// Trap 9: nothing that goes to a client holds an upstream address. Every API
// and version of the table is driven with the upstream's host in every field
// that can hold one.
func TestTrap09NoResponseHoldsAnUpstreamAddress(t *testing.T) {
	met := 0
	for _, api := range Table() {
		if api.Handling == Refuse {
			continue
		}
		for v := api.Min; v <= api.Max; v++ {
			for seed := uint64(0); seed < 10; seed++ {
				resp := kmsg.ResponseForKey(api.Key)
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
	resp := kmsg.ResponseForKey(api.Key)
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
	want := map[int16]bool{keyProduce: true, keyFetch: true, keyMetadata: true, keyFindCoordinator: true,
		keyDescribeCluster: true, keyShareFetch: true, keyShareAcknowledge: true, keyDescribeConfigs: true}
	for _, api := range Table() {
		if api.Handling == Refuse {
			continue
		}
		resp := kmsg.ResponseForKey(api.Key)
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
			out, changed, err := RewriteResponse(nil, keyMetadata, v, responseFrame(1, resp), advertiser{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range resp.Brokers {
				resp.Brokers[i].Host, resp.Brokers[i].Port = "gw", 9100+resp.Brokers[i].NodeID
			}
			if changed != (len(resp.Brokers) > 0) || changed && !bytes.Equal(out, responseFrame(1, resp)) {
				t.Fatalf("v%d seed %d", v, seed)
			}
		}
	}
}

func TestTrap09NobodyHasNoAddress(t *testing.T) {
	for v := int16(0); v <= 6; v++ {
		resp := kmsg.NewPtrFindCoordinatorResponse()
		resp.Version, resp.NodeID, resp.Port, resp.ErrorCode = v, -1, -1, 15
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Port, c.ErrorCode = "g", -1, -1, 15
		resp.Coordinators = append(resp.Coordinators, c)
		_, changed, err := RewriteResponse(nil, keyFindCoordinator, v, responseFrame(1, resp), advertiser{fail: errors.New("asked")}, nil)
		if changed || err != nil {
			t.Errorf("v%d: changed %v, %v", v, changed, err)
		}
	}
}

// Traps 9 and 11: an address that cannot be mapped is not passed on.
func TestTrap11AnUnmappedNodeFailsTheResponse(t *testing.T) {
	unknown := errors.New("no port for it")
	for _, key := range []int16{keyProduce, keyFetch, keyMetadata, keyFindCoordinator, keyDescribeCluster, keyShareFetch, keyShareAcknowledge} {
		resp := kmsg.ResponseForKey(key)
		resp.SetVersion(table[key].Max)
		plant(resp, 2)
		out, changed, err := RewriteResponse([]byte("kept"), key, table[key].Max, responseFrame(1, resp), advertiser{fail: unknown}, nil)
		if !errors.Is(err, unknown) || changed || string(out) != "kept" {
			t.Errorf("%s: %q, %v, %v", table[key].Name, out, changed, err)
		}
	}
}

// Trap 10: node ids are the cluster's own everywhere, so nothing else needs mapping.
func TestTrap10NodeIdsStayAsTheyAre(t *testing.T) {
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.Version, resp.ControllerID = 2, 3
	b := kmsg.NewDescribeClusterResponseBroker()
	b.NodeID, b.Host, b.Port = 3, upstreamHost, 9092
	resp.Brokers = append(resp.Brokers, b)
	out, _, err := RewriteResponse(nil, keyDescribeCluster, 2, responseFrame(1, resp), advertiser{}, nil)
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

func (m ids) Learn(id [16]byte, name string) { m[id] = name }
func (m ids) Name(id [16]byte) (string, bool) {
	name, ok := m[id]
	return name, ok
}

// Trap 12: ids are learned wherever a response pairs them with names, and not
// where it reports an error.
func TestTrap12TopicIdsAreLearned(t *testing.T) {
	good, bad := [16]byte{1}, [16]byte{2}
	metadata := func(v int16) kmsg.Response {
		r := kmsg.NewPtrMetadataResponse()
		r.Version = v
		for id, code := range map[[16]byte]int16{good: 0, bad: 3} {
			a := kmsg.NewMetadataResponseTopic()
			a.Topic, a.TopicID, a.ErrorCode = kmsg.StringPtr("t"), id, code
			r.Topics = append(r.Topics, a)
		}
		return r
	}
	create := kmsg.NewPtrCreateTopicsResponse()
	create.Version = 7
	describe := kmsg.NewPtrDescribeTopicPartitionsResponse()
	for id, code := range map[[16]byte]int16{good: 0, bad: 3} {
		a := kmsg.NewCreateTopicsResponseTopic()
		a.Topic, a.TopicID, a.ErrorCode = "t", id, code
		create.Topics = append(create.Topics, a)
		b := kmsg.NewDescribeTopicPartitionsResponseTopic()
		b.Topic, b.TopicID, b.ErrorCode = kmsg.StringPtr("t"), id, code
		describe.Topics = append(describe.Topics, b)
	}
	for _, resp := range []kmsg.Response{metadata(10), metadata(11), metadata(12), metadata(13), create, describe} {
		m := ids{}
		_, changed, err := RewriteResponse(nil, resp.Key(), resp.GetVersion(), responseFrame(1, resp), advertiser{}, m)
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
		out, changed, err := RewriteResponse(nil, keyDescribeConfigs, v, responseFrame(1, resp), advertiser{}, nil)
		if err != nil || !changed {
			t.Fatalf("v%d: %v %v", v, changed, err)
		}
		resp.Resources[0].Configs[0].Value, resp.Resources[0].Configs[0].IsSensitive = nil, true
		if !bytes.Equal(out, responseFrame(1, resp)) {
			t.Errorf("v%d: %x", v, out)
		}
	}
}

// The least that a response can hold must not be taken for a count too many.
func TestSmallestElementsAreRead(t *testing.T) {
	for _, api := range Table() {
		for v := api.Min; v <= api.Max && api.Handling != Refuse; v++ {
			resp := kmsg.ResponseForKey(api.Key)
			resp.SetVersion(v)
			smallest(reflect.ValueOf(resp).Elem())
			frame := responseFrame(1, resp)
			if _, _, err := RewriteResponse(nil, api.Key, v, frame, advertiser{}, ids{}); err != nil {
				t.Errorf("%s v%d: %v", api.Name, v, err)
			}
			if api.Key == keyFetch || api.Key == keyShareFetch {
				if _, _, err := WalkFetchRecords(nil, api.Key, v, frame, keepRecords); err != nil {
					t.Errorf("%s v%d records: %v", api.Name, v, err)
				}
			}
			req := kmsg.RequestForKey(api.Key)
			req.SetVersion(v)
			smallest(reflect.ValueOf(req).Elem())
			if err := CheckRequest(api.Key, v, req.AppendTo(nil)); err != nil {
				t.Errorf("%s v%d: %v", api.Name, v, err)
			}
			if err := ParseProduce(v, req.AppendTo(nil), new(Produce)); api.Key == keyProduce && !errors.Is(err, ErrDuplicate) {
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
	for _, key := range []int16{keyProduce, keyFetch, keyMetadata, keyFindCoordinator, keyDescribeCluster, keyShareFetch, keyShareAcknowledge, keyDescribeConfigs, keyCreateTopics, keyTopicPartitions} {
		api := table[key]
		resp := kmsg.ResponseForKey(key)
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
			resp := kmsg.ResponseForKey(api.Key)
			resp.SetVersion(v)
			plant(resp, uint64(v))
			f.Add(api.Key, v, responseFrame(1, resp))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, frame []byte) {
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
