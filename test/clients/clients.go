// Package clients is the client matrix: it runs programs written with the stock Kafka clients of four languages against a
// bootstrap address, and says whether what they saw is right, with and without policy in between. README.md describes
// the cases; install.sh installs the clients.
package clients

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Topics are the topics of the matrix under the names that the programs use. Plain has three partitions, the others one.
type Topics struct {
	Plain    string `json:"plain"`    // no module
	Upper    string `json:"upper"`    // a module makes values upper case
	Strict   string `json:"strict"`   // a value with an upper-case ASCII letter is rejected with INVALID_RECORD
	Dropping string `json:"dropping"` // a record whose value begins with "drop" is dropped
}

// TopicsOf names the topics of one pass, so that many share a cluster. Policy binds to "upper-" and the rest of the name.
func TopicsOf(pass string) Topics {
	return Topics{
		Plain:    "plain-" + pass,
		Upper:    "upper-" + pass,
		Strict:   "strict-" + pass,
		Dropping: "dropping-" + pass,
	}
}

// of gives each client topics of its own, so that clients can run at the same time.
func (t Topics) of(client string) Topics {
	return Topics{
		Plain:    t.Plain + "-" + client,
		Upper:    t.Upper + "-" + client,
		Strict:   t.Strict + "-" + client,
		Dropping: t.Dropping + "-" + client,
	}
}

// Partitions gives the number of partitions of every client's topics.
func (t Topics) Partitions() map[string]int32 {
	all := make(map[string]int32)
	for _, client := range names {
		own := t.of(client)
		all[own.Plain], all[own.Upper], all[own.Strict], all[own.Dropping] = 3, 1, 1, 1
	}
	return all
}

// names are the matrix's clients, in the order of its report.
var names = [...]string{"java", "confluent-kafka", "kcat", "sarama", "franz-go", "kafkajs", "aiokafka", "kafka-python"}

// Job is what one program is to do, as JSON on its standard input.
type Job struct {
	Bootstrap string    `json:"bootstrap"`
	Run       string    `json:"run"` // marks this run's records, groups and transactions
	Topics    Topics    `json:"topics"`
	Cases     []string  `json:"cases,omitempty"` // empty means all
	Security  *Security `json:"security,omitempty"`
}

// Security is how clients connect; nil means in plaintext, without a login.
type Security struct {
	Protocol  string `json:"protocol"`  // SASL_PLAINTEXT or SASL_SSL
	Mechanism string `json:"mechanism"` // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string `json:"user"`
	Password  string `json:"password"`
	CAFile    string `json:"ca_file,omitempty"` // PEM, of who signed the certificates of SASL_SSL
}

// Pass is one run of every client, through a gateway or to the brokers themselves.
type Pass struct {
	Bootstrap string
	Topics    Topics
	Gateway   bool     // one that keeps the topics' policies is in between
	Cases     []string // empty means all
	Security  *Security
}

// Job is what a client is to do, under a run of its own; false if it cannot log in as the pass wants it.
func (p Pass) Job(c Client) (Job, bool) {
	if p.Security != nil && !slices.Contains(c.Logins, p.Security.Mechanism) {
		return Job{}, false
	}
	var id [4]byte
	rand.Read(id[:])
	return Job{
		Bootstrap: p.Bootstrap,
		Run:       "run-" + hex.EncodeToString(id[:]),
		Topics:    p.Topics.of(c.Name),
		Cases:     p.Cases,
		Security:  p.Security,
	}, true
}

// Report is what a program saw: the client's version, and a result for each case.
type Report struct {
	Client string            `json:"client"`
	Cases  map[string]Result `json:"cases"`
}

// Result is one case's outcome; each case fills the fields that it has.
type Result struct {
	Error       string     `json:"error"`       // the client failed where nothing should
	Unsupported bool       `json:"unsupported"` // the client cannot do this
	Acked       int        `json:"acked"`
	Read        int        `json:"read"`
	Intact      bool       `json:"intact"`
	Kept        int        `json:"kept"`
	Undone      int        `json:"undone"`
	Offset      bool       `json:"offset"`
	Key         bool       `json:"key"`
	Values      []string   `json:"values"`
	Outcomes    [][]string `json:"outcomes"`
	Messages    []string   `json:"messages"`
	AfterHole   string     `json:"after_hole"`
	Group
}

// Group is what a consumer group did, in the cases that have one.
type Group struct {
	Covered     bool `json:"covered"`
	Seen        int  `json:"seen"`
	Resumed     int  `json:"resumed"`
	Redelivered int  `json:"redelivered"`
}

// Client is one program of the matrix, and what it is known to do differently.
type Client struct {
	Name        string
	Unsupported []string // cases that it cannot do
	Extra       []string // cases that only it has
	Rejection   string   // the error that it gives for INVALID_RECORD
	Messages    bool     // it gives the text of a record's error too (KIP-467)
	Logins      []string // SASL mechanisms that work against this Kafka
	command     []string
}

// All are the matrix's clients. dir is this package's directory; goDir gets the Go programs.
func All(ctx context.Context, dir, goDir string) ([]Client, error) {
	for _, name := range []string{"franz", "sarama"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(goDir, name), "./"+name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s: %w: %s", name, err, out)
		}
	}

	for _, made := range []string{".venv/installed", "node/node_modules/.installed", "java/target/installed"} {
		if _, err := os.Stat(filepath.Join(dir, made)); err != nil {
			return nil, fmt.Errorf("the clients are not installed: run `make clients` once (no %s)", made)
		}
	}

	python := func(program string) []string {
		return []string{filepath.Join(dir, ".venv/bin/python"), "-B", filepath.Join(dir, "python", program)}
	}
	java := []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx192m", "-cp",
		filepath.Join(dir, "java/target/client-matrix.jar") + ":" + filepath.Join(dir, "java/target/dependency/*"),
		"dev.guardlock.clients.Matrix"}

	commands := map[string][]string{
		"java":            java,
		"confluent-kafka": python("confluent.py"),
		"kcat":            python("kcat.py"),
		"sarama":          {filepath.Join(goDir, "sarama")},
		"franz-go":        {filepath.Join(goDir, "franz")},
		"kafkajs":         {"node", filepath.Join(dir, "node/client.js")},
		"aiokafka":        python("aio.py"),
		"kafka-python":    python("kafkapython.py"),
	}

	var all []Client
	for _, name := range names {
		c := Client{
			Name:      name,
			command:   commands[name],
			Rejection: "INVALID_RECORD",
			Logins:    []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"},
		}

		switch name {
		case "java":
			c.Extra = []string{"group/consumer"}
			c.Messages = true
		case "aiokafka": // its table of error codes ends before 87
			c.Rejection = "UNKNOWN_SERVER_ERROR"
		case "kcat":
			c.Unsupported = []string{"transaction"}
			// librdkafka before 2.6.1, such as Debian's, spells SCRAM's nonce in a way that Kafka 4 refuses.
			c.Logins = []string{"PLAIN"}
		}

		all = append(all, c)
	}

	return all, nil
}

// Run runs the program to its end. An error holds what it wrote to its standard error.
func (c Client) Run(ctx context.Context, job Job) (Report, error) {
	in, err := json.Marshal(job)
	if err != nil {
		return Report{}, err
	}

	cmd := exec.CommandContext(ctx, c.command[0], c.command[1:]...)
	var errs bytes.Buffer
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = &errs

	out, err := cmd.Output()
	if err != nil {
		return Report{}, fmt.Errorf("running %s: %w: %s", c.Name, err, errs.Bytes())
	}

	var r Report
	if err := json.Unmarshal(out, &r); err != nil {
		return Report{}, fmt.Errorf("reading report of %s: %w: %s", c.Name, err, errs.Bytes())
	}

	return r, nil
}
