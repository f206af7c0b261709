package main

import (
	"bytes"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startBroker is an in-memory broker that refuses records as a gateway does:
// each that holds "refuse-me", with the batch that it is in. A batch that
// holds "batch-trap" fails as a whole, with no record named.
func startBroker() (*kfake.Cluster, error) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "payments"), kfake.SeedTopics(3, "customers"))
	if err != nil {
		return nil, err
	}

	broker.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		resp, refused := refuse(kreq.(*kmsg.ProduceRequest))
		return resp, nil, refused
	})

	return broker, nil
}

// refuse answers a request of one partition, and reports whether it did.
func refuse(req *kmsg.ProduceRequest) (*kmsg.ProduceResponse, bool) {
	p := req.Topics[0].Partitions[0]
	answer := kmsg.NewProduceResponseTopicPartition()
	answer.Partition = p.Partition
	answer.ErrorCode = kerr.InvalidRecord.Code

	for i, record := range splitRecords(p.Records) {
		if bytes.Contains(record, []byte("refuse-me")) {
			r := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			r.RelativeOffset = int32(i)
			r.ErrorMessage = kmsg.StringPtr("fraud.score_too_high")
			answer.ErrorRecords = append(answer.ErrorRecords, r)
		}
	}

	switch {
	case len(answer.ErrorRecords) > 0:
		answer.ErrorMessage = kmsg.StringPtr("guardlock: a record was rejected (fraud.score_too_high, decision gl-0a0b0c0d-7k)")
	case bytes.Contains(p.Records, []byte("batch-trap")):
		answer.ErrorCode = kerr.PolicyViolation.Code
		answer.ErrorMessage = kmsg.StringPtr("guardlock: no approved module (no_module, decision gl-0a0b0c0d-7m)")
	default:
		return nil, false
	}

	topic := kmsg.NewProduceResponseTopic()
	topic.Topic = req.Topics[0].Topic
	topic.TopicID = req.Topics[0].TopicID
	topic.Partitions = append(topic.Partitions, answer)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.Topics = append(resp.Topics, topic)

	return resp, true
}

// splitRecords cuts an uncompressed v2 batch into its records.
func splitRecords(batch []byte) [][]byte {
	var records [][]byte
	for rest := batch[61:]; len(rest) > 0; {
		length, n := binary.Varint(rest)
		end := n + int(length)
		records = append(records, rest[n:end])
		rest = rest[end:]
	}

	return records
}
