package export_test

import (
	"bufio"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/guardlock/guardlock/audit/export"
)

// s3 is as much of an S3 server as an export needs. It fails each write after which
// broken is set, having stored it.
type s3 struct {
	mu      sync.Mutex
	objects map[string][]byte
	broken  bool
}

func (s *s3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
		w.WriteHeader(http.StatusForbidden)
		return
	}

	switch {
	case r.Method == http.MethodPut:
		content, err := body(r)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.objects[r.URL.Path] = content
		if s.broken {
			w.WriteHeader(http.StatusForbidden)
		}
	case r.URL.Query().Get("list-type") == "2":
		s.list(w, r)
	default:
		s.get(w, r)
	}
}

// body is an object as it was sent: over plain HTTP in signed chunks.
func body(r *http.Request) ([]byte, error) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(r.Body)
	}

	var content []byte
	for in := bufio.NewReader(r.Body); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseInt(size, 16, 32)
		if err != nil || n == 0 {
			return content, err
		}

		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			return nil, err
		}
		content = append(content, chunk[:n]...)
	}
}

func (s *s3) list(w http.ResponseWriter, r *http.Request) {
	type object struct{ Key string }
	var result struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []object
	}
	bucket := strings.TrimSuffix(r.URL.Path, "/") + "/"
	for name := range s.objects {
		if key, ok := strings.CutPrefix(name, bucket); ok && strings.HasPrefix(key, r.URL.Query().Get("prefix")) {
			result.Contents = append(result.Contents, object{key})
		}
	}
	if err := xml.NewEncoder(w).Encode(result); err != nil {
		panic(err)
	}
}

func (s *s3) get(w http.ResponseWriter, r *http.Request) {
	content, there := s.objects[r.URL.Path]
	if !there {
		w.WriteHeader(http.StatusNotFound)
		if r.Method == http.MethodGet {
			io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
		}
		return
	}
	w.Header().Set("Last-Modified", "Wed, 15 Jan 2020 12:00:00 GMT")
	w.Header().Set("ETag", `"e"`)
	w.Write(content)
}

// An upload that was stored and whose answer was lost is not written twice.
func TestBucketHoldsEachRowOnce(t *testing.T) {
	store := &s3{objects: make(map[string][]byte)}
	server := httptest.NewServer(store)
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_S3": server.URL, "AWS_REGION": "eu-1", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word",
	} {
		t.Setenv(name, value)
	}

	dir := t.TempDir()
	w := newWriter(t, filepath.Join(dir, "log"))
	logs, err := openLogs(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	sink, err := export.OpenBucket("s3://bucket/audit/guardlock", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if _, err := sink.Get(t.Context(), "nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an object that is not there: %v", err)
	}

	e := export.Exporter{Logs: logs, Format: export.JSONLines, Sink: sink}
	export.SetMaxRows(&e, 5)
	for _, broken := range []bool{false, true, true, false} {
		w.add(4, true)
		store.mu.Lock()
		store.broken = broken
		store.mu.Unlock()
		if _, err := e.Run(t.Context()); (err != nil) != broken {
			t.Errorf("broken %t: %v", broken, err)
		}
	}

	var got []string
	for name, content := range store.objects {
		if strings.HasPrefix(name, "/bucket/audit/guardlock/decisions-") {
			got = append(got, idsOf(t, content)...)
		}
	}
	slices.Sort(got)
	if want := want(t, logs); !slices.Equal(got, want) {
		t.Errorf("the bucket has %d rows, the log %d", len(got), len(want))
	}
}

func TestPlacesThatAreNoBuckets(t *testing.T) {
	for _, place := range []string{"s3://", "s3:///x", "http://bucket/x", "bucket"} {
		if _, err := export.OpenBucket(place, os.Getenv); err == nil {
			t.Errorf("%s is taken", place)
		}
	}
}
