package e2e

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/query"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/pipeline"
)

// administered is a world with a bound topic, one that nobody bound, and Kafka's own.
func administered(t *testing.T) (*world, *kadm.Client) {
	t.Helper()
	s := judgeSetup(1, nil)
	s.topics["theirs"] = 1
	s.topics["__offsets"] = 1
	w := newWorld(t, s)
	return w, kadm.NewClient(client(t, w.addr()))
}

// TestEvidenceOfTopicsThatNobodyBoundStays: who may not produce to a topic may
// not delete from it, nor shorten how long it is kept.
func TestEvidenceOfTopicsThatNobodyBoundStays(t *testing.T) {
	w, adm := administered(t)
	for _, topic := range []string{"theirs", "__offsets"} {
		if resp, err := adm.DeleteTopics(testContext(t), topic); err != nil || !errors.Is(resp[topic].Err, kerr.PolicyViolation) {
			t.Errorf("deleting %s: %v, %v", topic, resp[topic].Err, err)
		}
		if err := shorten(t, adm, topic); !errors.Is(err, kerr.PolicyViolation) {
			t.Errorf("keeping %s for less time: %v", topic, err)
		}

		trim := kadm.Offsets{}
		trim.Add(kadm.Offset{Topic: topic, At: 0})
		resp, err := adm.DeleteRecords(testContext(t), trim)
		if err = errors.Join(err, resp.Error()); !errors.Is(err, kerr.PolicyViolation) {
			t.Errorf("deleting records of %s: %v", topic, err)
		}
	}

	equal(t, "the log's reasons", w.adminReasons(), []string{"topic_internal", "topic_unbound"})
	if there := must(kadm.NewClient(client(t, w.kafka.ListenAddrs()[0])).ListTopics(testContext(t)))(t); !there.Has("theirs") {
		t.Error("the topic is gone")
	}
}

func shorten(t *testing.T, adm *kadm.Client, topic string) error {
	t.Helper()
	short := "1"
	resp, err := adm.AlterTopicConfigs(testContext(t), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &short}}, topic)
	if err != nil {
		return err
	}
	return resp[0].Err
}

// adminReasons are the reasons of the administrators' requests that the log knows,
// each once; "" is of one that was allowed.
func (w *world) adminReasons() (out []string) {
	w.t.Helper()
	for _, d := range decisions(w.t, w.logDir, query.Filter{Kinds: []audit.Kind{audit.KindAdmin}}) {
		if d.Control == nil || d.Control.Principal == "" || len(d.Control.Steps) == 0 || (d.Outcome == "denied") != (d.Reason != "") {
			w.t.Errorf("an entry says too little: %+v", d)
		}
		out = append(out, d.Reason)
	}

	slices.Sort(out)
	return slices.Compact(out)
}

// TestAdministrationOfBoundTopicsIsRecorded: it is allowed unless policy says
// otherwise, and never without a trace.
func TestAdministrationOfBoundTopicsIsRecorded(t *testing.T) {
	w, adm := administered(t)
	if err := shorten(t, adm, "in"); err != nil {
		t.Error(err)
	}
	if resp, err := adm.DeleteTopics(testContext(t), "in"); err != nil || resp.Error() != nil {
		t.Errorf("deleting: %v, %v", resp.Error(), err)
	}

	equal(t, "the log's reasons", w.adminReasons(), []string{""})
}

// no denies what it names.
type no string

func (n no) JudgeAdmin(_ context.Context, q gateway.AdminQuestion) (gateway.AdminVerdict, error) {
	if q.API == string(n) {
		return gateway.AdminVerdict{Reasons: []string{"operation_denied"}}, nil
	}
	return gateway.AdminVerdict{Allow: true}, nil
}

func TestPolicyDeniesAdministration(t *testing.T) {
	w, adm := administered(t)
	w.cluster.SetBindings(gateway.NewBindings(w.set.Bindings, pipeline.Unbound).Under(no("DeleteTopics")))
	if resp, err := adm.DeleteTopics(testContext(t), "in"); err != nil || !errors.Is(resp.Error(), kerr.PolicyViolation) {
		t.Errorf("what policy denies: %v, %v", resp.Error(), err)
	}
	if err := shorten(t, adm, "in"); err != nil {
		t.Errorf("what it does not: %v", err)
	}

	equal(t, "the log's reasons", w.adminReasons(), []string{"", "operation_denied"})
}

// TestStarDoesNotMeanKafkasOwnTopics: nobody who binds * means them.
func TestStarDoesNotMeanKafkasOwnTopics(t *testing.T) {
	w, _ := administered(t)
	all := slices.Clone(w.set.Bindings)
	all = append(all, gateway.Binding{Topics: []string{"*"}, Grant: all[0].Grant})
	w.cluster.SetBindings(gateway.NewBindings(all, pipeline.Unbound))

	c := client(t, w.addr())
	if errs := send(t, c, "__offsets", 0, "a"); !errors.Is(errs[0], kerr.PolicyViolation) {
		t.Errorf("writing to an internal topic: %v", errs[0])
	}
	mustSend(t, c, "theirs", 0, "a")
}

// TestALookMakesNoTopicThatNobodyBound: a Metadata request of any version that
// can say so creates only what is bound.
func TestALookMakesNoTopicThatNobodyBound(t *testing.T) {
	s := judgeSetup(1, nil)
	s.kafka = append(s.kafka, kfake.AllowAutoTopicCreation())
	s.topics = map[string]int32{"quarantine": 1}
	w := newWorld(t, s)
	c := client(t, w.addr(), kgo.AllowAutoTopicCreation())
	look := func(topic string) {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = true
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
		must(req.RequestWith(testContext(t), c))(t)
	}

	look("nobodys")
	look("in")

	there := must(kadm.NewClient(client(t, w.kafka.ListenAddrs()[0])).ListTopics(testContext(t)))(t)
	if there.Has("nobodys") || !there.Has("in") {
		t.Errorf("topics: %v", there.Names())
	}
}
