// Package reconciling asks brokers what they hold that no decision names. What that is
// tells audit/reconcile; here are the questions: where partitions begin and end, which of
// the topics that decisions are about are there, and what is stored at an offset. The
// command audit reconcile and the gateway ask the same way.
//
// Ends come first, and logs are read after them: a record below its partition's end was
// decided before it was stored, so that its decision is in a log by then.
//
// Trust: brokers may hold something back, and are believed otherwise. What they did not
// say, or said with an error, is an error here and never "nothing is there": a topic
// counts as gone only where a broker that was asked for it by its name does not know it.
package reconciling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/reconcile"
)

var (
	// ErrNothing says that nothing was compared: no decision is about a topic that is there.
	ErrNothing = errors.New("nothing was compared: the logs hold no decision about a topic that is there")
	// ErrNoTopic says that a topic that was named is not there.
	ErrNoTopic = errors.New("is not there")
	// ErrSeveralClusters says that nobody named the cluster, and the logs know of several.
	ErrSeveralClusters = errors.New("the logs know of several clusters")
)

// askWithin is how long brokers may take for one answer.
const askWithin = 30 * time.Second

// Ends are where the partitions of a cluster began and ended when it was asked.
type Ends struct {
	// Before is called before each question for records, and may make it wait. An error of
	// it is the question's. Nil asks at once.
	Before func(ctx context.Context) error

	client *kgo.Client
	topics kadm.TopicDetails
	of     map[string]map[int32]limits

	piece     int32                         // bytes that are asked for at once
	rewriting map[string]reconcile.Rewrites // of the topics that were asked for them
}

// limits of a partition.
type limits struct {
	start, end int64
	err        error // they are not known
}

// Ask asks a cluster for the ends of all its partitions.
func Ask(ctx context.Context, client *kgo.Client) (*Ends, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	admin := kadm.NewClient(client)

	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for topics: %w", err)
	}
	last, err := admin.ListEndOffsets(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for ends: %w", err)
	}
	first, err := admin.ListStartOffsets(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for beginnings: %w", err)
	}

	e := &Ends{client: client, topics: topics, of: make(map[string]map[int32]limits), rewriting: make(map[string]reconcile.Rewrites), piece: pieceBytes}
	for _, t := range topics {
		e.of[t.Topic] = make(map[int32]limits)
		for p := range t.Partitions {
			e.of[t.Topic][p] = limitsOf(t.Topic, p, first, last)
		}
	}
	return e, nil
}

func limitsOf(topic string, partition int32, first, last kadm.ListedOffsets) (l limits) {
	start, okStart := first.Lookup(topic, partition)
	end, okEnd := last.Lookup(topic, partition)
	l.start = start.Offset
	l.end = end.Offset
	if l.err = cmp.Or(start.Err, end.Err); l.err == nil && !(okStart && okEnd) {
		l.err = errors.New("no broker told them")
	}
	return l
}

// Choice is what is to be judged.
type Choice struct {
	Cluster string   // as the logs name it; empty where they know of one
	Topics  []string // none: all that decisions are about
}

// Parts are the partitions that a choice comes to.
type Parts struct {
	There []audit.Coord
	Gone  []audit.Coord // decisions are about them, and the cluster has not got them
}

// Choose finds the partitions that are to be judged: of topics that decisions are about,
// or that were named.
func (e *Ends) Choose(ctx context.Context, c *reconcile.Coverage, choice Choice) (parts Parts, err error) {
	known := make(map[string]map[int32]bool)
	clusters := make(map[string]bool)
	for _, at := range c.Partitions() {
		if choice.Cluster != "" && at.Cluster != choice.Cluster {
			continue
		}
		clusters[at.Cluster] = true
		if known[at.Topic] == nil {
			known[at.Topic] = make(map[int32]bool)
		}
		known[at.Topic][at.Partition] = true
	}

	if len(clusters) > 1 {
		return parts, ErrSeveralClusters
	}
	for name := range clusters {
		choice.Cluster = name
	}

	names := choice.Topics
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(known))
	}
	for _, name := range names {
		if err := e.add(ctx, &parts, choice, name, known[name]); err != nil {
			return parts, err
		}
	}

	if len(parts.There) == 0 {
		return parts, ErrNothing
	}
	return parts, nil
}

// add adds the partitions of a topic. decided are those that decisions are about.
func (e *Ends) add(ctx context.Context, parts *Parts, choice Choice, topic string, decided map[int32]bool) error {
	at := audit.Coord{Cluster: choice.Cluster, Topic: topic}
	if len(e.of[topic]) == 0 {
		if err := e.gone(ctx, topic); err != nil {
			return err
		}
		if len(choice.Topics) > 0 && len(decided) > 0 {
			return fmt.Errorf("topic %s %w any more: decisions name it, so that it was there once", topic, ErrNoTopic)
		}
		if len(choice.Topics) > 0 {
			return fmt.Errorf("topic %s %w", topic, ErrNoTopic)
		}
	}

	for _, p := range slices.Sorted(maps.Keys(e.of[topic])) {
		at.Partition = p
		parts.There = append(parts.There, at)
	}
	for _, p := range slices.Sorted(maps.Keys(decided)) {
		if _, there := e.of[topic][p]; !there {
			at.Partition = p
			parts.Gone = append(parts.Gone, at)
		}
	}
	return nil
}

// gone returns nil where the cluster says that it has no such topic. A list of all topics
// does not say that: it leaves out what the client may not see.
func (e *Ends) gone(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	found, err := kadm.NewClient(e.client).Metadata(ctx, topic)
	if err != nil {
		return fmt.Errorf("asking for topic %s: %w", topic, err)
	}

	switch t, told := found.Topics[topic]; {
	case !told:
		return fmt.Errorf("asking for topic %s: the broker's answer is about something else", topic)
	case errors.Is(t.Err, kerr.UnknownTopicOrPartition):
		return nil
	case t.Err != nil:
		return fmt.Errorf("asking for topic %s: %w", topic, t.Err)
	}
	return fmt.Errorf("the ends of topic %s are not known: it was not among the cluster's topics, and is now", topic)
}

// Partition is one as its brokers had it when they were asked.
func (e *Ends) Partition(at audit.Coord) (*reconcile.Partition, error) {
	return e.partition(at, e.piece)
}

func (e *Ends) partition(at audit.Coord, bytes int32) (*reconcile.Partition, error) {
	l, there := e.of[at.Topic][at.Partition]
	if !there {
		return nil, fmt.Errorf("the ends of %s/%d are not known", at.Topic, at.Partition)
	}
	if l.err != nil {
		return nil, fmt.Errorf("the ends of %s/%d are not known: %w", at.Topic, at.Partition, l.err)
	}

	p := &pieces{ends: e, topic: e.topics[at.Topic], partition: e.topics[at.Topic].Partitions[at.Partition], bytes: bytes}
	return &reconcile.Partition{
		At:    at,
		Topic: p.topic.ID,
		Start: l.start,
		End:   l.end,
		Batch: p.batch,
		Reach: func(ctx context.Context, offset int64) (int64, error) { return e.reach(ctx, at, offset) },
	}, nil
}

// Judged is what one partition turned out to be.
type Judged struct {
	Cluster   string              `json:"cluster"`
	Topic     string              `json:"topic"`
	Partition int32               `json:"partition"`
	Start     int64               `json:"start"`
	End       int64               `json:"end"`
	Findings  []reconcile.Finding `json:"findings"`
	Content   *reconcile.Compared `json:"content,omitempty"` // where it was compared
}

// Judge tells what the gaps of a partition are; see reconcile.Coverage.Judge.
func (e *Ends) Judge(ctx context.Context, c *reconcile.Coverage, at audit.Coord, keys [][32]byte) (Judged, error) {
	p, err := e.Partition(at)
	if err != nil {
		return Judged{}, err
	}
	found, err := c.Judge(ctx, p, keys)
	return Judged{
		Cluster:   at.Cluster,
		Topic:     at.Topic,
		Partition: at.Partition,
		Start:     p.Start,
		End:       p.End,
		Findings:  found,
	}, err
}

// Compare compares the batches of a partition with the decisions about them; see
// reconcile.Coverage.Compare.
func (e *Ends) Compare(ctx context.Context, c *reconcile.Coverage, at audit.Coord) (*reconcile.Compared, error) {
	p, err := e.partition(at, largePiece)
	if err != nil {
		return nil, err
	}
	by, err := e.rewrites(ctx, at.Topic)
	if err != nil {
		return nil, err
	}
	r, err := c.Compare(ctx, p, by)
	return &r, err
}

// rewrites asks what the brokers of a topic do to its batches.
func (e *Ends) rewrites(ctx context.Context, topic string) (by reconcile.Rewrites, err error) {
	if by, known := e.rewriting[topic]; known {
		return by, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	all, err := kadm.NewClient(e.client).DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return by, fmt.Errorf("asking for the settings of topic %s: %w", topic, err)
	}
	one, err := all.On(topic, nil)
	if err = cmp.Or(err, one.Err); err != nil {
		return by, fmt.Errorf("asking for the settings of topic %s: %w", topic, err)
	}

	for _, setting := range one.Configs {
		switch setting.Key {
		case "cleanup.policy":
			by.Compacts = strings.Contains(setting.MaybeValue(), "compact")
		case "compression.type":
			by.Compresses = setting.MaybeValue() != "producer"
		}
	}
	e.rewriting[topic] = by
	return by, nil
}

// endAsked is how often an end is asked for again, and endPause how long in between: a
// follower of a healthy cluster has fetched twice by then what its leader acknowledged
// alone (acks=1), and only what followers have lies below the end.
const (
	endAsked = 6
	endPause = 500 * time.Millisecond
)

// reach gives the end of a partition once it is at offset, or the one it stays at.
func (e *Ends) reach(ctx context.Context, at audit.Coord, offset int64) (int64, error) {
	for asked := 1; ; asked++ {
		end, err := e.end(ctx, at)
		if err != nil || end >= offset || asked == endAsked {
			return end, err
		}

		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(endPause):
		}
	}
}

func (e *Ends) end(ctx context.Context, at audit.Coord) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	listed, err := kadm.NewClient(e.client).ListEndOffsets(ctx, at.Topic)
	if err != nil {
		return 0, err
	}

	end, ok := listed.Lookup(at.Topic, at.Partition)
	if !ok {
		return 0, fmt.Errorf("the end of %s/%d is not known", at.Topic, at.Partition)
	}
	return end.Offset, end.Err
}
