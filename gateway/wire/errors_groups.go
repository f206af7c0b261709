package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// Responses with a code on every committed partition, or on every group.

func (f failure) offsets(req kmsg.Request, resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.OffsetCommitResponse:
		r.Topics = answers(req.(*kmsg.OffsetCommitRequest).Topics, f.offsetCommit)
	case *kmsg.TxnOffsetCommitResponse:
		r.Topics = answers(req.(*kmsg.TxnOffsetCommitRequest).Topics, f.txnOffsetCommit)
	case *kmsg.AddPartitionsToTxnResponse:
		r.Topics = answers(req.(*kmsg.AddPartitionsToTxnRequest).Topics, f.addPartitions)
	case *kmsg.OffsetFetchResponse:
		f.offsetFetch(req.(*kmsg.OffsetFetchRequest), r)
	default:
		return false
	}
	return true
}

func (f failure) offsetCommit(t *kmsg.OffsetCommitRequestTopic) kmsg.OffsetCommitResponseTopic {
	a := kmsg.NewOffsetCommitResponseTopic()
	a.Topic, a.TopicID = t.Topic, t.TopicID
	a.Partitions = answers(t.Partitions, func(p *kmsg.OffsetCommitRequestTopicPartition) kmsg.OffsetCommitResponseTopicPartition {
		q := kmsg.NewOffsetCommitResponseTopicPartition()
		q.Partition, q.ErrorCode = p.Partition, f.code
		return q
	})
	return a
}

func (f failure) txnOffsetCommit(t *kmsg.TxnOffsetCommitRequestTopic) kmsg.TxnOffsetCommitResponseTopic {
	a := kmsg.NewTxnOffsetCommitResponseTopic()
	a.Topic, a.TopicID = t.Topic, t.TopicID
	a.Partitions = answers(t.Partitions, func(p *kmsg.TxnOffsetCommitRequestTopicPartition) kmsg.TxnOffsetCommitResponseTopicPartition {
		q := kmsg.NewTxnOffsetCommitResponseTopicPartition()
		q.Partition, q.ErrorCode = p.Partition, f.code
		return q
	})
	return a
}

func (f failure) addPartitions(t *kmsg.AddPartitionsToTxnRequestTopic) kmsg.AddPartitionsToTxnResponseTopic {
	a := kmsg.NewAddPartitionsToTxnResponseTopic()
	a.Topic = t.Topic
	a.Partitions = answers(t.Partitions, func(p *int32) kmsg.AddPartitionsToTxnResponseTopicPartition {
		q := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
		q.Partition, q.ErrorCode = *p, f.code
		return q
	})
	return a
}

// offsetFetch: on partitions up to v1, at the top up to v7, on groups from v8.
func (f failure) offsetFetch(req *kmsg.OffsetFetchRequest, r *kmsg.OffsetFetchResponse) {
	r.ErrorCode = f.code
	for _, g := range req.Groups {
		a := kmsg.NewOffsetFetchResponseGroup()
		a.Group, a.ErrorCode = g.Group, f.code
		r.Groups = append(r.Groups, a)
	}
	if r.Version >= 2 {
		return
	}
	r.Topics = answers(req.Topics, func(t *kmsg.OffsetFetchRequestTopic) kmsg.OffsetFetchResponseTopic {
		a := kmsg.NewOffsetFetchResponseTopic()
		a.Topic = t.Topic
		a.Partitions = answers(t.Partitions, func(p *int32) kmsg.OffsetFetchResponseTopicPartition {
			q := kmsg.NewOffsetFetchResponseTopicPartition()
			q.Partition, q.ErrorCode, q.Offset = *p, f.code, -1
			return q
		})
		return a
	})
}

func (f failure) groups(req kmsg.Request, resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.FindCoordinatorResponse:
		f.findCoordinator(req.(*kmsg.FindCoordinatorRequest), r)
	case *kmsg.DescribeGroupsResponse:
		r.Groups = answers(req.(*kmsg.DescribeGroupsRequest).Groups, f.describeGroups)
	case *kmsg.DeleteGroupsResponse:
		r.Groups = answers(req.(*kmsg.DeleteGroupsRequest).Groups, f.deleteGroups)
	case *kmsg.ConsumerGroupDescribeResponse:
		r.Groups = answers(req.(*kmsg.ConsumerGroupDescribeRequest).Groups, f.describeConsumers)
	case *kmsg.StreamsGroupDescribeResponse:
		r.Groups = answers(req.(*kmsg.StreamsGroupDescribeRequest).Groups, f.describeStreams)
	case *kmsg.ShareGroupDescribeResponse:
		r.Groups = answers(req.(*kmsg.ShareGroupDescribeRequest).GroupIDs, f.describeShares)
	case *kmsg.DescribeShareGroupOffsetsResponse:
		r.Groups = answers(req.(*kmsg.DescribeShareGroupOffsetsRequest).Groups, f.describeShareOffsets)
	default:
		return false
	}
	return true
}

// findCoordinator: one answer up to v3, one for every key from v4. Nobody is
// the coordinator: node -1 without an address.
func (f failure) findCoordinator(req *kmsg.FindCoordinatorRequest, r *kmsg.FindCoordinatorResponse) {
	r.ErrorCode, r.ErrorMessage, r.NodeID, r.Port = f.code, f.msg, -1, -1
	r.Coordinators = answers(req.CoordinatorKeys, func(key *string) kmsg.FindCoordinatorResponseCoordinator {
		a := kmsg.NewFindCoordinatorResponseCoordinator()
		a.Key, a.ErrorCode, a.ErrorMessage, a.NodeID, a.Port = *key, f.code, f.msg, -1, -1
		return a
	})
}

func (f failure) describeGroups(group *string) kmsg.DescribeGroupsResponseGroup {
	a := kmsg.NewDescribeGroupsResponseGroup()
	a.Group, a.ErrorCode, a.ErrorMessage = *group, f.code, f.msg
	return a
}

func (f failure) deleteGroups(group *string) kmsg.DeleteGroupsResponseGroup {
	a := kmsg.NewDeleteGroupsResponseGroup()
	a.Group, a.ErrorCode = *group, f.code
	return a
}

func (f failure) describeConsumers(group *string) kmsg.ConsumerGroupDescribeResponseGroup {
	a := kmsg.NewConsumerGroupDescribeResponseGroup()
	a.Group, a.ErrorCode, a.ErrorMessage = *group, f.code, f.msg
	return a
}

func (f failure) describeStreams(group *string) kmsg.StreamsGroupDescribeResponseGroup {
	a := kmsg.NewStreamsGroupDescribeResponseGroup()
	a.Group, a.ErrorCode, a.ErrorMessage = *group, f.code, f.msg
	return a
}

func (f failure) describeShares(group *string) kmsg.ShareGroupDescribeResponseGroup {
	a := kmsg.NewShareGroupDescribeResponseGroup()
	a.GroupID, a.ErrorCode, a.ErrorMessage = *group, f.code, f.msg
	return a
}

func (f failure) describeShareOffsets(g *kmsg.DescribeShareGroupOffsetsRequestGroup) kmsg.DescribeShareGroupOffsetsResponseGroup {
	a := kmsg.NewDescribeShareGroupOffsetsResponseGroup()
	a.GroupID, a.ErrorCode, a.ErrorMessage = g.GroupID, f.code, f.msg
	return a
}
