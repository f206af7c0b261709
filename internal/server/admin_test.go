package server

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admin"
	"github.com/guardlock/guardlock/internal/config"
	"github.com/guardlock/guardlock/policy"
)

// TestThePolicyIsToldWhoAsksForWhat: every fact that the built-in policy insists
// on is there, and it decides by them.
func TestThePolicyIsToldWhoAsksForWhat(t *testing.T) {
	engine, err := policy.Load(t.Context(), policy.Default())
	if err != nil {
		t.Fatal(err)
	}

	judge := newAdminPolicy(engine, &config.Config{Node: "gw-1", UnboundTopics: "refuse"}, time.Now)

	for _, source := range []netip.Addr{{}, netip.MustParseAddr("10.0.0.1")} {
		q := gateway.AdminQuestion{
			Client: gateway.Client{Principal: "User:ann", ID: "tool", Source: source},
			API:    "IncrementalAlterConfigs",
			Action: admin.Action{Resource: admin.Topic, Name: "orders", Settings: []admin.Setting{{Name: "retention.ms", Value: "1"}}},
			Bound:  true,
		}
		if v, err := judge.JudgeAdmin(t.Context(), q); err != nil || !v.Allow || v.Revision != engine.Revision() {
			t.Errorf("of a bound topic: %+v, %v", v, err)
		}

		q.Bound = false
		if v, err := judge.JudgeAdmin(t.Context(), q); err != nil || v.Allow || !slices.Equal(v.Reasons, []string{"topic_unbound"}) {
			t.Errorf("of one that nobody bound: %+v, %v", v, err)
		}

		acl := gateway.AdminQuestion{Client: q.Client, API: "CreateAcls", Action: admin.Action{Resource: admin.ACL}}
		if v, err := judge.JudgeAdmin(t.Context(), acl); err != nil || !v.Allow {
			t.Errorf("of ACLs: %+v, %v", v, err)
		}
	}
}
