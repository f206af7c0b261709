package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/transforms/modules"
)

// The id in a producer's error is all that an auditor needs.
func TestAuditShowExplainsTheErrorThatAProducerGot(t *testing.T) {
	m := bundled("reject-uppercase", "shouts")
	d := deploy(t, plan{modules: []module{m}, bindings: map[string]string{"shouts": m.name}})
	gateway := serve(t, d)
	mustSend(t, client(t, d.address, kgo.AllowAutoTopicCreation()), "shouts", 0, "quiet")
	got := results(dial(t, d.address).request(produceOf(-1, part{"shouts", 0, batchOf(nobody, "quiet", "LOUD")})))[0]
	id := decisionID.FindStringSubmatch(deref(got.ErrorMessage))
	if got.ErrorCode != codeInvalidRecord || id == nil {
		t.Fatalf("the answer is code %d, %q", got.ErrorCode, deref(got.ErrorMessage))
	}

	out, exit := guardlock(t, "audit", "show", id[1], "--dir", d.audit())
	for _, want := range []string{"rejected", "reject_uppercase.capital_letter", "shouts", "User:ANONYMOUS", "record 2 of 2"} {
		if exit != 0 || !strings.Contains(out, want) {
			t.Errorf("audit show ends with %d and does not say %q:\n%s", exit, want, out)
		}
	}

	if strings.Contains(out, "LOUD") {
		t.Error("the log holds a record's bytes")
	}
	gateway.terminate()
}

// Every module of the catalogue is admitted with its own configuration.
func TestBundledModulesAreAdmittedAndRun(t *testing.T) {
	var p plan
	p.bindings = map[string]string{}
	for _, name := range modules.Names() {
		m := bundled(name, name)
		switch name {
		case "gdpr", "gdpr-keys":
			m.keys = []string{"pseudonyms"}
		case "fraud", "fraud-velocity":
			m.routes = []string{"review"}
		case "enrich":
			m.tables = []string{"places", "banks"}
		}

		p.modules, p.bindings[name] = append(p.modules, m), name
	}

	p.more = "keys:\n  - {name: pseudonyms, file: pseudonyms.key}\n"
	d := deploy(t, p)
	d.write("pseudonyms.key", []byte(strings.Repeat("k", 32)))
	d.write("enrich.places", must(os.ReadFile("../../transforms/modules/enrich/tables/places.mmdb"))(t))
	d.write("enrich.banks", must(os.ReadFile("../../transforms/modules/enrich/tables/banks.csv"))(t))

	if out, exit := guardlock(t, "check", d.config); exit != 0 {
		t.Fatalf("check: %s", out)
	}
	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation())
	mustSend(t, c, "gdpr", 0, `{"customer":{"email":"ada@example.com","name":"Ada"},"payment":{"iban":"DE1"}}`)
	mustSend(t, c, "gdpr-keys", 0, `{"pan":"4111111111111111","iban":"DE89370400440532013000","notes":"call ada","email":"ada@example.com"}`)
	mustSend(t, c, "uppercase", 0, "quiet")
	mustSend(t, c, "fraud", 0, `{"amount":10,"currency":"EUR","country":"DE","card":{"present":true}}`)
	mustSend(t, c, "enrich", 0, `{"client":{"ip":"192.0.2.77"}}`)

	if got := values(readAll(t, d.address, "gdpr", 0)); strings.Contains(got[0], "ada@example.com") {
		t.Error("an e-mail address is stored")
	}
	for _, secret := range []string{"411111", "DE89", "ada"} {
		if got := values(readAll(t, d.address, "gdpr-keys", 0)); strings.Contains(got[0], secret) {
			t.Errorf("%s is stored: %s", secret, got[0])
		}
	}
	equal(t, "stored", values(readAll(t, d.address, "uppercase", 0)), []string{"QUIET"})
	equal(t, "enriched", values(readAll(t, d.address, "enrich", 0)),
		[]string{`{"client":{"ip":"192.0.2.77"},"geo":{"country":"DE","city":"Köln","asn":64496}}`})
	gateway.terminate()
}
