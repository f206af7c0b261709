package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// Responses with a code on every topic or partition of the request.

func (f failure) records(req kmsg.Request, resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.FetchResponse:
		f.fetch(req.(*kmsg.FetchRequest), r)
	case *kmsg.ListOffsetsResponse:
		r.Topics = answers(req.(*kmsg.ListOffsetsRequest).Topics, f.listOffsets)
	case *kmsg.OffsetForLeaderEpochResponse:
		r.Topics = answers(req.(*kmsg.OffsetForLeaderEpochRequest).Topics, f.leaderEpochs)
	case *kmsg.DeleteRecordsResponse:
		r.Topics = answers(req.(*kmsg.DeleteRecordsRequest).Topics, f.deleteRecords)
	case *kmsg.DescribeProducersResponse:
		r.Topics = answers(req.(*kmsg.DescribeProducersRequest).Topics, f.describeProducers)
	default:
		return false
	}
	return true
}

// fetch: a code at the top exists from v7 on. Records are empty, never null
// (trap 7).
func (f failure) fetch(req *kmsg.FetchRequest, r *kmsg.FetchResponse) {
	if r.ErrorCode = f.code; r.Version >= 7 {
		return
	}
	r.Topics = answers(req.Topics, func(t *kmsg.FetchRequestTopic) kmsg.FetchResponseTopic {
		a := kmsg.NewFetchResponseTopic()
		a.Topic = t.Topic
		a.Partitions = answers(t.Partitions, func(p *kmsg.FetchRequestTopicPartition) kmsg.FetchResponseTopicPartition {
			q := kmsg.NewFetchResponseTopicPartition()
			q.Partition, q.ErrorCode, q.HighWatermark, q.RecordBatches = p.Partition, f.code, -1, []byte{}
			return q
		})
		return a
	})
}

func (f failure) listOffsets(t *kmsg.ListOffsetsRequestTopic) kmsg.ListOffsetsResponseTopic {
	a := kmsg.NewListOffsetsResponseTopic()
	a.Topic = t.Topic
	a.Partitions = answers(t.Partitions, func(p *kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
		q := kmsg.NewListOffsetsResponseTopicPartition()
		q.Partition, q.ErrorCode = p.Partition, f.code
		return q
	})
	return a
}

func (f failure) leaderEpochs(t *kmsg.OffsetForLeaderEpochRequestTopic) kmsg.OffsetForLeaderEpochResponseTopic {
	a := kmsg.NewOffsetForLeaderEpochResponseTopic()
	a.Topic = t.Topic
	a.Partitions = answers(t.Partitions, func(p *kmsg.OffsetForLeaderEpochRequestTopicPartition) kmsg.OffsetForLeaderEpochResponseTopicPartition {
		q := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		q.Partition, q.ErrorCode, q.EndOffset = p.Partition, f.code, -1
		return q
	})
	return a
}

func (f failure) deleteRecords(t *kmsg.DeleteRecordsRequestTopic) kmsg.DeleteRecordsResponseTopic {
	a := kmsg.NewDeleteRecordsResponseTopic()
	a.Topic = t.Topic
	a.Partitions = answers(t.Partitions, func(p *kmsg.DeleteRecordsRequestTopicPartition) kmsg.DeleteRecordsResponseTopicPartition {
		q := kmsg.NewDeleteRecordsResponseTopicPartition()
		q.Partition, q.ErrorCode, q.LowWatermark = p.Partition, f.code, -1
		return q
	})
	return a
}

func (f failure) describeProducers(t *kmsg.DescribeProducersRequestTopic) kmsg.DescribeProducersResponseTopic {
	a := kmsg.NewDescribeProducersResponseTopic()
	a.Topic = t.Topic
	a.Partitions = answers(t.Partitions, func(p *int32) kmsg.DescribeProducersResponseTopicPartition {
		q := kmsg.NewDescribeProducersResponseTopicPartition()
		q.Partition, q.ErrorCode, q.ErrorMessage = *p, f.code, f.msg
		return q
	})
	return a
}

func (f failure) topics(req kmsg.Request, resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.MetadataResponse:
		r.ErrorCode = f.code // v13
		r.Topics = answers(req.(*kmsg.MetadataRequest).Topics, f.metadata)
	case *kmsg.CreateTopicsResponse:
		r.Topics = answers(req.(*kmsg.CreateTopicsRequest).Topics, f.createTopics)
	case *kmsg.DeleteTopicsResponse:
		f.deleteTopics(req.(*kmsg.DeleteTopicsRequest), r)
	case *kmsg.CreatePartitionsResponse:
		r.Topics = answers(req.(*kmsg.CreatePartitionsRequest).Topics, f.createPartitions)
	case *kmsg.DescribeTopicPartitionsResponse:
		r.Topics = answers(req.(*kmsg.DescribeTopicPartitionsRequest).Topics, f.topicPartitions)
	default:
		return false
	}
	return true
}

func (f failure) metadata(t *kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	a := kmsg.NewMetadataResponseTopic()
	a.Topic, a.TopicID, a.ErrorCode = t.Topic, t.TopicID, f.code
	return a
}

func (f failure) createTopics(t *kmsg.CreateTopicsRequestTopic) kmsg.CreateTopicsResponseTopic {
	a := kmsg.NewCreateTopicsResponseTopic()
	a.Topic, a.ErrorCode, a.ErrorMessage = t.Topic, f.code, f.msg
	return a
}

// deleteTopics: names up to v5, names or ids from v6.
func (f failure) deleteTopics(req *kmsg.DeleteTopicsRequest, r *kmsg.DeleteTopicsResponse) {
	answer := func(name *string, id [16]byte) kmsg.DeleteTopicsResponseTopic {
		a := kmsg.NewDeleteTopicsResponseTopic()
		a.Topic, a.TopicID, a.ErrorCode, a.ErrorMessage = name, id, f.code, f.msg
		return a
	}
	for i := range req.TopicNames {
		r.Topics = append(r.Topics, answer(&req.TopicNames[i], [16]byte{}))
	}
	for _, t := range req.Topics {
		r.Topics = append(r.Topics, answer(t.Topic, t.TopicID))
	}
}

func (f failure) createPartitions(t *kmsg.CreatePartitionsRequestTopic) kmsg.CreatePartitionsResponseTopic {
	a := kmsg.NewCreatePartitionsResponseTopic()
	a.Topic, a.ErrorCode, a.ErrorMessage = t.Topic, f.code, f.msg
	return a
}

func (f failure) topicPartitions(t *kmsg.DescribeTopicPartitionsRequestTopic) kmsg.DescribeTopicPartitionsResponseTopic {
	a := kmsg.NewDescribeTopicPartitionsResponseTopic()
	a.Topic, a.ErrorCode = &t.Topic, f.code
	return a
}
