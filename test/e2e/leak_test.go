package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/guardlock/guardlock/audit/query"
)

// traces of a secret are the ways in which it would be found again: itself, as people
// write bytes, and as a digest that anybody can make who guesses it.
func traces(secret string) map[string][]byte {
	found := map[string][]byte{"itself": []byte(secret), "hexadecimal": []byte(hex.EncodeToString([]byte(secret)))}
	for pad := range 3 {
		whole := base64.RawStdEncoding.EncodeToString(append(bytes.Repeat([]byte{'.'}, pad), secret...))
		found["base64 "+strconv.Itoa(pad)] = []byte(whole[4 : len(whole)-4])
	}

	digest := sha256.Sum256([]byte(secret))
	found["digest"] = digest[:]
	found["digest, hexadecimal"] = []byte(hex.EncodeToString(digest[:]))
	found["digest, base64"] = []byte(base64.RawStdEncoding.EncodeToString(digest[:]))
	return found
}

// TestNothingOfARecordIsInAnyEvidence: what a record holds is with the broker, and in
// nothing that the gateway writes, proves, counts or says.
func TestNothingOfARecordIsInAnyEvidence(t *testing.T) {
	ops, release := holdAddress(t)
	d := deploy(t, plan{
		modules:  []module{judgeModule("t")},
		bindings: map[string]string{"t": "judge"},
		more:     "ops: {address: \"" + ops + "\"}\naudit: {evidence: {every: 1s}}\n",
	})
	release()
	gateway := serve(t, d)

	const key, value, name, header = "key-5f1d8c02ab", "value-93ab77c1de", "name-0c44e2b19f", "header-7731ffa0c6"
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression()} {
		c := client(t, d.address, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(codec), kgo.DisableIdempotentWrite(), kgo.RecordRetries(1))
		for _, verdict := range []string{"a", "m", "r", "d", "q", "t"} { // passed, changed, rejected, dropped, routed, trapped
			c.ProduceSync(testContext(t), &kgo.Record{Topic: "t", Key: []byte(key), Value: []byte(verdict + value),
				Headers: []kgo.RecordHeader{{Key: name, Value: []byte(header)}}})
		}
	}
	mustSend(t, client(t, d.address), "t", 0, "a"+value)
	eventually(t, "the record is proven", func() bool {
		os.Remove(filepath.Join(d.dir, "one.json"))
		_, exit := guardlock(t, "audit", "prove", "t/0@0", "--dir", d.audit(), "-o", filepath.Join(d.dir, "one.json"))
		return exit == 0
	})

	said := map[string]string{"metrics": scraped(t, ops, "/metrics"), "status": scraped(t, ops, "/status"), "readiness": scraped(t, ops, "/readyz")}
	for _, args := range [][]string{
		{"query", "--format", "jsonl"}, {"summary"}, {"show", "--json"}, {"export", "--format", "jsonl", "-o", filepath.Join(d.dir, "jsonl")},
		{"export", "--format", "ocsf", "-o", filepath.Join(d.dir, "ocsf")}, {"export", "--format", "parquet", "-o", filepath.Join(d.dir, "parquet")},
	} {
		if args[0] == "show" {
			args = append(args, firstDecision(t, d))
		}
		out, exit := guardlock(t, append([]string{"audit", args[0], "--dir", d.audit()}, args[1:]...)...)
		if exit != 0 {
			t.Errorf("%v: exit code %d:\n%s", args, exit, out)
		}
		said[strings.Join(args, " ")] = out
	}
	gateway.terminate()

	for _, secret := range []string{key, value, name, header, "a" + value, "m" + value, "M" + value} {
		for how, trace := range traces(secret) {
			for where, text := range said {
				if bytes.Contains([]byte(text), trace) {
					t.Errorf("%s: %s holds it (%s)", secret, where, how)
				}
			}
			for _, path := range d.holding(trace) {
				t.Errorf("%s: %s holds it (%s)", secret, path, how)
			}
		}
	}
	if len(d.holding([]byte("e2e"))) == 0 || len(d.holding([]byte("guardlock"))) == 0 {
		t.Error("nothing is found in any file, so that the search is wrong")
	}
}

// holding are the files below the deployment that hold some bytes, without the broker's.
func (d *deployment) holding(what []byte) (found []string) {
	d.t.Helper()
	err := filepath.WalkDir(d.dir, func(path string, at fs.DirEntry, err error) error {
		if err != nil || at.IsDir() && at.Name() == "broker" {
			return errorOrSkip(err)
		}
		if at.IsDir() || !at.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, what) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return found
}

func errorOrSkip(err error) error {
	if err != nil {
		return err
	}
	return filepath.SkipDir
}

// holdAddress holds a free address until deploy has taken others.
func holdAddress(t *testing.T) (address string, release func()) {
	t.Helper()
	held := must(net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(freePorts(t, 1)))))(t)
	return held.Addr().String(), func() { held.Close() }
}

// scraped is what the operators' listener answers.
func scraped(t *testing.T, ops, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	r := must(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+path, nil))(t)
	resp := must(http.DefaultClient.Do(r))(t)
	defer resp.Body.Close()
	return string(must(io.ReadAll(resp.Body))(t))
}

// firstDecision is the id of a batch that was decided.
func firstDecision(t *testing.T, d *deployment) string {
	t.Helper()
	return decisions(t, d.audit(), query.Filter{Topics: []string{"t"}})[0].ID.String()
}
