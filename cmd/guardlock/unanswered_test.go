package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/internal/exit"
	"github.com/guardlock/guardlock/internal/server"
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

// TestFileOfALogThatCannotBeReadIsNoAnswer: exit.Refused says of a log that somebody
// changed it. A link to itself is what nobody can read, root neither.
func TestFileOfALogThatCannotBeReadIsNoAnswer(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "audit")
	if err := writeProvenLog(log); err != nil {
		t.Fatal(err)
	}
	if err := writeAuditKey(filepath.Join(dir, "audit.key")); err != nil {
		t.Fatal(err)
	}

	unread := 0
	err := filepath.WalkDir(log, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "lock" {
			return err
		}
		unlink := makeUnreadable(t, path)
		defer unlink()

		for _, command := range []string{"verify --without-key", "prove payments/0@100 --output " + filepath.Join(t.TempDir(), "1.json"), "query", "show gl-00000011-2", "prune --before 2020-01-01 --dry-run",
			"hold list", "reconcile --topic payments -b 127.0.0.1:1"} {
			said := strings.Builder{}
			code := run(t.Context(), append(append([]string{"audit"}, strings.Fields(command)...), "--dir", log), nil, io.Discard, &said)
			if code == exit.Refused {
				t.Errorf("%s cannot be read: audit %s: exit code %d, %s", path, command, code, &said)
			}
			if code == exit.Failure && strings.Contains(said.String(), "too many levels of symbolic links") {
				unread++
			}
		}
		return nil
	})
	if err != nil || unread < 10 {
		t.Errorf("%d answers were that a file cannot be read, %v", unread, err)
	}
}

// makeUnreadable puts a link to itself in a file's place, and returns how to put it back.
func makeUnreadable(t *testing.T, path string) func() {
	t.Helper()
	if err := errors.Join(os.Rename(path, path+".aside"), os.Symlink(filepath.Base(path), path)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Rename(path+".aside", path); err != nil {
			t.Fatal(err)
		}
	}
}

type notAsked struct{ error }

func (notAsked) Undecided() bool { return true }

// TestModulesThatNobodyWasAskedAboutAreNotRefused: with --strict a script takes
// exit.Refused for the answer of a rule.
func TestModulesThatNobodyWasAskedAboutAreNotRefused(t *testing.T) {
	no := errors.New("the policy says no")
	unasked := notAsked{errors.New("the policy could not be asked")}
	for _, c := range []struct {
		report server.Report
		want   int
	}{
		{server.Report{Refused: []error{no}}, exit.Refused},
		{server.Report{Refused: []error{unasked, no}}, exit.Refused},
		{server.Report{Refused: []error{unasked}}, exit.Failure},
		{server.Report{Refused: []error{fmt.Errorf("reading module: %w", syscall.EIO)}}, exit.Failure},
		{server.Report{Refused: []error{unasked}, Problems: []error{no}}, exit.Refused},
	} {
		cmd := newCheckCommand()
		cmd.SetOut(io.Discard)
		if got := exit.CodeOf(reportCheck(cmd, "gw.yaml", c.report, true)); got != c.want {
			t.Errorf("%v, %v: exit code %d, want %d", c.report.Problems, c.report.Refused, got, c.want)
		}
	}
}
