package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/transforms/modules"
)

// velocity is fraud-velocity with a limit of two payments a minute with one card.
func velocity(topic, options string) module {
	m := bundled("fraud-velocity", topic)
	m.name = "velocity-" + topic
	m.config = fmt.Appendf(nil, `{"threshold":80,"rules":[{"path":"$.card","op":"velocity","within":"60s","more_than":2,"weight":80,
		"reason":"fraud_velocity.velocity"%s}]}`, options)
	return m
}

// pay sends a payment of a time, and returns what became of it.
func pay(t *testing.T, c *kgo.Client, topic, card string, at time.Time) string {
	t.Helper()
	r := &kgo.Record{Topic: topic, Partition: 0, Value: fmt.Appendf(nil, `{"card":"%s"}`, card), Timestamp: at}
	err := c.ProduceSync(testContext(t), r).FirstErr()
	if err == nil {
		return "stored"
	}
	if !errors.Is(err, kerr.InvalidRecord) {
		t.Fatalf("%s at %s: %v", card, at, err)
	}
	return "rejected"
}

// The third payment with a card within a minute is rejected, and does not count. After a
// restart the count begins anew, and a rule can be told to fire until it is whole.
func TestThirdPaymentWithACardInAMinuteIsRejected(t *testing.T) {
	lenient := velocity("payments", "")
	wary := velocity("wary", `,"on_incomplete":"fire"`)
	d := deploy(t, plan{modules: []module{lenient, wary}, bindings: map[string]string{"payments": lenient.name, "wary": wary.name}})
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()))

	// The times are far enough ahead that the gateway counts for longer than a window.
	begin := time.Now().Add(time.Hour)
	for _, topic := range []string{"payments", "wary"} {
		var got []string
		for _, p := range []struct {
			card string
			at   time.Duration
		}{{"c-1", 0}, {"c-1", 20 * time.Second}, {"c-1", 50 * time.Second}, {"c-2", 51 * time.Second}, {"c-1", 59 * time.Second}, {"c-1", 70 * time.Second}} {
			got = append(got, pay(t, c, topic, p.card, begin.Add(p.at)))
		}
		equal(t, "payments on "+topic, got, []string{"stored", "stored", "rejected", "stored", "rejected", "stored"})
	}

	out, exit := guardlock(t, "audit", "query", "--dir", d.audit(), "--reason", "fraud_velocity.velocity")
	if exit != 0 || !strings.Contains(out, "rejected") {
		t.Errorf("audit query ends with %d and shows no rejection:\n%s", exit, out)
	}

	gateway.terminate()
	gateway = serve(t, d)
	equal(t, "right after a restart", []string{pay(t, c, "payments", "c-1", begin.Add(75*time.Second))}, []string{"stored"})
	now := time.Now()
	equal(t, "right after a restart, told to fire", []string{pay(t, c, "wary", "c-9", now)}, []string{"rejected"})
	equal(t, "when the count is whole again", []string{pay(t, c, "wary", "c-9", now.Add(time.Hour))}, []string{"stored"})
	gateway.terminate()
}

// Whoever approves fraud approves of no memory: the same grant does not start
// fraud-velocity.
func TestApprovalOfFraudGrantsNoState(t *testing.T) {
	plain := bundled("fraud", "payments")
	plain.routes = []string{"review"}
	plain.functions = []string{}
	d := deploy(t, plan{modules: []module{plain}, bindings: map[string]string{"payments": "fraud"}})
	if out, exit := guardlock(t, "check", d.config); exit != 0 {
		t.Errorf("check of fraud without host functions: %s", out)
	}

	counting := plain
	counting.wasm, _ = modules.Wasm("fraud-velocity")
	counting.config, _ = modules.ExampleConfig("fraud-velocity")
	d.writeModule(counting)
	out, _ := guardlock(t, "check", d.config)
	if !strings.Contains(out, "refused: import_not_approved") || !strings.Contains(out, "guardlock_state.count") {
		t.Errorf("check of fraud-velocity with that grant: %s", out)
	}
}
