package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/internal/exit"
)

// TestFollowEndsCleanlyOnInterrupt: Ctrl-C is how a follower ends, so it is no
// failure.
func TestFollowEndsCleanlyOnInterrupt(t *testing.T) {
	broker, err := startBroker()
	if err != nil {
		t.Fatal(err)
	}

	defer broker.Close()
	address := broker.ListenAddrs()[0]
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"produce", "-t", "payments", "-b", address}, strings.NewReader("one\n"), io.Discard, &stderr); code != exit.OK {
		t.Fatalf("produce: exit code %d: %s", code, &stderr)
	}

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, in := io.Pipe()
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"consume", "-t", "payments", "-b", address, "--follow", "--from-beginning"}, nil, in, io.Discard)
	}()

	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "one\n" {
		t.Fatalf("first line %q, %v", line, err)
	}

	interrupt()
	if got := <-code; got != exit.OK {
		t.Fatalf("exit code %d after Ctrl-C, want %d", got, exit.OK)
	}
}

// TestInterruptedProduceIsReported: lines that were not sent are not success.
func TestInterruptedProduceIsReported(t *testing.T) {
	broker, err := startBroker()
	if err != nil {
		t.Fatal(err)
	}

	defer broker.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	silent, writer := io.Pipe()
	defer writer.Close()
	var stderr bytes.Buffer
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"produce", "-t", "payments", "-b", broker.ListenAddrs()[0]}, silent, io.Discard, &stderr)
	}()

	// The write returns when the line was read: the producer is at work then.
	if _, err := io.WriteString(writer, "one\n"); err != nil {
		t.Fatal(err)
	}
	interrupt()
	if got := <-code; got != exit.Interrupted {
		t.Fatalf("exit code %d, want %d: %s", got, exit.Interrupted, &stderr)
	}
}

func TestRecordsOfAnyBytesBecomeJSON(t *testing.T) {
	r := &kgo.Record{
		Topic: "t", Partition: 1, Offset: 7, Timestamp: time.UnixMilli(1700000000000),
		Key: []byte{0xff}, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "raw", Value: []byte{0xfe}}},
	}

	got, err := json.Marshal(kafka.NewRecordLine(r))
	if err != nil {
		t.Fatal(err)
	}

	const want = `{"topic":"t","partition":1,"offset":7,"timestamp":"2023-11-14T22:13:20Z","key":null,"key_base64":"/w==","value":null,` +
		`"headers":[{"key":"h","value":"v"},{"key":"raw","value":null,"value_base64":"/g=="}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRecordsCannotDriveTheTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain {\"a\":1}\tü": "plain {\"a\":1}\tü",
		"\x1b[2Jgone":        `\x1b[2Jgone`,
		"a\rb\x00":           `a\x0db\x00`,
		"bad\xffutf8\u202e":  `bad\xffutf8\x202e`,
		"":                   "",
	} {
		if got := cli.Printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
}
