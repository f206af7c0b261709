package e2e

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit/query"
)

// An auditor compares what a topic holds with what the gateway forwarded: with
// every byte where a binding asks for it or nothing else names the batch, else
// with the header.
func TestCompareTellsWhetherTheStoredBatchIsTheDecidedOne(t *testing.T) {
	k := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "lean", "exact", "plain")))(t)
	defer k.Close()
	m := bundled("uppercase", "lean", "exact", "plain")
	d := deploy(t, plan{
		broker:   fmt.Sprintf("  upstream: {bootstrap: [%q]}\n", k.ListenAddrs()[0]),
		modules:  []module{m},
		bindings: map[string]string{"lean": m.name, "plain": m.name},
		rules:    "  - {name: exact, topics: [exact], modules: [uppercase], data_class: internal, evidence: content}\n",
	})

	gateway := serve(t, d)
	c := client(t, d.address)
	mustSend(t, c, "lean", 0, "idempotent", "producer")
	mustSend(t, c, "exact", 0, "idempotent", "producer")
	mustSend(t, client(t, d.address, kgo.DisableIdempotentWrite()), "plain", 0, "plain", "producer")
	gateway.terminate()

	compare := func(topic string, more ...string) (string, int) {
		t.Helper()
		ds := decisions(t, d.audit(), query.Filter{Topics: []string{topic}, ByBatch: true})
		if len(ds) != 1 {
			t.Fatalf("%d decisions about %s", len(ds), topic)
		}
		args := []string{"audit", "compare", ds[0].ID.String(), "--dir", d.audit(), "-b", k.ListenAddrs()[0]}
		return guardlock(t, append(args, more...)...)
	}

	expect := func(topic string, exit int, want string, more ...string) {
		t.Helper()
		if out, got := compare(topic, more...); got != exit || !strings.Contains(out, want) {
			t.Errorf("%s: ends with %d, want %d and %q:\n%s", topic, got, exit, want, out)
		} else if strings.Contains(strings.ToLower(out), "idempotent") {
			t.Errorf("%s: prints a record:\n%s", topic, out)
		}
	}
	for topic, want := range map[string]string{"lean": "checksum are what", "exact": "every byte", "plain": "every byte"} {
		expect(topic, 0, want)
	}

	expect("exact", 0, `"same": true`, "--json")

	// Who can write to the broker's disk changes a value, and the checksum with it.
	swap(t, k, "exact", func(batch []byte) { batch[len(batch)-2] ^= 1; reseal(batch) })
	expect("exact", 3, "is not what the gateway forwarded")
	swap(t, k, "exact", func(batch []byte) { batch[len(batch)-2] ^= 1; reseal(batch) })
	expect("exact", 3, `"same": false`, "--json")
	swap(t, k, "lean", func(batch []byte) { batch[len(batch)-2] ^= 1; reseal(batch) })
	expect("lean", 3, "is not what the gateway forwarded")
	swap(t, k, "lean", func(batch []byte) { batch[len(batch)-2] ^= 1 }) // the checksum is as it was, and wrong
	expect("lean", 3, "is not what the gateway forwarded")
	swap(t, k, "plain", func(batch []byte) { binary.BigEndian.PutUint64(batch, 7) })
	expect("plain", 4, "no batch begins at offset 0 any more")

	d.write("other.key", []byte(strings.Repeat("k", 32)))
	expect("exact", 2, "is not the key that", "--audit-key", filepath.Join(d.dir, "other.key"))
	expect("exact", 1, "reading the audit key", "--audit-key", filepath.Join(d.dir, "none.key"))
}

// TestReconcileComparesTheContentOfAllBatches, as compare does for one: what differs ends
// with exit code 3 and names its decision; what a broker compacted is counted.
func TestReconcileComparesTheContentOfAllBatches(t *testing.T) {
	k := must(kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "exact", "plain")))(t)
	defer k.Close()
	m := bundled("uppercase", "exact", "plain")
	d := deploy(t, plan{
		broker:   fmt.Sprintf("  upstream: {bootstrap: [%q]}\n", k.ListenAddrs()[0]),
		modules:  []module{m},
		bindings: map[string]string{"plain": m.name},
		rules:    "  - {name: exact, topics: [exact], modules: [uppercase], data_class: internal, evidence: content}\n",
	})

	gateway := serve(t, d)
	c := client(t, d.address)
	for range 3 {
		mustSend(t, c, "exact", 0, "secret", "value")
		mustSend(t, c, "plain", 0, "secret", "value")
	}
	gateway.terminate()

	expect := func(exit int, want string, more ...string) {
		t.Helper()
		args := append([]string{"audit", "reconcile", "--content", "--dir", d.audit(), "-b", k.ListenAddrs()[0]}, more...)
		if out, got := guardlock(t, args...); got != exit || !strings.Contains(out, want) {
			t.Errorf("ends with %d, want %d and %q:\n%s", got, exit, want, out)
		} else if strings.Contains(strings.ToLower(out), "secret") {
			t.Errorf("prints a record:\n%s", out)
		}
	}
	expect(0, "content: 3 batches as forwarded")
	expect(0, `"same": 3`, "--json", "--topic", "plain")

	changed := func(batch []byte) { batch[len(batch)-2] ^= 1; reseal(batch) }
	thinned := func(batch []byte) { batch[60]--; reseal(batch) } // one record less than it has offsets
	for _, topic := range []string{"exact", "plain"} {
		swap(t, k, topic, changed)
		expect(3, "0 to 1  different, decision gl-", "--topic", topic)
		swap(t, k, topic, thinned)
		expect(3, `"different": 1`, "--topic", topic, "--json")
	}

	policy := "compact"
	if _, err := kadm.NewClient(client(t, k.ListenAddrs()[0])).AlterTopicConfigs(testContext(t), []kadm.AlterConfig{{Name: "cleanup.policy", Value: &policy}}, "exact"); err != nil {
		t.Fatal(err)
	}
	swap(t, k, "exact", thinned)
	expect(0, "1 rewritten by the broker", "--topic", "exact")
	swap(t, k, "exact", changed)
	expect(3, "0 to 1  different, decision gl-", "--topic", "exact")

	d.write("other.key", []byte(strings.Repeat("k", 32)))
	expect(1, "decided under an audit key that was not given", "--audit-key", filepath.Join(d.dir, "other.key"))
	expect(1, "reading the audit key", "--audit-key", filepath.Join(d.dir, "none.key"))
	if err := os.Rename(filepath.Join(filepath.Dir(d.audit()), "audit.key"), filepath.Join(d.dir, "away.key")); err != nil {
		t.Fatal(err)
	}
	expect(2, "--content needs the audit key")
	expect(0, "content: 3 batches as forwarded", "--audit-key", filepath.Join(d.dir, "away.key"))
}

// The gateway takes placeholders out of what consumers read, but not out of what
// is compared.
func TestCompareSeesThePlaceholdersOfDroppedRecords(t *testing.T) {
	w := judged(t, 1)
	mustSend(t, client(t, w.addr(), kgo.ProducerLinger(time.Second)), "in", 0, "a", "drop", "b")
	var ds []query.Decision
	eventually(t, "the answer is in the log", func() bool {
		ds = decisions(t, w.logDir, query.Filter{Topics: []string{"in"}, ByBatch: true})
		return len(ds) == 1 && ds[0].Batch.State == query.StateStored
	})

	key := filepath.Join(t.TempDir(), "audit.key")
	if err := os.WriteFile(key, append([]byte{1}, make([]byte, 31)...), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, addr := range []string{w.addr(), w.kafka.ListenAddrs()[0]} {
		if out, exit := guardlock(t, "audit", "compare", ds[0].ID.String(), "--dir", w.logDir, "--audit-key", key, "-b", addr); exit != 0 {
			t.Errorf("ends with %d:\n%s", exit, out)
		}
	}

	equal(t, "consumed", values(readAll(t, w.addr(), "in", 0)), []string{"a", "b"})
}

// swap makes the broker answer the next Fetch with a topic's first batch changed.
func swap(t *testing.T, k *kfake.Cluster, topic string, change func(batch []byte)) {
	t.Helper()
	c := client(t, k.ListenAddrs()[0])
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 100
	req.MaxBytes = 1 << 20
	rt := kmsg.NewFetchRequestTopic()
	rp := kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rt.TopicID = topic, k.TopicInfo(topic).TopicID
	rp.PartitionMaxBytes = 1 << 20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp := must(req.RequestWith(testContext(t), c.Broker(0)))(t)
	change(resp.Topics[0].Partitions[0].RecordBatches)
	k.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		resp.SetVersion(kreq.GetVersion())
		return resp, nil, true
	})
}

func reseal(batch []byte) {
	binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[21:], crc32.MakeTable(crc32.Castagnoli)))
}
