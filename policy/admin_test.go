package policy

import (
	"errors"
	"slices"
	"testing"
	"testing/fstest"
)

func adminRequest() AdminInput {
	return AdminInput{
		Request: AdminRequest{API: "DeleteRecords", Resource: "topic", Name: "customers", Bound: true},
		Client:  Client{Principal: "User:ops", ClientID: "admin", Source: "10.0.0.7"},
		Gateway: AdminGateway{ID: "gw-1", UnboundTopics: "refuse"},
		Now:     noon(),
	}
}

// A policy of one's own, written before there were administrative requests, leaves
// them to the built-in rules.
func TestAdministrationOfUnboundTopicsIsRefused(t *testing.T) {
	unbound := adminRequest()
	unbound.Request.Bound = false
	own := policyOf(allowing)

	inWorker, err := LoadWith(t.Context(), own, workers())
	if err != nil {
		t.Fatal(err)
	}

	for name, e := range map[string]*Engine{"built-in": mustLoad(t, Default()), "own": mustLoad(t, own), "own in a worker": inWorker} {
		if d, err := e.DecideAdmin(t.Context(), adminRequest()); err != nil || !d.Allow || d.PolicyRevision != e.Revision() {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		d, err := e.DecideAdmin(t.Context(), unbound)
		if err != nil || d.Allow || !slices.Equal(d.Reasons, []string{"topic_unbound"}) || d.Why[0].String() != "topic_unbound: customers" || d.Why[0].Title == "" {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestPolicyDecidesAdministrativeRequests(t *testing.T) {
	own := policyOf(allowing).(fstest.MapFS)
	own["admin.rego"] = &fstest.MapFile{Data: []byte(`package guardlock.admin

decision := {"allow": input.client.principal == "User:ops", "reasons": [r | input.client.principal != "User:ops"; r := "not_ops"]}
`)}

	for name, o := range map[string]Options{"here": {}, "in a worker": workers()} {
		e, err := LoadWith(t.Context(), own, o)
		if err != nil {
			t.Fatal(err)
		}

		in := adminRequest()
		if d, err := e.DecideAdmin(t.Context(), in); err != nil || !d.Allow {
			t.Errorf("%s: %+v, %v", name, d, err)
		}

		in.Client.Principal = "User:app"
		if d, err := e.DecideAdmin(t.Context(), in); err != nil || d.Allow || !slices.Equal(d.Reasons, []string{"not_ops"}) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

func TestOddAdministrativeDecisionsAreErrors(t *testing.T) {
	for text, want := range map[string]error{
		`{"allow": true}`:                                          ErrMalformed,
		`{"allow": true, "reasons": ["x"]}`:                        ErrMalformed,
		`{"allow": true, "reasons": [], "limits": {}}`:             ErrMalformed,
		`{"allow": true, "reasons": []} if input.request.x == "y"`: ErrUndefined,
	} {
		own := policyOf(allowing).(fstest.MapFS)
		own["admin.rego"] = &fstest.MapFile{Data: []byte("package guardlock.admin\n\ndecision := " + text + "\n")}
		if d, err := mustLoad(t, own).DecideAdmin(t.Context(), adminRequest()); !errors.Is(err, want) || d.Allow {
			t.Errorf("%s: got %+v, %v", text, d, err)
		}
	}
}
