package main

import (
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/guardlock/guardlock/test/clients/scenario"
)

// member runs sarama's group loop in a goroutine of its own, which Close waits for.
type member struct {
	topic string
	group sarama.ConsumerGroup
	stop  context.CancelFunc
	ended chan struct{}
	recs  chan scenario.Record

	mu      sync.Mutex
	session sarama.ConsumerGroupSession // guarded by mu; nil between two
}

func (c client) Join(group, topic string) (scenario.Member, error) {
	g, err := sarama.NewConsumerGroup(c.bootstrap, group, c.config())
	if err != nil {
		return nil, err
	}

	ctx, stop := context.WithCancel(context.Background())
	m := &member{
		topic: topic,
		group: g,
		stop:  stop,
		ended: make(chan struct{}),
		recs:  make(chan scenario.Record, 1000),
	}

	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			if err := g.Consume(ctx, []string{topic}, m); err != nil {
				return
			}
		}
	}()

	return m, nil
}

// Setup is called by sarama when a session begins.
func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = s
	return nil
}

// Cleanup is called by sarama when a session ends.
func (m *member) Cleanup(sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = nil
	return nil
}

// ConsumeClaim is called by sarama for each partition, and returns when it is lost.
func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case msg, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			m.recs <- record(msg)
			s.MarkMessage(msg, "")
		case <-s.Context().Done():
			return nil
		}
	}
}

func (m *member) Poll(ctx context.Context) (recs []scenario.Record, err error) {
	wait := time.After(100 * time.Millisecond)
	for {
		select {
		case r := <-m.recs:
			recs = append(recs, r)
		case <-wait:
			return recs, nil
		case <-ctx.Done():
			return recs, ctx.Err()
		}
	}
}

func (m *member) Assignment() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return nil
	}
	return m.session.Claims()[m.topic]
}

func (m *member) Commit(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session != nil {
		m.session.Commit()
	}
	return nil
}

func (m *member) Close() error {
	m.stop()
	<-m.ended
	return m.group.Close()
}
