package main

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/internal/exit"
)

// saysAll checks that each text is in what was said.
func saysAll(t *testing.T, said string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(said, text) {
			t.Errorf("it does not say %q:\n%s", text, said)
		}
	}
}

// TestReconcilingThatBrokersDoNotAnswerConcludesNothing: whatever they refuse to tell,
// nothing is said to be well, nor to have gone around the gateway.
func TestReconcilingThatBrokersDoNotAnswerConcludesNothing(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit")
	if err := writeProvenLog(log); err != nil {
		t.Fatal(err)
	}

	for _, tc := range []struct {
		what   kmsg.Key
		refuse func(kmsg.Request) kmsg.Response
		says   string
	}{
		{kmsg.ListOffsets, refuseOffsets, "asking for ends: TOPIC_AUTHORIZATION_FAILED"},
		{kmsg.Fetch, refuseFetch, "payments/0"},
	} {
		t.Run(tc.what.Name(), func(t *testing.T) {
			broker, err := startBroker()
			if err != nil {
				t.Fatal(err)
			}
			defer broker.Close()
			address := broker.ListenAddrs()[0]
			if code := run(t.Context(), []string{"produce", "-t", "payments", "-b", address}, strings.NewReader(strings.Repeat("v\n", 110)), io.Discard, io.Discard); code != exit.OK {
				t.Fatalf("produce: exit code %d", code)
			}
			guardlock(t, exit.Refused, "audit", "reconcile", "--dir", log, "-b", address)

			broker.ControlKey(int16(tc.what), func(req kmsg.Request) (kmsg.Response, error, bool) {
				broker.KeepControl()
				return tc.refuse(req), nil, true
			})
			for _, more := range [][]string{nil, {"--json"}, {"--strict", "-t", "payments"}} {
				var out, errs bytes.Buffer
				code := run(t.Context(), append([]string{"audit", "reconcile", "--dir", log, "-b", address}, more...), nil, &out, &errs)
				if code != exit.Failure || out.Len() > 0 {
					t.Errorf("%v: exit code %d, %q", more, code, &out)
				}
				saysAll(t, errs.String(), "reconciling: not concluded: ", tc.says)
			}
		})
	}
}

// TestWrongPasswordIsNoAnswer: of these commands exit.Refused tells what the cluster holds.
func TestWrongPasswordIsNoAnswer(t *testing.T) {
	dir := t.TempDir()
	if err := writeProvenLog(filepath.Join(dir, "audit")); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, 0o600, map[string]string{"password": "wrong", "gw.yaml": `broker: {upstream: {bootstrap: ["kafka:9092"]}}`})
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "ada", "right"))
	if err != nil {
		t.Fatal(err)
	}

	defer broker.Close()
	broker.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	for _, command := range [][]string{
		{"audit", "reconcile", "--dir", filepath.Join(dir, "audit")},
		{"coverage", "--strict", "-c", filepath.Join(dir, "gw.yaml")},
	} {
		said := guardlock(t, exit.Failure, append(command, "-b", broker.ListenAddrs()[0],
			"--sasl-mechanism", "PLAIN", "--username", "ada", "--password-file", filepath.Join(dir, "password"))...)
		saysAll(t, said, "SASL_AUTHENTICATION_FAILED", "hint: check --username and --password-file")
	}
}

func refuseOffsets(req kmsg.Request) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range req.(*kmsg.ListOffsetsRequest).Topics {
		answer := kmsg.NewListOffsetsResponseTopic()
		answer.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewListOffsetsResponseTopicPartition()
			part.Partition = p.Partition
			part.ErrorCode = kerr.TopicAuthorizationFailed.Code
			answer.Partitions = append(answer.Partitions, part)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

func refuseFetch(req kmsg.Request) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	for _, t := range req.(*kmsg.FetchRequest).Topics {
		answer := kmsg.NewFetchResponseTopic()
		answer.Topic = t.Topic
		answer.TopicID = t.TopicID
		for _, p := range t.Partitions {
			part := kmsg.NewFetchResponseTopicPartition()
			part.Partition = p.Partition
			part.ErrorCode = kerr.TopicAuthorizationFailed.Code
			answer.Partitions = append(answer.Partitions, part)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}
