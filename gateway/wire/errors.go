package wire

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrorResponse appends the response frame that tells a client that its
// request failed with code: a well-formed answer to any API that the table
// serves, the code at the top or, where the API has none there, on every item
// of the request. body is the request's, behind the header. msg reaches the
// client where the API has room for it; it must hold nothing from records and
// no upstream address.
//
// A Produce request with acks=0 is answered with nothing, not even an error:
// its client reads no answer, and would take one for that of its next request.
// dst then comes back as it was.
func ErrorResponse(dst []byte, h RequestHeader, body []byte, code int16, msg string) ([]byte, error) {
	msg = msg[:min(len(msg), maxMessage)]
	if h.Key == kmsg.Produce {
		return produceError(dst, h, body, code, msg)
	}

	req, err := DecodeRequest(h, body)
	if err != nil {
		return dst, err
	}

	places, known := errorPlaces[h.Key]
	if !known {
		return dst, ErrRefused
	}

	f := failure{code: code}
	if msg != "" {
		f.msg = &msg
	}

	resp := req.ResponseKind()
	f.write(req, resp, places)
	return resp.AppendTo(AppendResponseHeader(dst, h.Key, h.Version, h.CorrelationID)), nil
}

// DecodeRequest decodes a request that is off the hot path, once it has been
// shown that this costs no more than in proportion to its size.
func DecodeRequest(h RequestHeader, body []byte) (kmsg.Request, error) {
	if len(body) > MaxDecoded {
		return nil, fmt.Errorf("decoding %s request: %w", KeyName(h.Key), ErrTooLarge)
	}
	if err := CheckRequest(h.Key, h.Version, body); err != nil {
		return nil, err
	}

	req := h.Key.Request()
	req.SetVersion(h.Version)
	if err := req.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("decoding %s request: %w", KeyName(h.Key), ErrMalformed)
	}

	return req, nil
}

// produceError answers every partition of a Produce request with code. It is
// written by our own encoder, as all answers to Produce are.
func produceError(dst []byte, h RequestHeader, body []byte, code int16, msg string) ([]byte, error) {
	var p Produce
	if err := ParseProduce(h.Version, body, &p); err != nil {
		return dst, err
	}
	if p.Acks == 0 {
		return dst, nil
	}

	for i := range p.Topics {
		for j := range p.Topics[i].Partitions {
			q := &p.Topics[i].Partitions[j]
			q.Skip = true
			q.Result = Failed(code, msg, nil)
		}
	}

	return AppendProduceResponse(dst, h.CorrelationID, &p), nil
}

// errorPlaces says, for every API that is served and decoded, where a response
// carries an error code. A code that the response's version does not have is
// left out by kmsg.
var errorPlaces = map[kmsg.Key][]errorPlace{
	kmsg.Fetch:                        {top, each("Topics", "Partitions").upTo(6)},
	kmsg.ListOffsets:                  {each("Topics", "Partitions")},
	kmsg.Metadata:                     {top, each("Topics")},
	kmsg.OffsetCommit:                 {each("Topics", "Partitions")},
	kmsg.OffsetFetch:                  {top, each("Topics", "Partitions").upTo(1), each("Groups")},
	kmsg.FindCoordinator:              {top, each("Coordinators").of("CoordinatorKeys", "Key")},
	kmsg.JoinGroup:                    {top},
	kmsg.Heartbeat:                    {top},
	kmsg.LeaveGroup:                   {top},
	kmsg.SyncGroup:                    {top},
	kmsg.DescribeGroups:               {each("Groups")},
	kmsg.ListGroups:                   {top},
	kmsg.SASLHandshake:                {top},
	kmsg.ApiVersions:                  {top},
	kmsg.CreateTopics:                 {each("Topics")},
	kmsg.DeleteTopics:                 {each("Topics").of("TopicNames", "Topic"), each("Topics")},
	kmsg.DeleteRecords:                {each("Topics", "Partitions")},
	kmsg.InitProducerID:               {top},
	kmsg.OffsetForLeaderEpoch:         {each("Topics", "Partitions")},
	kmsg.AddPartitionsToTxn:           {each("Topics", "Partitions")},
	kmsg.AddOffsetsToTxn:              {top},
	kmsg.EndTxn:                       {top},
	kmsg.TxnOffsetCommit:              {each("Topics", "Partitions")},
	kmsg.DescribeACLs:                 {top},
	kmsg.CreateACLs:                   {each("Results").of("Creations", "")},
	kmsg.DeleteACLs:                   {each("Results").of("Filters", "")},
	kmsg.DescribeConfigs:              {each("Resources")},
	kmsg.AlterConfigs:                 {each("Resources")},
	kmsg.AlterReplicaLogDirs:          {each("Topics", "Partitions").within("Dirs")},
	kmsg.DescribeLogDirs:              {top, nameless("Dirs").upTo(2)},
	kmsg.SASLAuthenticate:             {top},
	kmsg.CreatePartitions:             {each("Topics")},
	kmsg.CreateDelegationToken:        {top},
	kmsg.RenewDelegationToken:         {top},
	kmsg.ExpireDelegationToken:        {top},
	kmsg.DescribeDelegationToken:      {top},
	kmsg.DeleteGroups:                 {each("Groups")},
	kmsg.ElectLeaders:                 {top, each("Topics", "Partitions")},
	kmsg.IncrementalAlterConfigs:      {each("Resources")},
	kmsg.AlterPartitionAssignments:    {top},
	kmsg.ListPartitionReassignments:   {top},
	kmsg.OffsetDelete:                 {top},
	kmsg.DescribeClientQuotas:         {top},
	kmsg.AlterClientQuotas:            {each("Entries", "Entity")},
	kmsg.DescribeUserSCRAMCredentials: {top},
	// A user is answered for once, however often the request names it.
	kmsg.AlterUserSCRAMCredentials:             {each("Results").of("Deletions", "").once("User"), each("Results").of("Upsertions", "").once("User")},
	kmsg.DescribeCluster:                       {top},
	kmsg.DescribeProducers:                     {each("Topics", "Partitions")},
	kmsg.DescribeTransactions:                  {each("TransactionStates").of("TransactionalIDs", "TransactionalID")},
	kmsg.ListTransactions:                      {top},
	kmsg.ConsumerGroupHeartbeat:                {top},
	kmsg.ConsumerGroupDescribe:                 {each("Groups")},
	kmsg.GetTelemetrySubscriptions:             {top},
	kmsg.PushTelemetry:                         {top},
	kmsg.ListConfigResources:                   {top},
	kmsg.DescribeTopicPartitions:               {each("Topics")},
	kmsg.ShareGroupHeartbeat:                   {top},
	kmsg.ShareGroupDescribe:                    {each("Groups").of("GroupIDs", "GroupID")},
	kmsg.ShareFetch:                            {top},
	kmsg.ShareAcknowledge:                      {top},
	kmsg.StreamsGroupHeartbeat:                 {top},
	kmsg.StreamsGroupDescribe:                  {each("Groups")},
	kmsg.DescribeShareGroupOffsets:             {each("Groups")},
	kmsg.AlterShareGroupOffsets:                {top},
	kmsg.StreamsGroupTopologyDescriptionUpdate: {top},
	kmsg.DeleteShareGroupOffsets:               {top},
}
