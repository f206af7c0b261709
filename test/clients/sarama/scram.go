package main

import (
	"fmt"

	"github.com/xdg-go/scram"
)

// scramClient is the SCRAM that sarama leaves to its user.
type scramClient struct {
	mechanism string
	*scram.ClientConversation
}

func (s *scramClient) Begin(user, password, authzID string) error {
	hash := scram.SHA512
	if s.mechanism == "SCRAM-SHA-256" {
		hash = scram.SHA256
	}

	c, err := hash.NewClient(user, password, authzID)
	if err != nil {
		return fmt.Errorf("preparing SCRAM: %w", err)
	}

	s.ClientConversation = c.NewConversation()
	return nil
}
