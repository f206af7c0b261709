// A transform as a user of Redpanda writes it, with Redpanda's own SDK. What it does
// with its records is set by the variable DO, so that one file serves all tests.
package main

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redpanda-data/redpanda/src/transform-sdk/go/transform"
)

func main() {
	does := map[string]transform.OnRecordWrittenCallback{
		"":            identity,
		"mask":        mask,
		"route":       route,
		"filter":      filter,
		"error":       fail,
		"tee":         tee,
		"elsewhere":   elsewhere,
		"environment": environment,
	}[os.Getenv("DO")]
	if os.Getenv("DO") == "exit" {
		os.Exit(7)
	}

	transform.OnRecordWritten(does)
}

func identity(e transform.WriteEvent, w transform.RecordWriter) error { return w.Write(e.Record()) }

// route sends records whose key says so to the second of the output topics.
func route(e transform.WriteEvent, w transform.RecordWriter) error {
	if bytes.HasPrefix(e.Record().Key, []byte("test-")) {
		return w.Write(e.Record(), transform.ToTopic(os.Getenv("REDPANDA_OUTPUT_TOPIC_1")))
	}

	return w.Write(e.Record())
}

// filter leaves out what does not say that it is to be kept.
func filter(e transform.WriteEvent, w transform.RecordWriter) error {
	if bytes.Contains(e.Record().Value, []byte("keep")) {
		return w.Write(e.Record())
	}

	return nil
}

// fail fails, ends the program or loops, where the value says so.
func fail(e transform.WriteEvent, w transform.RecordWriter) error {
	switch string(e.Record().Value) {
	case "bad":
		return errors.New("a bad record")
	case "exit":
		os.Exit(3)
	case "loop":
		for {
		}
	}

	return w.Write(e.Record())
}

func tee(e transform.WriteEvent, w transform.RecordWriter) error {
	return errors.Join(w.Write(e.Record()), w.Write(e.Record(), transform.ToTopic(os.Getenv("REDPANDA_OUTPUT_TOPIC_1"))))
}

// elsewhere writes to a topic that nobody granted, and does not look at the error.
func elsewhere(e transform.WriteEvent, w transform.RecordWriter) error {
	_ = w.Write(e.Record(), transform.ToTopic("nobody-granted-it"))
	return nil
}

// environment makes the value what the program sees of the world.
func environment(e transform.WriteEvent, w transform.RecordWriter) error {
	began := time.Now()
	time.Sleep(time.Hour)
	slept := time.Since(began) >= time.Hour

	r := e.Record()
	seen := []string{strings.Join(os.Args, " "), strings.Join(os.Environ(), " "), began.UTC().Format(time.RFC3339Nano),
		r.Timestamp.UTC().Format(time.RFC3339Nano), strconv.FormatInt(r.Offset, 10), strconv.FormatBool(slept)}
	r.Value = []byte(strings.Join(seen, "\n"))
	println("seen")

	return w.Write(r)
}

// mask is the mask that the SDKs of this project begin with, as far as this ABI can
// say it: a value with a zero byte is an error.
func mask(e transform.WriteEvent, w transform.RecordWriter) error {
	r := e.Record()
	for _, h := range r.Headers {
		if string(h.Key) == "no-store" {
			return nil
		}
	}
	if bytes.IndexByte(r.Value, 0) >= 0 {
		return errors.New("the value is binary")
	}

	if masked := maskDigits(r.Value, keep()); masked > 0 {
		var others []transform.RecordHeader
		for _, h := range r.Headers {
			if string(h.Key) != "masked" {
				others = append(others, h)
			}
		}
		r.Headers = append(others, transform.RecordHeader{Key: []byte("masked"), Value: strconv.AppendInt(nil, int64(masked), 10)})
	}
	if r.Value != nil && bytes.HasPrefix(r.Key, []byte("test-")) {
		return w.Write(r, transform.ToTopic(os.Getenv("REDPANDA_OUTPUT_TOPIC_1")))
	}

	return w.Write(r)
}

func keep() int {
	if n, err := strconv.Atoi(os.Getenv("KEEP")); err == nil {
		return n
	}

	return 4
}

// maskDigits masks the runs of digits in a text, where they lie, and counts them.
func maskDigits(text []byte, keep int) int {
	masked := 0
	for start := 0; start < len(text); {
		run := 0
		for start+run < len(text) && text[start+run]-'0' <= 9 {
			run++
		}
		if run >= 12 && run <= 19 {
			for n := start; n < start+run-keep; n++ {
				text[n] = '*'
			}
			masked++
		}
		start += run + 1
	}

	return masked
}
