package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/audit/stamp"
	"github.com/guardlock/guardlock/audit/stamp/stamptest"
	"github.com/guardlock/guardlock/audit/tree"
	"github.com/guardlock/guardlock/audit/witness"
	"github.com/guardlock/guardlock/signing"
)

// writeProvenLog makes a log with a checkpoint: a module that two people approved, a
// batch of four records of which one was changed and one routed, and behind the
// checkpoint another batch. Beside it lie the log's public key, a file for --trust, the
// trust root, and one that knows neither of the two.
func writeProvenLog(dir string) error { return writeProvenFrom(dir, auditStart) }

// writeRecentLog is writeProvenLog of yesterday: what has to be done by a time has ended by
// the times of the other log.
func writeRecentLog(dir string) error {
	return writeProvenFrom(dir, time.Now().UTC().Truncate(time.Hour).Add(-24*time.Hour))
}

func writeProvenFrom(dir string, start time.Time) error {
	l, err := audit.Open(dir, audit.Options{Key: testAuditKey, Node: "gw", Now: func() time.Time { return start }})
	if err != nil {
		return err
	}
	if err := admitProven(dir, l); err != nil {
		return err
	}

	checkpoint, err := testTree(dir, l)
	if err != nil {
		return err
	}
	if err := appendProven(l, 100, audit.Ruling{Verdict: audit.Routed, Reason: "score_high", Route: "alerts"}); err != nil {
		return err
	}
	if err := checkpoint(); err != nil {
		return err
	}
	if err := appendProven(l, 104, audit.Ruling{}); err != nil {
		return err
	}
	return l.Close()
}

// admitProven records that two people approved the module.
func admitProven(dir string, l *audit.Log) error {
	approvals, err := writeApprovals(dir)
	if err != nil {
		return err
	}
	return admitBy(l, approvals)
}

// admitBy records that some people approved the module, and what the gateway serves under.
func admitBy(l *audit.Log, approvals []audit.Approval) error {
	if err := l.Record(context.Background(), audit.ControlEntry{
		Kind: audit.KindAdmission, Time: l.Latest(), Subject: "payments", Module: testModule(), Outcome: "allowed", Revision: "rev1",
		Admission: &audit.Admission{
			Author:    audit.Signer{Identity: "ada@example.com", KeyID: "k1"},
			Approvals: approvals,
			Threshold: 2,
			Topics:    []string{"payments"},
			Grant:     audit.Grant{Digest: audit.Digest{9}},
		},
	}); err != nil {
		return err
	}

	return l.Record(context.Background(), audit.ControlEntry{
		Kind: audit.KindAuthority, Time: l.Latest(), Subject: "guardlock.yaml", Outcome: "in_force", Revision: "rev1",
		Loaded: &audit.Loaded{Files: []audit.File{
			{Role: "configuration", Name: "guardlock.yaml", Digest: audit.Digest{1}},
			{Role: "policy", Name: "policy.rego", Digest: audit.Digest{2}},
			{Role: "trust_root", Name: "trust.json", Digest: audit.Digest{3}},
		}},
	})
}

// writeErasLog makes a log that knows a partition from offset 100 on.
func writeErasLog(dir string) error {
	l, err := openTestLog(dir)
	if err != nil {
		return err
	}

	if err := admitProven(dir, l); err != nil {
		return err
	}
	checkpoint, err := testTree(dir, l)
	if err != nil {
		return err
	}

	begins := audit.Era{Target: audit.Target{Cluster: "main", Topic: "payments"}, Offset: 100, LeaderEpoch: 3, Began: auditStart}
	if err := l.Record(context.Background(), audit.NewEra(begins)); err != nil {
		return err
	}
	for _, base := range []int64{100, 104} {
		if err := appendProven(l, base, audit.Ruling{}); err != nil {
			return err
		}
	}
	if err := checkpoint(); err != nil {
		return err
	}
	return l.Close()
}

// writePairLogs makes the logs of two gateways that stored batches of one partition, by
// turns: the first of offset 100 on, with 108, the second of 104 on, with 112. The same
// people approved for both, and the trust root lies beside the first log.
func writePairLogs(dir string) error {
	var approvals []audit.Approval
	for i, name := range []string{"a", "b"} {
		own := filepath.Join(dir, name, "audit")
		l, err := audit.Open(own, audit.Options{Key: testAuditKey, Node: "gw-" + name, Now: func() time.Time { return auditStart }})
		if err != nil {
			return err
		}
		if i == 0 {
			approvals, err = writeApprovals(own)
		} else {
			err = os.CopyFS(filepath.Join(own, "objects"), os.DirFS(filepath.Join(dir, "a", "audit", "objects")))
		}
		if err != nil {
			return err
		}
		if err := admitBy(l, approvals); err != nil {
			return err
		}

		checkpoint, err := testTreeOf("guardlock/gw-"+name+"/0011", own, l)
		if err != nil {
			return err
		}
		first := 100 + 4*int64(i)
		begins := audit.Era{Target: audit.Target{Cluster: "main", Topic: "payments"}, Offset: first, LeaderEpoch: 3, Began: auditStart}
		if err := l.Record(context.Background(), audit.NewEra(begins)); err != nil {
			return err
		}
		for _, base := range []int64{first, first + 8} {
			if err := appendProven(l, base, audit.Ruling{}); err != nil {
				return err
			}
		}
		if err := errors.Join(checkpoint(), l.Close()); err != nil {
			return err
		}
	}
	return nil
}

// appendProven stores a batch of which the last record has a ruling, and makes its
// binding durable.
func appendProven(l *audit.Log, base int64, last audit.Ruling) error {
	e := testBatch(l.Latest().Truncate(time.Hour).Add(time.Minute), audit.OutcomeModified)
	e.GrantDigest = audit.Digest{9}
	e.Add(audit.Ruling{}, 2)
	e.Add(audit.Ruling{Verdict: audit.Modified, Reason: "verdict_header"}, 1)
	e.Add(last, 1)
	if err := appendBatch(l, e, base); err != nil {
		return err
	}
	return l.Record(context.Background(), audit.ControlEntry{Kind: audit.KindConfig, Subject: "flush", Outcome: "applied"})
}

// writeApprovals keeps the approvals of grace and linus beside a log, and writes their keys,
// the trust root that knows them, and one of strangers by the same names.
func writeApprovals(dir string) (all []audit.Approval, err error) {
	var trust, strangers []map[string]string
	for _, who := range []string{"grace@example.com", "linus@example.com"} {
		key, err := signing.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		stranger, err := signing.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		if err := writeKey(dir, who, key); err != nil {
			return nil, err
		}
		trust = append(trust, trusted(who, key))
		strangers = append(strangers, trusted(who, stranger))

		id, err := approve(dir, key)
		if err != nil {
			return nil, err
		}
		all = append(all, audit.Approval{Approver: who, ID: id, KeyID: key.ID()})
	}

	for name, people := range map[string][]map[string]string{"trust.json": trust, "strangers.json": strangers} {
		author, err := signing.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(map[string]any{"threshold": 2, "authors": []any{trusted("ada@example.com", author)}, "approvers": people})
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(dir), name), b, 0o600); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// writeKey writes somebody's private key beside a log.
func writeKey(dir, who string, key *signing.PrivateKey) error {
	pem, err := key.MarshalPEM(nil)
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(who, "@")
	return os.WriteFile(filepath.Join(filepath.Dir(dir), name+".key"), pem, 0o600)
}

func trusted(who string, key *signing.PrivateKey) map[string]string {
	pem, err := key.Public().MarshalPEM()
	if err != nil {
		panic(err)
	}
	return map[string]string{"identity": who, "key": string(pem)}
}

// approve keeps one approval of the test's module, and returns its id.
func approve(dir string, key *signing.PrivateKey) (id string, err error) {
	bundle, err := signing.Approve(context.Background(), signing.Approval{
		ModuleDigest: testModule().Digest,
		Topics:       []string{"payments"},
		NotAfter:     auditStart.Add(time.Hour),
	}, key)
	if err != nil {
		return "", err
	}
	claim, err := signing.ReadUnverified(bundle)
	if err != nil {
		return "", err
	}
	return claim.ID, tree.ApprovalsOf(dir).Keep(claim.ID, key.ID(), bundle)
}

// testTree begins a tree over a log, and returns what makes a checkpoint of it.
func testTree(dir string, l *audit.Log) (checkpoint func() error, err error) {
	return testTreeOf("guardlock/gw/0011", dir, l)
}

// testTreeOf is testTree with another origin.
func testTreeOf(origin, dir string, l *audit.Log) (checkpoint func() error, err error) {
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return nil, err
	}

	beside := filepath.Dir(dir)
	if err := os.WriteFile(filepath.Join(beside, "log.key.pub"), []byte(public+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(beside, "auditors.yaml"), []byte("logs:\n  - "+public+"\n"), 0o600); err != nil {
		return nil, err
	}

	stamps, end, err := testStamps(beside, public)
	if err != nil {
		return nil, err
	}
	cosigner, gone, err := testWitness(beside, public, verifier)
	if err != nil {
		end()
		return nil, err
	}
	t, err := tree.Open(context.Background(), l.Reader(), tree.Options{Dir: filepath.Join(dir, tree.DirName), Signer: signer, Verifier: verifier, Stamps: stamps, Witnesses: []*witness.Client{cosigner}})
	if err != nil {
		end()
		gone()
		return nil, err
	}
	return func() error {
		defer end()
		defer gone()
		_, err := t.Checkpoint(context.Background())
		return err
	}, nil
}

// testWitness begins a witness, and writes a file for --trust that demands it.
func testWitness(dir, logKey string, log note.Verifier) (c *witness.Client, end func(), err error) {
	signer := evidence.NewWitnessSigner("bank.example/witness", [32]byte{7})
	trust := fmt.Sprintf("logs: [%q]\nwitnesses: {threshold: 1, keys: [%q]}\n", logKey, &signer.Witness)
	if err := os.WriteFile(filepath.Join(dir, "witnessed.yaml"), []byte(trust), 0o600); err != nil {
		return nil, nil, err
	}

	state := filepath.Join(dir, "witness")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, nil, err
	}
	server := httptest.NewServer(witness.New(state, signer, []note.Verifier{log}))
	return witness.NewClient(server.URL, &signer.Witness), server.Close, nil
}

// testStamps begins a time-stamping authority, and writes files for --trust that know
// it, and another of its name.
func testStamps(dir, logKey string) (s *tree.Stamping, end func(), err error) {
	for _, name := range []string{"stranger", "time"} {
		a, err := stamptest.New("time.example")
		if err != nil {
			return nil, nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".pem"), a.Root, 0o600); err != nil {
			return nil, nil, err
		}
		trust := fmt.Sprintf("logs: [%q]\ntimestamps: {ca_file: %s.pem}\n", logKey, name)
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(trust), 0o600); err != nil {
			return nil, nil, err
		}

		authorities, err := stamp.ParseAuthorities(a.Root)
		if err != nil {
			return nil, nil, err
		}
		server := httptest.NewServer(a)
		s = &tree.Stamping{Authority: stamp.NewClient(server.URL, authorities), Every: time.Hour}
		end = server.Close
	}
	return s, end, nil
}
