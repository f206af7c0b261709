package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Handling says what the gateway does with requests of an API.
type Handling uint8

// The handlings. The zero value refuses, so that an API that nobody thought of
// is refused.
const (
	Refuse        Handling = iota // not for clients: the connection is closed
	Forward                       // both frames pass as they are
	ParseRequest                  // the request is read before it goes up
	ParseResponse                 // the response is read before it goes down
	ParseBoth
	Local // answered here
)

var handlingNames = [...]string{"refuse", "forward", "parse request", "parse response", "parse both", "local"}

// String names the handling as docs/protocol.md prints it, which a test makes
// of this table.
func (h Handling) String() string {
	if int(h) < len(handlingNames) {
		return handlingNames[h]
	}
	return "unknown"
}

// API is one row of the table: which versions of an API a client may use and
// what we do with them.
type API struct {
	Key      kmsg.Key
	Name     string // as Apache Kafka spells it
	Min, Max int16  // versions that are let through
	Flexible int16  // first version with compact lengths and tags, or never
	Handling Handling
	PreAuth  bool // may be sent before the client is authenticated
	OptIn    bool // advertised and let through only where the operator enables it
	// Request is the shape of the request body, by which CheckRequest walks it
	// (see shape.go).
	Request string
	Why     string
}

// Serves reports whether clients may use that version. A listener may cap it
// further: see ApiOptions.
func (a API) Serves(version int16) bool {
	return a.Handling != Refuse && version >= a.Min && version <= a.Max
}

// IsFlexible reports whether the version uses the encoding of KIP-482: compact
// lengths and tagged fields.
func (a API) IsFlexible(version int16) bool { return a.Flexible >= 0 && version >= a.Flexible }

// Lookup finds an API by key. A key that is not in the table is refused.
func Lookup(key kmsg.Key) (API, bool) {
	if key < 0 || int(key) >= len(table) {
		return API{}, false
	}
	return table[key], true
}

// Table returns all rows in the order of their keys, in a copy that the caller
// may change.
func Table() []API { return append([]API(nil), table[:]...) }

// never stands for the first flexible version of an API that has none, since 0
// is a version.
const never = -1

const (
	whyBroker     = "between brokers and controllers only"
	whyRaft       = "between KRaft nodes, or changes the quorum"
	whyGroup      = "names topics and ids, no addresses and no records"
	whyTxn        = "the coordinator's business: passed, never answered here (KIP-98, KIP-890)"
	whyEvidence   = "recorded, and judged by policy (guardlock.admin): it can destroy or weaken evidence"
	whyAdmin      = "decided by the cluster's own ACLs"
	whyShareState = "between share coordinators and brokers only (KIP-932)"
)

// table is indexed by key. Versions are those of Apache Kafka 4.4 that we have
// read; a new version upstream stays hidden until its row is changed here. A
// test holds every row against kmsg.
var table = [...]API{
	{Key: kmsg.Produce, Name: "Produce", Min: 3, Max: 13, Flexible: 9, Handling: ParseBoth,
		Request: "s3+ h i {s-12 u13+ {i y}}",
		Why:     "records meet their transforms; node endpoints rewritten; v0-2 carry message sets, which no transform reads, and are refused, yet v0 stays advertised (KAFKA-18659)"},
	{Key: kmsg.Fetch, Name: "Fetch", Min: 4, Max: 18, Flexible: 12, Handling: ParseBoth,
		Request: "i-14 i i i3+ b4+ i7+ i7+ {s-12 u13+ {i i9+ q i12+ q5+ i}} {s7-12 u13+ [i]}7+ s11+",
		Why:     "dropped records' placeholders are stripped, except for client id guardlock-audit; node endpoints rewritten; followers refused; v0-3 may return message sets"},
	{Key: kmsg.ListOffsets, Name: "ListOffsets", Min: 1, Max: 11, Flexible: 6, Handling: ParseRequest,
		Request: "i b2+ {s {i i4+ q i0}} i10+",
		Why:     "replica ids become a consumer's"},
	{Key: kmsg.Metadata, Name: "Metadata", Min: 0, Max: 13, Flexible: 9, Handling: ParseBoth,
		Request: "{u10+ s} b4+ b8-10 b8+",
		Why:     "broker addresses rewritten; topic ids learned from v10; from v4 on no topic that nobody bound is created"},
	{Key: kmsg.LeaderAndISR, Name: "LeaderAndIsr", Min: 0, Max: 7, Flexible: 4, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.StopReplica, Name: "StopReplica", Min: 0, Max: 4, Flexible: 2, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.UpdateMetadata, Name: "UpdateMetadata", Min: 0, Max: 8, Flexible: 6, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.ControlledShutdown, Name: "ControlledShutdown", Min: 0, Max: 3, Flexible: 3, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.OffsetCommit, Name: "OffsetCommit", Min: 2, Max: 10, Flexible: 8, Handling: Forward,
		Request: "s i1+ s1+ s7+ q2-4 {s-9 u10+ {i q q1 i6+ s}}",
		Why:     whyGroup},
	{Key: kmsg.OffsetFetch, Name: "OffsetFetch", Min: 1, Max: 10, Flexible: 6, Handling: Forward,
		Request: "s-7 {s [i]}-7 {s s9+ i9+ {s8-9 u10+ [i]}}8+ b7+",
		Why:     whyGroup},
	{Key: kmsg.FindCoordinator, Name: "FindCoordinator", Min: 0, Max: 6, Flexible: 3, Handling: ParseResponse,
		Request: "s-3 b1+ [s]4+",
		Why:     "coordinator addresses rewritten: one field up to v3, a list from v4"},
	{Key: kmsg.JoinGroup, Name: "JoinGroup", Min: 0, Max: 9, Flexible: 6, Handling: Forward,
		Request: "s i i1+ s s5+ s {s y} s8+",
		Why:     whyGroup},
	{Key: kmsg.Heartbeat, Name: "Heartbeat", Min: 0, Max: 4, Flexible: 4, Handling: Forward,
		Request: "s i s s3+",
		Why:     whyGroup},
	{Key: kmsg.LeaveGroup, Name: "LeaveGroup", Min: 0, Max: 5, Flexible: 4, Handling: Forward,
		Request: "s s-2 {s s s5+}3+",
		Why:     whyGroup},
	{Key: kmsg.SyncGroup, Name: "SyncGroup", Min: 0, Max: 5, Flexible: 4, Handling: Forward,
		Request: "s i s s3+ s5+ s5+ {s y}",
		Why:     whyGroup},
	{Key: kmsg.DescribeGroups, Name: "DescribeGroups", Min: 0, Max: 6, Flexible: 5, Handling: Forward,
		Request: "[s] b3+",
		Why:     "members' hosts are clients as the cluster sees them: this gateway"},
	{Key: kmsg.ListGroups, Name: "ListGroups", Min: 0, Max: 5, Flexible: 3, Handling: Forward,
		Request: "[s]4+ [s]5+",
		Why:     whyGroup},
	{Key: kmsg.SASLHandshake, Name: "SaslHandshake", Min: 0, Max: 1, Flexible: never, Handling: ParseBoth, PreAuth: true,
		Request: "s",
		Why:     "the mechanism is learned, or terminated here"},
	{Key: kmsg.ApiVersions, Name: "ApiVersions", Min: 0, Max: 5, Flexible: 3, Handling: ParseBoth, PreAuth: true,
		Request: "s3+ s3+ s5+ i5+",
		Why:     "ranges intersected with this table; cluster id and node id nulled in v5 (KIP-1242)"},
	{Key: kmsg.CreateTopics, Name: "CreateTopics", Min: 2, Max: 7, Flexible: 5, Handling: ParseBoth,
		Request: "{s i h {i [i]} {s s}} i b1+",
		Why:     "topic ids learned from v7; the embedded broker is given what stands below"},
	{Key: kmsg.DeleteTopics, Name: "DeleteTopics", Min: 1, Max: 6, Flexible: 4, Handling: ParseRequest,
		Request: "[s]-5 {s u}6+ i",
		Why:     whyEvidence},
	{Key: kmsg.DeleteRecords, Name: "DeleteRecords", Min: 0, Max: 2, Flexible: 2, Handling: ParseRequest,
		Request: "{s {i q}} i",
		Why:     whyEvidence},
	{Key: kmsg.InitProducerID, Name: "InitProducerId", Min: 0, Max: 5, Flexible: 2, Handling: Forward,
		Request: "s i q3+ h3+",
		Why:     whyTxn},
	{Key: kmsg.OffsetForLeaderEpoch, Name: "OffsetForLeaderEpoch", Min: 2, Max: 4, Flexible: 4, Handling: ParseRequest,
		Request: "i3+ {s {i i2+ i}}",
		Why:     "replica ids become a consumer's"},
	// AddPartitionsToTxn from v4 is the batched form that brokers use for
	// verification (KIP-890); clients stop at v3.
	{Key: kmsg.AddPartitionsToTxn, Name: "AddPartitionsToTxn", Min: 0, Max: 3, Flexible: 3, Handling: Forward,
		Request: "s-3 q-3 h-3 {s [i]}-3 {s q h b {s [i]}}4+",
		Why:     whyTxn + "; v4 and up are the brokers' own"},
	{Key: kmsg.AddOffsetsToTxn, Name: "AddOffsetsToTxn", Min: 0, Max: 4, Flexible: 3, Handling: Forward,
		Request: "s q h s",
		Why:     whyTxn},
	{Key: kmsg.EndTxn, Name: "EndTxn", Min: 0, Max: 5, Flexible: 3, Handling: Forward,
		Request: "s q h b",
		Why:     whyTxn},
	{Key: kmsg.WriteTxnMarkers, Name: "WriteTxnMarkers", Min: 0, Max: 2, Flexible: 1, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.TxnOffsetCommit, Name: "TxnOffsetCommit", Min: 0, Max: 6, Flexible: 3, Handling: Forward,
		Request: "s s q h i3+ s3+ s3+ {s-5 u6+ {i q i2+ s}}",
		Why:     whyTxn},
	{Key: kmsg.DescribeACLs, Name: "DescribeAcls", Min: 1, Max: 3, Flexible: 2, Handling: Forward,
		Request: "b s b1+ s s b b",
		Why:     whyAdmin + "; host fields are patterns for clients"},
	{Key: kmsg.CreateACLs, Name: "CreateAcls", Min: 1, Max: 3, Flexible: 2, Handling: ParseRequest,
		Request: "{b s b1+ s s b b}",
		Why:     whyEvidence},
	{Key: kmsg.DeleteACLs, Name: "DeleteAcls", Min: 1, Max: 3, Flexible: 2, Handling: ParseRequest,
		Request: "{b s b1+ s s b b}",
		Why:     whyEvidence + "; host fields are patterns for clients"},
	{Key: kmsg.DescribeConfigs, Name: "DescribeConfigs", Min: 1, Max: 4, Flexible: 4, Handling: ParseResponse,
		Request: "{b s [s]} b1+ b3+",
		Why:     "values of brokers' listener and quorum settings are withheld: they are addresses"},
	{Key: kmsg.AlterConfigs, Name: "AlterConfigs", Min: 0, Max: 2, Flexible: 2, Handling: ParseRequest,
		Request: "{b s {s s}} b",
		Why:     whyEvidence + "; the embedded broker is given what stands below"},
	{Key: kmsg.AlterReplicaLogDirs, Name: "AlterReplicaLogDirs", Min: 1, Max: 2, Flexible: 2, Handling: Forward,
		Request: "{s {s [i]}}",
		Why:     whyAdmin},
	{Key: kmsg.DescribeLogDirs, Name: "DescribeLogDirs", Min: 1, Max: 5, Flexible: 2, Handling: Forward,
		Request: "{s [i]}",
		Why:     whyAdmin},
	{Key: kmsg.SASLAuthenticate, Name: "SaslAuthenticate", Min: 0, Max: 2, Flexible: 2, Handling: ParseBoth, PreAuth: true,
		Request: "y",
		Why:     "the principal is learned, or authenticated here; comes again in mid-connection (KIP-368)"},
	{Key: kmsg.CreatePartitions, Name: "CreatePartitions", Min: 0, Max: 3, Flexible: 2, Handling: ParseRequest,
		Request: "{s i {[i]}} i b",
		Why:     whyAdmin},
	{Key: kmsg.CreateDelegationToken, Name: "CreateDelegationToken", Min: 1, Max: 3, Flexible: 2, Handling: Forward,
		Request: "s3+ s3+ {s s} q",
		Why:     whyAdmin},
	{Key: kmsg.RenewDelegationToken, Name: "RenewDelegationToken", Min: 1, Max: 2, Flexible: 2, Handling: Forward,
		Request: "y q",
		Why:     whyAdmin},
	{Key: kmsg.ExpireDelegationToken, Name: "ExpireDelegationToken", Min: 1, Max: 2, Flexible: 2, Handling: Forward,
		Request: "y q",
		Why:     whyAdmin},
	{Key: kmsg.DescribeDelegationToken, Name: "DescribeDelegationToken", Min: 1, Max: 3, Flexible: 2, Handling: Forward,
		Request: "{s s}",
		Why:     whyAdmin},
	{Key: kmsg.DeleteGroups, Name: "DeleteGroups", Min: 0, Max: 3, Flexible: 2, Handling: Forward,
		Request: "[s]",
		Why:     whyAdmin},
	{Key: kmsg.ElectLeaders, Name: "ElectLeaders", Min: 0, Max: 2, Flexible: 2, Handling: Forward,
		Request: "b1+ {s [i]} i",
		Why:     whyAdmin},
	{Key: kmsg.IncrementalAlterConfigs, Name: "IncrementalAlterConfigs", Min: 0, Max: 1, Flexible: 1, Handling: ParseRequest,
		Request: "{b s {s b s}} b",
		Why:     whyEvidence + "; the embedded broker is given what stands below"},
	{Key: kmsg.AlterPartitionAssignments, Name: "AlterPartitionReassignments", Min: 0, Max: 1, Flexible: 0, Handling: Forward,
		Request: "i b1+ {s {i [i]}}",
		Why:     whyAdmin},
	{Key: kmsg.ListPartitionReassignments, Name: "ListPartitionReassignments", Min: 0, Max: 0, Flexible: 0, Handling: Forward,
		Request: "i {s [i]}",
		Why:     whyAdmin},
	{Key: kmsg.OffsetDelete, Name: "OffsetDelete", Min: 0, Max: 0, Flexible: never, Handling: Forward,
		Request: "s {s {i}}",
		Why:     whyAdmin},
	{Key: kmsg.DescribeClientQuotas, Name: "DescribeClientQuotas", Min: 0, Max: 1, Flexible: 1, Handling: Forward,
		Request: "{s b s} b",
		Why:     whyAdmin},
	{Key: kmsg.AlterClientQuotas, Name: "AlterClientQuotas", Min: 0, Max: 1, Flexible: 1, Handling: Forward,
		Request: "{{s s} {s q b}} b",
		Why:     whyAdmin},
	{Key: kmsg.DescribeUserSCRAMCredentials, Name: "DescribeUserScramCredentials", Min: 0, Max: 0, Flexible: 0, Handling: Forward,
		Request: "{s}",
		Why:     whyAdmin},
	{Key: kmsg.AlterUserSCRAMCredentials, Name: "AlterUserScramCredentials", Min: 0, Max: 0, Flexible: 0, Handling: Forward,
		Request: "{s b} {s b i y y}",
		Why:     whyAdmin},
	{Key: kmsg.Vote, Name: "Vote", Min: 0, Max: 2, Flexible: 0, Handling: Refuse, Why: whyRaft},
	{Key: kmsg.BeginQuorumEpoch, Name: "BeginQuorumEpoch", Min: 0, Max: 1, Flexible: 1, Handling: Refuse, Why: whyRaft},
	{Key: kmsg.EndQuorumEpoch, Name: "EndQuorumEpoch", Min: 0, Max: 1, Flexible: 1, Handling: Refuse, Why: whyRaft},
	{Key: kmsg.DescribeQuorum, Name: "DescribeQuorum", Min: 0, Max: 2, Flexible: 0, Handling: Refuse, Why: "tells controllers' addresses, which no client of ours can reach"},
	{Key: kmsg.AlterPartition, Name: "AlterPartition", Min: 0, Max: 3, Flexible: 0, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.UpdateFeatures, Name: "UpdateFeatures", Min: 0, Max: 2, Flexible: 0, Handling: Refuse, Why: "would move features under the caps that we announce"},
	{Key: kmsg.Envelope, Name: "Envelope", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.FetchSnapshot, Name: "FetchSnapshot", Min: 0, Max: 1, Flexible: 0, Handling: Refuse, Why: whyRaft},
	{Key: kmsg.DescribeCluster, Name: "DescribeCluster", Min: 0, Max: 2, Flexible: 0, Handling: ParseResponse,
		Request: "b b1+ b2+",
		Why:     "broker addresses rewritten"},
	{Key: kmsg.DescribeProducers, Name: "DescribeProducers", Min: 0, Max: 0, Flexible: 0, Handling: Forward,
		Request: "{s [i]}",
		Why:     whyAdmin},
	{Key: kmsg.BrokerRegistration, Name: "BrokerRegistration", Min: 0, Max: 4, Flexible: 0, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.BrokerHeartbeat, Name: "BrokerHeartbeat", Min: 0, Max: 2, Flexible: 0, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.UnregisterBroker, Name: "UnregisterBroker", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: "changes which brokers exist: not through a data gateway"},
	{Key: kmsg.DescribeTransactions, Name: "DescribeTransactions", Min: 0, Max: 0, Flexible: 0, Handling: Forward,
		Request: "[s]",
		Why:     whyAdmin},
	{Key: kmsg.ListTransactions, Name: "ListTransactions", Min: 0, Max: 2, Flexible: 0, Handling: Forward,
		Request: "[s] [q] q1+ s2+",
		Why:     whyAdmin},
	{Key: kmsg.AllocateProducerIDs, Name: "AllocateProducerIds", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.ConsumerGroupHeartbeat, Name: "ConsumerGroupHeartbeat", Min: 0, Max: 1, Flexible: 0, Handling: Forward,
		Request: "s s i s s i [s] s1+ s {u [i]}",
		Why:     whyGroup + " (KIP-848)"},
	{Key: kmsg.ConsumerGroupDescribe, Name: "ConsumerGroupDescribe", Min: 0, Max: 1, Flexible: 0, Handling: Forward,
		Request: "[s] b",
		Why:     "members' hosts are clients as the cluster sees them: this gateway"},
	{Key: kmsg.ControllerRegistration, Name: "ControllerRegistration", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.GetTelemetrySubscriptions, Name: "GetTelemetrySubscriptions", Min: 0, Max: 0, Flexible: 0, Handling: Forward, OptIn: true,
		Request: "u",
		Why:     "client metrics go around record policy (KIP-714): off unless enabled"},
	{Key: kmsg.PushTelemetry, Name: "PushTelemetry", Min: 0, Max: 0, Flexible: 0, Handling: Forward, OptIn: true,
		Request: "u i b b y",
		Why:     "client metrics go around record policy (KIP-714): off unless enabled"},
	{Key: kmsg.AssignReplicasToDirs, Name: "AssignReplicasToDirs", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyBroker},
	{Key: kmsg.ListConfigResources, Name: "ListConfigResources", Min: 0, Max: 1, Flexible: 0, Handling: Forward,
		Request: "[b]1+",
		Why:     whyAdmin},
	{Key: kmsg.DescribeTopicPartitions, Name: "DescribeTopicPartitions", Min: 0, Max: 0, Flexible: 0, Handling: ParseResponse,
		Request: "{s} i ?(s i)",
		Why:     "node ids only; topic ids learned (KIP-966)"},
	{Key: kmsg.ShareGroupHeartbeat, Name: "ShareGroupHeartbeat", Min: 1, Max: 1, Flexible: 0, Handling: Forward,
		Request: "s s i s [s]",
		Why:     whyGroup + " (KIP-932)"},
	{Key: kmsg.ShareGroupDescribe, Name: "ShareGroupDescribe", Min: 1, Max: 1, Flexible: 0, Handling: Forward,
		Request: "[s] b",
		Why:     "members' hosts are clients as the cluster sees them: this gateway"},
	{Key: kmsg.ShareFetch, Name: "ShareFetch", Min: 1, Max: 2, Flexible: 0, Handling: ParseResponse,
		Request: "s s i i i i i1+ i1+ b2+ b2+ {u {i i0 {q q [b]}}} {u [i]}",
		Why:     "returns records: the rules of Fetch; node endpoints rewritten (KIP-932)"},
	{Key: kmsg.ShareAcknowledge, Name: "ShareAcknowledge", Min: 1, Max: 2, Flexible: 0, Handling: ParseResponse,
		Request: "s s i b2+ {u {i {q q [b]}}}",
		Why:     "node endpoints rewritten (KIP-932)"},
	{Key: kmsg.AddRaftVoter, Name: "AddRaftVoter", Min: 0, Max: 1, Flexible: 0, Handling: Refuse, Why: whyRaft},
	{Key: kmsg.RemoveRaftVoter, Name: "RemoveRaftVoter", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyRaft},
	{Key: kmsg.UpdateRaftVoter, Name: "UpdateRaftVoter", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyRaft},
	{Key: kmsg.InitializeShareGroupState, Name: "InitializeShareGroupState", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyShareState},
	{Key: kmsg.ReadShareGroupState, Name: "ReadShareGroupState", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyShareState},
	{Key: kmsg.WriteShareGroupState, Name: "WriteShareGroupState", Min: 0, Max: 1, Flexible: 0, Handling: Refuse, Why: whyShareState},
	{Key: kmsg.DeleteShareGroupState, Name: "DeleteShareGroupState", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyShareState},
	{Key: kmsg.ReadShareGroupStateSummary, Name: "ReadShareGroupStateSummary", Min: 0, Max: 1, Flexible: 0, Handling: Refuse, Why: whyShareState},
	{Key: kmsg.StreamsGroupHeartbeat, Name: "StreamsGroupHeartbeat", Min: 0, Max: 1, Flexible: 0, Handling: Forward,
		Request: "s s i i s s i ?(i {s [s] [s] {s i h {s s}} [s] {s i h {s s}} {[h] [h] [h]}}) {s [i]} {s [i]} {s [i]} s ?(s h) {s s} {s i q} {s i q} b",
		Why:     "user endpoints are the applications' own (KIP-1071)"},
	{Key: kmsg.StreamsGroupDescribe, Name: "StreamsGroupDescribe", Min: 0, Max: 1, Flexible: 0, Handling: Forward,
		Request: "[s] b b1+",
		Why:     "user endpoints are the applications' own (KIP-1071)"},
	{Key: kmsg.DescribeShareGroupOffsets, Name: "DescribeShareGroupOffsets", Min: 0, Max: 1, Flexible: 0, Handling: Forward,
		Request: "{s {s [i]}}",
		Why:     whyGroup + " (KIP-932)"},
	{Key: kmsg.AlterShareGroupOffsets, Name: "AlterShareGroupOffsets", Min: 0, Max: 0, Flexible: 0, Handling: Forward,
		Request: "s {s {i q}}",
		Why:     whyAdmin},
	{Key: kmsg.DeleteShareGroupOffsets, Name: "DeleteShareGroupOffsets", Min: 0, Max: 0, Flexible: 0, Handling: Forward,
		Request: "s {s}",
		Why:     whyAdmin},
	{Key: kmsg.StreamsGroupTopologyDescriptionUpdate, Name: "StreamsGroupTopologyDescriptionUpdate", Min: 0, Max: 0, Flexible: 0, Handling: Forward,
		Request: "s s i ({s {s b [s] s [s] [s]}} {(s b [s] s [s] [s]) (s b [s] s [s] [s])})",
		Why:     "names the steps, stores and topics of an application (KIP-1331)"},
	{Key: kmsg.UnregisterController, Name: "UnregisterController", Min: 0, Max: 0, Flexible: 0, Handling: Refuse, Why: whyRaft},
}

// KeyName is what messages call an API: Kafka's name for it, also where the
// table has none.
func KeyName(key kmsg.Key) string {
	if api, ok := Lookup(key); ok {
		return api.Name
	}
	return fmt.Sprintf("API key %d", key)
}
