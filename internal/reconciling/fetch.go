package reconciling

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/gateway/recordbatch"
)

// pieceBytes is how much of a partition is asked for at once. Markers of transactions
// are about 78 bytes and often lie close together: a request for each would be as many as
// there are transactions. A batch that is larger comes whole.
//
// Who compares content reads everything, so that a piece may be large.
const (
	pieceBytes = 256 << 10
	largePiece = 4 << 20
)

// pieces reads a partition, a piece at a time. Offsets that are asked for in their order
// are looked for in the last piece first.
type pieces struct {
	ends      *Ends
	topic     kadm.TopicDetail
	partition kadm.PartitionDetail
	bytes     int32 // of a piece

	from int64  // the offset that left holds the records from; means nothing where there are none
	left []byte // of the last piece
}

// batch gives the batch that holds an offset, or the first behind it; nil where there is
// none.
func (p *pieces) batch(ctx context.Context, offset int64) ([]byte, error) {
	if len(p.left) > 0 && p.from <= offset {
		if batch, err := p.find(offset); batch != nil || err != nil {
			return batch, err
		}
	}

	if p.ends.Before != nil {
		if err := p.ends.Before(ctx); err != nil {
			return nil, err
		}
	}
	records, err := Fetch(ctx, p.ends.client, p.topic, p.partition, offset, p.bytes)
	if err != nil {
		return nil, err
	}

	p.from = offset
	p.left = records
	batch, err := p.find(offset)
	if batch == nil && err == nil && len(records) > 0 {
		return nil, errors.New("the broker's answer ends before what it was asked for")
	}
	return batch, err
}

// find looks for an offset in what is left of the last piece, and leaves out what lies
// before it. It gives nil where the piece ends before the offset.
func (p *pieces) find(offset int64) ([]byte, error) {
	for batch, err := range recordbatch.SplitBatches(p.left) {
		if errors.Is(err, recordbatch.ErrTruncated) {
			break // a broker cuts the last batch of a piece short
		}
		if err != nil {
			return nil, err
		}

		h, err := recordbatch.ParseHeader(batch)
		if err != nil {
			return nil, err
		}
		last := h.BaseOffset + int64(h.LastOffsetDelta)
		if last >= offset {
			return batch, nil
		}
		p.left = p.left[len(batch):]
		p.from = max(p.from, last+1)
	}

	p.left = nil
	return nil, nil
}

// Fetch reads one partition from an offset, one whole batch at least and not much more
// than so many bytes. Nothing is there where it gives nothing.
func Fetch(ctx context.Context, client *kgo.Client, t kadm.TopicDetail, p kadm.PartitionDetail, offset int64, bytes int32) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 500
	req.MinBytes = 1
	req.MaxBytes = bytes
	rt := kmsg.NewFetchRequestTopic()
	rp := kmsg.NewFetchRequestTopicPartition()
	rt.Topic = t.Topic
	rt.TopicID = t.ID
	rp.Partition = p.Partition
	rp.FetchOffset = offset
	rp.PartitionMaxBytes = bytes
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)

	resp, err := req.RequestWith(ctx, client.Broker(int(p.Leader)))
	if err != nil {
		return nil, fmt.Errorf("reading the partition: %w", err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("reading the partition: %w", err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.New("reading the partition: the broker's answer is about something else")
	}

	got := resp.Topics[0].Partitions[0]
	switch err := kerr.ErrorForCode(got.ErrorCode); {
	case errors.Is(err, kerr.OffsetOutOfRange):
		return nil, nil // nothing is there
	case err != nil:
		return nil, fmt.Errorf("reading the partition: %w", err)
	}

	return got.RecordBatches, nil
}
