package wire

// Handling says what the gateway does with an API.
type Handling uint8

// The handlings. The zero value refuses.
const (
	Refuse        Handling = iota // not for clients: the connection is closed
	Forward                       // both frames pass as they are
	ParseRequest                  // the request is read before it goes up
	ParseResponse                 // the response is read before it goes down
	ParseBoth
	Local // answered here
)

var handlingNames = [...]string{"refuse", "forward", "parse request", "parse response", "parse both", "local"}

// String names the handling as docs/protocol.md prints it.
func (h Handling) String() string {
	if int(h) < len(handlingNames) {
		return handlingNames[h]
	}
	return "unknown"
}

// API is one row of the table: which versions of an API a client may use and
// what we do with them.
type API struct {
	Key      int16
	Name     string // as Apache Kafka spells it
	Min, Max int16  // versions that are let through
	Flexible int16  // first version with compact lengths and tags; -1 for none
	Handling Handling
	PreAuth  bool // may be sent before the client is authenticated
	OptIn    bool // advertised and let through only where the operator enables it
	// Request is the shape of the request body, for CheckRequest (shape.go).
	Request string
	Why     string
}

// Serves reports whether clients may use that version.
func (a API) Serves(version int16) bool {
	return a.Handling != Refuse && version >= a.Min && version <= a.Max
}

// IsFlexible reports whether the version uses KIP-482's encoding.
func (a API) IsFlexible(version int16) bool { return a.Flexible >= 0 && version >= a.Flexible }

// Lookup finds an API by key. A key that is not in the table is refused.
func Lookup(key int16) (API, bool) {
	if key < 0 || int(key) >= len(table) {
		return API{}, false
	}
	return table[key], true
}

// Table returns all rows in key order.
func Table() []API { return append([]API(nil), table[:]...) }

const (
	whyBroker     = "between brokers and controllers only"
	whyRaft       = "between KRaft nodes, or changes the quorum"
	whyGroup      = "names topics and ids, no addresses and no records"
	whyTxn        = "the coordinator's business: passed, never answered here (KIP-98, KIP-890)"
	whyAdmin      = "decided by the cluster's own ACLs"
	whyShareState = "between share coordinators and brokers only (KIP-932)"
)

// table is indexed by key. Versions are those of Apache Kafka 4.3 that we have
// read; a new version upstream stays hidden until its row is changed here.
var table = [...]API{
	{0, "Produce", 3, 13, 9, ParseBoth, false, false, "s3+ h i {s-12 u13+ {i y}}", "records meet their transforms; node endpoints rewritten; v0-2 carry message sets, which no transform reads, and are refused, yet v0 stays advertised (KAFKA-18659)"},
	{1, "Fetch", 4, 18, 12, ParseBoth, false, false, "i-14 i i i3+ b4+ i7+ i7+ {s-12 u13+ {i i9+ q i12+ q5+ i}} {s7-12 u13+ [i]}7+ s11+", "dropped records' placeholders are stripped, except for client id guardlock-audit; node endpoints rewritten; followers refused; v0-3 may return message sets"},
	{2, "ListOffsets", 1, 11, 6, ParseRequest, false, false, "i b2+ {s {i i4+ q i0}} i10+", "followers refused"},
	{3, "Metadata", 0, 13, 9, ParseResponse, false, false, "{u10+ s} b4+ b8-10 b8+", "broker addresses rewritten; topic ids learned from v10"},
	{4, "LeaderAndIsr", 0, 7, 4, Refuse, false, false, "", whyBroker},
	{5, "StopReplica", 0, 4, 2, Refuse, false, false, "", whyBroker},
	{6, "UpdateMetadata", 0, 8, 6, Refuse, false, false, "", whyBroker},
	{7, "ControlledShutdown", 0, 3, 3, Refuse, false, false, "", whyBroker},
	{8, "OffsetCommit", 2, 10, 8, Forward, false, false, "s i1+ s1+ s7+ q2-4 {s-9 u10+ {i q q1 i6+ s}}", whyGroup},
	{9, "OffsetFetch", 1, 10, 6, Forward, false, false, "s-7 {s [i]}-7 {s s9+ i9+ {s8-9 u10+ [i]}}8+ b7+", whyGroup},
	{10, "FindCoordinator", 0, 6, 3, ParseResponse, false, false, "s-3 b1+ [s]4+", "coordinator addresses rewritten: one field up to v3, a list from v4"},
	{11, "JoinGroup", 0, 9, 6, Forward, false, false, "s i i1+ s s5+ s {s y} s8+", whyGroup},
	{12, "Heartbeat", 0, 4, 4, Forward, false, false, "s i s s3+", whyGroup},
	{13, "LeaveGroup", 0, 5, 4, Forward, false, false, "s s-2 {s s s5+}3+", whyGroup},
	{14, "SyncGroup", 0, 5, 4, Forward, false, false, "s i s s3+ s5+ s5+ {s y}", whyGroup},
	{15, "DescribeGroups", 0, 6, 5, Forward, false, false, "[s] b3+", "members' hosts are clients as the cluster sees them: this gateway"},
	{16, "ListGroups", 0, 5, 3, Forward, false, false, "[s]4+ [s]5+", whyGroup},
	{17, "SaslHandshake", 0, 1, -1, ParseBoth, true, false, "s", "the mechanism is learned, or terminated here"},
	{18, "ApiVersions", 0, 5, 3, ParseBoth, true, false, "s3+ s3+ s5+ i5+", "ranges intersected with this table; cluster id and node id nulled in v5 (KIP-1242)"},
	{19, "CreateTopics", 2, 7, 5, ParseBoth, false, false, "{s i h {i [i]} {s s}} i b1+", "names and configurations meet policy; topic ids learned from v7"},
	{20, "DeleteTopics", 1, 6, 4, Forward, false, false, "[s]-5 {s u}6+ i", whyAdmin},
	{21, "DeleteRecords", 0, 2, 2, Forward, false, false, "{s {i q}} i", whyAdmin},
	{22, "InitProducerId", 0, 5, 2, Forward, false, false, "s i q3+ h3+", whyTxn},
	{23, "OffsetForLeaderEpoch", 2, 4, 4, ParseRequest, false, false, "i3+ {s {i i2+ i}}", "followers refused"},
	// AddPartitionsToTxn from v4 is the batched form that brokers use for
	// verification (KIP-890); clients stop at v3.
	{24, "AddPartitionsToTxn", 0, 3, 3, Forward, false, false, "s-3 q-3 h-3 {s [i]}-3 {s q h b {s [i]}}4+", whyTxn + "; v4 and up are the brokers' own"},
	{25, "AddOffsetsToTxn", 0, 4, 3, Forward, false, false, "s q h s", whyTxn},
	{26, "EndTxn", 0, 5, 3, Forward, false, false, "s q h b", whyTxn},
	{27, "WriteTxnMarkers", 0, 2, 1, Refuse, false, false, "", whyBroker},
	{28, "TxnOffsetCommit", 0, 6, 3, Forward, false, false, "s s q h i3+ s3+ s3+ {s-5 u6+ {i q i2+ s}}", whyTxn},
	{29, "DescribeAcls", 1, 3, 2, Forward, false, false, "b s b1+ s s b b", whyAdmin + "; host fields are patterns for clients"},
	{30, "CreateAcls", 1, 3, 2, Forward, false, false, "{b s b1+ s s b b}", whyAdmin},
	{31, "DeleteAcls", 1, 3, 2, Forward, false, false, "{b s b1+ s s b b}", whyAdmin + "; host fields are patterns for clients"},
	{32, "DescribeConfigs", 1, 4, 4, ParseResponse, false, false, "{b s [s]} b1+ b3+", "values of brokers' listener and quorum settings are withheld: they are addresses"},
	{33, "AlterConfigs", 0, 2, 2, ParseRequest, false, false, "{b s {s s}} b", "configurations meet policy"},
	{34, "AlterReplicaLogDirs", 1, 2, 2, Forward, false, false, "{s {s [i]}}", whyAdmin},
	{35, "DescribeLogDirs", 1, 5, 2, Forward, false, false, "{s [i]}", whyAdmin},
	{36, "SaslAuthenticate", 0, 2, 2, ParseBoth, true, false, "y", "the principal is learned, or authenticated here; comes again in mid-connection (KIP-368)"},
	{37, "CreatePartitions", 0, 3, 2, Forward, false, false, "{s i {[i]}} i b", whyAdmin},
	{38, "CreateDelegationToken", 1, 3, 2, Forward, false, false, "s3+ s3+ {s s} q", whyAdmin},
	{39, "RenewDelegationToken", 1, 2, 2, Forward, false, false, "y q", whyAdmin},
	{40, "ExpireDelegationToken", 1, 2, 2, Forward, false, false, "y q", whyAdmin},
	{41, "DescribeDelegationToken", 1, 3, 2, Forward, false, false, "{s s}", whyAdmin},
	{42, "DeleteGroups", 0, 2, 2, Forward, false, false, "[s]", whyAdmin},
	{43, "ElectLeaders", 0, 2, 2, Forward, false, false, "b1+ {s [i]} i", whyAdmin},
	{44, "IncrementalAlterConfigs", 0, 1, 1, ParseRequest, false, false, "{b s {s b s}} b", "configurations meet policy"},
	{45, "AlterPartitionReassignments", 0, 1, 0, Forward, false, false, "i b1+ {s {i [i]}}", whyAdmin},
	{46, "ListPartitionReassignments", 0, 0, 0, Forward, false, false, "i {s [i]}", whyAdmin},
	{47, "OffsetDelete", 0, 0, -1, Forward, false, false, "s {s {i}}", whyAdmin},
	{48, "DescribeClientQuotas", 0, 1, 1, Forward, false, false, "{s b s} b", whyAdmin},
	{49, "AlterClientQuotas", 0, 1, 1, Forward, false, false, "{{s s} {s q b}} b", whyAdmin},
	{50, "DescribeUserScramCredentials", 0, 0, 0, Forward, false, false, "{s}", whyAdmin},
	{51, "AlterUserScramCredentials", 0, 0, 0, Forward, false, false, "{s b} {s b i y y}", whyAdmin},
	{52, "Vote", 0, 2, 0, Refuse, false, false, "", whyRaft},
	{53, "BeginQuorumEpoch", 0, 1, 1, Refuse, false, false, "", whyRaft},
	{54, "EndQuorumEpoch", 0, 1, 1, Refuse, false, false, "", whyRaft},
	{55, "DescribeQuorum", 0, 2, 0, Refuse, false, false, "", "tells controllers' addresses, which no client of ours can reach"},
	{56, "AlterPartition", 0, 3, 0, Refuse, false, false, "", whyBroker},
	{57, "UpdateFeatures", 0, 2, 0, Refuse, false, false, "", "would move features under the caps that we announce"},
	{58, "Envelope", 0, 0, 0, Refuse, false, false, "", whyBroker},
	{59, "FetchSnapshot", 0, 1, 0, Refuse, false, false, "", whyRaft},
	{60, "DescribeCluster", 0, 2, 0, ParseResponse, false, false, "b b1+ b2+", "broker addresses rewritten"},
	{61, "DescribeProducers", 0, 0, 0, Forward, false, false, "{s [i]}", whyAdmin},
	{62, "BrokerRegistration", 0, 4, 0, Refuse, false, false, "", whyBroker},
	{63, "BrokerHeartbeat", 0, 2, 0, Refuse, false, false, "", whyBroker},
	{64, "UnregisterBroker", 0, 0, 0, Refuse, false, false, "", "changes which brokers exist: not through a data gateway"},
	{65, "DescribeTransactions", 0, 0, 0, Forward, false, false, "[s]", whyAdmin},
	{66, "ListTransactions", 0, 2, 0, Forward, false, false, "[s] [q] q1+ s2+", whyAdmin},
	{67, "AllocateProducerIds", 0, 0, 0, Refuse, false, false, "", whyBroker},
	{68, "ConsumerGroupHeartbeat", 0, 1, 0, Forward, false, false, "s s i s s i [s] s1+ s {u [i]}", whyGroup + " (KIP-848)"},
	{69, "ConsumerGroupDescribe", 0, 1, 0, Forward, false, false, "[s] b", "members' hosts are clients as the cluster sees them: this gateway"},
	{70, "ControllerRegistration", 0, 0, 0, Refuse, false, false, "", whyBroker},
	{71, "GetTelemetrySubscriptions", 0, 0, 0, Forward, false, true, "u", "client metrics go around record policy (KIP-714): off unless enabled"},
	{72, "PushTelemetry", 0, 0, 0, Forward, false, true, "u i b b y", "client metrics go around record policy (KIP-714): off unless enabled"},
	{73, "AssignReplicasToDirs", 0, 0, 0, Refuse, false, false, "", whyBroker},
	{74, "ListConfigResources", 0, 1, 0, Forward, false, false, "[b]1+", whyAdmin},
	{75, "DescribeTopicPartitions", 0, 0, 0, ParseResponse, false, false, "{s} i ?(s i)", "node ids only; topic ids learned (KIP-966)"},
	{76, "ShareGroupHeartbeat", 1, 1, 0, Forward, false, false, "s s i s [s]", whyGroup + " (KIP-932)"},
	{77, "ShareGroupDescribe", 1, 1, 0, Forward, false, false, "[s] b", "members' hosts are clients as the cluster sees them: this gateway"},
	{78, "ShareFetch", 1, 2, 0, ParseResponse, false, false, "s s i i i i i1+ i1+ b2+ b2+ {u {i i0 {q q [b]}}} {u [i]}", "returns records: the rules of Fetch; node endpoints rewritten (KIP-932)"},
	{79, "ShareAcknowledge", 1, 2, 0, ParseResponse, false, false, "s s i b2+ {u {i {q q [b]}}}", "node endpoints rewritten (KIP-932)"},
	{80, "AddRaftVoter", 0, 1, 0, Refuse, false, false, "", whyRaft},
	{81, "RemoveRaftVoter", 0, 0, 0, Refuse, false, false, "", whyRaft},
	{82, "UpdateRaftVoter", 0, 0, 0, Refuse, false, false, "", whyRaft},
	{83, "InitializeShareGroupState", 0, 0, 0, Refuse, false, false, "", whyShareState},
	{84, "ReadShareGroupState", 0, 0, 0, Refuse, false, false, "", whyShareState},
	{85, "WriteShareGroupState", 0, 1, 0, Refuse, false, false, "", whyShareState},
	{86, "DeleteShareGroupState", 0, 0, 0, Refuse, false, false, "", whyShareState},
	{87, "ReadShareGroupStateSummary", 0, 1, 0, Refuse, false, false, "", whyShareState},
	{88, "StreamsGroupHeartbeat", 0, 1, 0, Forward, false, false, "s s i i s s i ?(i {s [s] [s] {s i h {s s}} [s] {s i h {s s}} {[h] [h] [h]}}) {s [i]} {s [i]} {s [i]} s ?(s h) {s s} {s i q} {s i q} b", "user endpoints are the applications' own (KIP-1071)"},
	{89, "StreamsGroupDescribe", 0, 1, 0, Forward, false, false, "[s] b b1+", "user endpoints are the applications' own (KIP-1071)"},
	{90, "DescribeShareGroupOffsets", 0, 1, 0, Forward, false, false, "{s {s [i]}}", whyGroup + " (KIP-932)"},
	{91, "AlterShareGroupOffsets", 0, 0, 0, Forward, false, false, "s {s {i q}}", whyAdmin},
	{92, "DeleteShareGroupOffsets", 0, 0, 0, Forward, false, false, "s {s}", whyAdmin},
}
