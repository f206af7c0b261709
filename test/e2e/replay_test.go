package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/transforms/modules"
)

// replayed asks for a replay of a decision over an input.
func replayed(t *testing.T, d *deployment, id, input string, exit int, want string, more ...string) {
	t.Helper()
	const content = "some words"
	d.write("input", []byte(input))
	args := []string{"audit", "replay", id, "--dir", d.audit(), "--input", filepath.Join(d.dir, "input")}
	if out, got := guardlock(t, append(args, more...)...); got != exit || !strings.Contains(out, want) {
		t.Errorf("%q: ends with %d, want %d and %q:\n%s", input, got, exit, want, out)
	} else if strings.Contains(strings.ToLower(out), content) {
		t.Errorf("it prints a record:\n%s", out)
	}
}

// lines are records as an auditor has them.
func lines(t *testing.T, at time.Time, values ...string) string {
	t.Helper()
	var text strings.Builder
	for _, v := range values {
		raw := must(json.Marshal(map[string]any{"timestamp": at, "value": v}))(t)
		text.Write(append(raw, '\n'))
	}
	return text.String()
}

// An auditor who has the records, the log, its objects and its key makes the decision once
// more, and comes to the same MAC; with anything else in their place, not.
func TestADecisionIsReplayedToTheSameMAC(t *testing.T) {
	table := []byte("bin,bank\n411111,First\n")
	config := fmt.Sprintf(`{"tables": {"banks": {"format": "csv", "files": [{"sha256": "%x"}]}},
		"rules": [{"path": "$.bin", "table": "banks", "into": "bank", "set": {"name": "bank"}}]}`, sha256.Sum256(table))
	wasm, _ := modules.Wasm("enrich")
	enrich := module{name: "enrich", wasm: wasm, config: []byte(config), topics: []string{"cards"}, tables: []string{"banks"}}
	upper := bundled("uppercase", "words")
	gdpr := bundled("gdpr", "people")
	gdpr.keys = []string{"pseudonyms"}
	d := deploy(t, plan{
		modules:  []module{enrich, upper, gdpr},
		bindings: map[string]string{"cards": "enrich", "words": upper.name, "people": gdpr.name},
		more:     "keys:\n  - {name: pseudonyms, file: pseudonyms.key}\n",
	})
	d.write("enrich.banks", table)
	d.write("pseudonyms.key", []byte(strings.Repeat("k", 32)))

	gateway := serve(t, d)
	c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	const person = `{"customer":{"email":"ada@example.com","name":"Ada"},"payment":{"iban":"DE1"}}`
	at := time.UnixMilli(1_900_000_000_000).UTC()
	for topic, values := range map[string][]string{"words": {"some words", "MORE"}, "cards": {`{"bin":"411111"}`}, "people": {person}} {
		var records []*kgo.Record
		for _, v := range values {
			records = append(records, &kgo.Record{Topic: topic, Value: []byte(v), Timestamp: at})
		}
		if err := c.ProduceSync(testContext(t), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	gateway.terminate()

	id := func(topic string) string {
		t.Helper()
		all := decisions(t, d.audit(), query.Filter{Topics: []string{topic}, ByBatch: true})
		if len(all) != 1 {
			t.Fatalf("%d decisions about %s", len(all), topic)
		}
		return all[0].ID.String()
	}
	words := id("words")
	sent := lines(t, at, "some words", "MORE")

	replayed(t, d, words, sent, 0, "the MAC of what was forwarded is of this")
	replayed(t, d, words, sent, 0, `"state": "same"`, "--json")
	replayed(t, d, words, lines(t, at, "same words", "MORE"), 3, "and with another MAC")
	replayed(t, d, words, lines(t, at.Add(time.Second), "some words", "MORE"), 3, "and with another MAC")
	replayed(t, d, words, lines(t, at, "SOME WORDS", "MORE"), 3, "the log says modified, the replay passed")
	replayed(t, d, words, lines(t, at, "some words"), 3, "it is one record, and the batch had 2")
	replayed(t, d, words+"-0", lines(t, at, "some words"), 0, "outcome  modified by uppercase")
	replayed(t, d, words+"-1", lines(t, at, "some words"), 3, "the log says passed, the replay modified by uppercase")
	for _, hostile := range []string{"", "{", "{}{}", "[]", "\x00\x01", strings.Repeat("\xff", 100), strings.Repeat("\x00", 61)} {
		replayed(t, d, words, hostile, 2, "")
	}

	banks := "--table=banks=" + filepath.Join(d.dir, "enrich.banks")
	card := lines(t, at, `{"bin":"411111"}`)
	replayed(t, d, id("cards"), card, 4, "it looks up in a table that was not given: banks")
	replayed(t, d, id("cards"), card, 0, "the MAC of what was forwarded is of this", banks)
	d.write("enrich.banks", []byte("bin,bank\n411111,Other\n"))
	replayed(t, d, id("cards"), card, 4, "give the file of the table as it was", banks)

	secret := filepath.Join(d.dir, "pseudonyms.key")
	replayed(t, d, id("people"), lines(t, at, person), 4, "its approval names a key that was not given: pseudonyms")
	replayed(t, d, id("people"), lines(t, at, person), 0, "the MAC of what was forwarded is of this", "--module-key", "pseudonyms="+secret)
	d.write("pseudonyms.key", []byte(strings.Repeat("l", 32)))
	replayed(t, d, id("people"), lines(t, at, person), 3, "and with another MAC", "--module-key", "pseudonyms="+secret)
	replayed(t, d, id("people"), lines(t, at, person), 2, "is not of the form NAME=FILE", "--module-key", secret)

	key := filepath.Join(d.dir, "other.key")
	d.write("other.key", []byte(strings.Repeat("5a", 32)))
	replayed(t, d, words, sent, 2, "is not the key that", "--audit-key", key)
	replayed(t, d, "gl-00000001-2", sent, 4, "no such decision")

	object := filepath.Join(d.audit(), "objects", fmt.Sprintf("sha256-%x", sha256.Sum256(upper.wasm)))
	if err := os.WriteFile(object, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	replayed(t, d, words, sent, 3, "the object was changed: ")
	if err := os.Remove(object); err != nil {
		t.Fatal(err)
	}
	replayed(t, d, words, sent, 4, "the object is not there: "+object)
}

// TestEvidenceIsCheckedByTheKeyThatItWasMadeUnder: after the audit key was replaced, the
// present one says nothing of what was decided before, and nothing is called changed by it.
func TestEvidenceIsCheckedByTheKeyThatItWasMadeUnder(t *testing.T) {
	upper := bundled("uppercase", "words")
	d := deploy(t, plan{modules: []module{upper}, bindings: map[string]string{"words": upper.name}})
	batch := batchOf(nobody, "some words")
	d.write("batch", batch)
	input := filepath.Join(d.dir, "batch")

	gateway := serve(t, d)
	createTopic(t, client(t, d.address), "words", 1, nil)
	dial(t, d.address).request(produceOf(-1, part{"words", 0, batch}))
	gateway.terminate()

	former := filepath.Join(d.dir, "former.key")
	if err := os.Rename(filepath.Join(d.dir, "data", "audit.key"), former); err != nil {
		t.Fatal(err)
	}
	text := must(os.ReadFile(d.config))(t)
	d.write("guardlock.yaml", append(bytes.Clone(text), "audit: {previous_key_file: former.key}\n"...))
	gateway = serve(t, d)
	defer gateway.terminate()

	id := decisions(t, d.audit(), query.Filter{Topics: []string{"words"}, ByBatch: true})[0].ID.String()
	for _, c := range []struct {
		exit int
		says string
		args []string
	}{
		{2, "is not the key that", []string{"compare", id, "-b", d.address}},
		{0, "every byte", []string{"compare", id, "-b", d.address, "--audit-key", former}},
		{4, "the audit key, which was not given", []string{"replay", id, "--input", input}},
		{0, "the MAC of what was forwarded is of this", []string{"replay", id, "--input", input, "--audit-key", former}},
		{0, "the MAC of what was forwarded is of this", []string{"replay", id, "--input", input, "--audit-key", former, "--audit-key", filepath.Join(d.dir, "data", "audit.key")}},
	} {
		if out, exit := guardlock(t, append([]string{"audit"}, append(c.args, "--dir", d.audit())...)...); exit != c.exit || !strings.Contains(out, c.says) {
			t.Errorf("%q ends with %d, want %d and %q:\n%s", c.args, exit, c.exit, c.says, out)
		}
	}
}
