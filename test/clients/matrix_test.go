//go:build kafka

package clients

import (
	"strings"
	"testing"

	"github.com/guardlock/guardlock/internal/kafkatest"
)

func TestEveryClientSeesKafkaItselfAsExpected(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Config{})
	CreateTopics(t, kafka.Bootstrap(), DefaultTopics())
	Matrix(t, strings.Join(kafka.Bootstrap(), ","), DefaultTopics(), false)
}
