package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// AdminInput is what a policy decides on when a client changes topics or settings:
// one resource of one request. Its entry point is data.guardlock.admin.decision, an
// object of allow, reasons and, if it likes, details, as of a module's decision.
type AdminInput struct {
	Request AdminRequest `json:"request"`
	Client  Client       `json:"client"`
	Gateway AdminGateway `json:"gateway"`
	Now     time.Time    `json:"now"`
}

// AdminRequest is what a client wants to change, in the shape that policies
// see.
type AdminRequest struct {
	API      string    `json:"api"`      // as Kafka calls it: DeleteRecords
	Resource string    `json:"resource"` // topic, broker, group, acl, quota, user, cluster
	Name     string    `json:"name"`     // of the resource; "" where it has none
	Bound    bool      `json:"bound"`    // of a topic: a binding is about it
	Settings []Setting `json:"settings"` // that are set or removed
}

// Setting is one configuration entry of a resource that a request names, with
// the value it is to get.
type Setting struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Removed bool   `json:"removed"` // back to its default
}

// Client is who asks. Its principal was authenticated; its client id is
// claimed, and proves nothing.
type Client struct {
	Principal string `json:"principal"`
	ClientID  string `json:"client_id"`
	Source    string `json:"source"` // address
	TLS       string `json:"tls"`    // what the connection has: "", "required" or "mutual"
}

// AdminGateway is the gateway that was asked, as far as such a request concerns
// it.
type AdminGateway struct {
	ID            string `json:"id"`
	Environment   string `json:"environment"`
	Version       string `json:"version"`
	UnboundTopics string `json:"unbound_topics"` // refuse, record or insecure_pass
}

// DecideAdmin asks the policy about an administrative request. A policy that has no
// package guardlock.admin leaves it to the built-in one. An error means no.
func (e *Engine) DecideAdmin(ctx context.Context, in AdminInput) (Decision, error) {
	d, err := e.decideAdmin(ctx, in)
	if err != nil {
		return Decision{}, fmt.Errorf("deciding by policy %.12s: %w", e.revision, err)
	}
	return d, nil
}

// decideAdmin asks the evaluator of administrative requests, which is the
// built-in policy's where the one in force says nothing of them.
func (e *Engine) decideAdmin(ctx context.Context, in AdminInput) (Decision, error) {
	if in.Request.Settings == nil {
		in.Request.Settings = []Setting{}
	}
	input, err := json.Marshal(in)
	if err != nil {
		return Decision{}, fmt.Errorf("encoding policy input: %w", err)
	}

	a, err := e.admin.evaluate(ctx, question{Entry: adminEntry, Input: input, Now: in.Now})
	if err != nil {
		return Decision{}, err
	}

	return e.parse(a, parseAdminDecision)
}
