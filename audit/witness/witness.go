// Package witness speaks C2SP tlog-witness: a witness signs that it saw a checkpoint of
// a log, and never one that does not go on from what it saw before. So whoever trusts
// the witness knows that nobody was shown another history.
//
// # Order
//
// A witness makes the checkpoint that it has seen durable before it hands out its
// signature. A crash between the two costs the log one question more, and never a second
// history. What it keeps is the note with the log's signature and its own, so that it can
// prove in a dispute what it was shown.
//
// # Trust
//
// A witness trusts nobody: what is posted is bounded, must be signed by a log that the
// witness knows, and is proven to go on from what it keeps. A log trusts a witness to
// be there, no more: its signature is checked like any other.
package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/internal/disk"
)

// Path is where a witness takes checkpoints (C2SP tlog-witness, add-checkpoint).
const Path = "/add-checkpoint"

const (
	maxRequest = 64 << 10
	maxProof   = 63 // hashes, by the specification
	sizeType   = "text/x.tlog.size"
)

// Witness answers logs. It is safe for concurrent use.
type Witness struct {
	dir    string
	signer *evidence.WitnessSigner
	logs   map[string]note.Verifier // by origin
	now    func() time.Time
	disk   disk.System

	mu sync.Mutex // of the files in dir
}

// New is a witness of some logs. Dir keeps what it has seen of each.
func New(dir string, signer *evidence.WitnessSigner, logs []note.Verifier) *Witness {
	w := &Witness{dir: dir, signer: signer, logs: make(map[string]note.Verifier), now: time.Now, disk: disk.OS}
	for _, v := range logs {
		w.logs[v.Name()] = v
	}
	return w
}

// On has the witness keep what it sees on another disk than disk.OS.
func (w *Witness) On(s disk.System) *Witness {
	w.disk = s
	return w
}

// refusal is an answer that is no signature.
type refusal struct {
	status int
	size   int64 // of a conflict: what was seen
	text   string
}

func (r *refusal) Error() string { return r.text }

// ServeHTTP implements http.Handler.
func (w *Witness) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	if in.URL.Path != Path || in.Method != http.MethodPost {
		http.Error(out, "POST "+Path, http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(out, in.Body, maxRequest))
	if err != nil {
		http.Error(out, "the request is too large", http.StatusRequestEntityTooLarge)
		return
	}

	line, err := w.add(body)
	var no *refusal
	switch {
	case err == nil:
		out.Write(line) //nolint:errcheck // a log that is gone asks again
	case errors.As(err, &no) && no.status == http.StatusConflict:
		out.Header().Set("Content-Type", sizeType)
		out.WriteHeader(no.status)
		fmt.Fprintf(out, "%d\n", no.size)
	case errors.As(err, &no):
		http.Error(out, no.text, no.status)
	default:
		http.Error(out, "the witness cannot keep what it saw", http.StatusInternalServerError)
	}
}

// add takes a checkpoint, and returns the line that cosigns it.
func (w *Witness) add(body []byte) ([]byte, error) {
	q, err := parse(body)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, 0, err.Error()}
	}
	origin, _, _ := strings.Cut(string(q.checkpoint), "\n")
	log := w.logs[origin]
	if log == nil {
		return nil, &refusal{http.StatusNotFound, 0, "this witness does not know the log"}
	}
	c, signature, err := evidence.OpenCheckpoint(q.checkpoint, note.VerifierList(log))
	if err != nil {
		return nil, &refusal{http.StatusForbidden, 0, "the log's key did not sign that"}
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	seen, err := w.seen(origin)
	if err != nil {
		return nil, err
	}
	if err := goesOn(&seen, &c, q); err != nil {
		return nil, err
	}

	line := w.signer.Cosign(c.Text(), w.now())
	if err := w.keep(&c, signature, line); err != nil {
		return nil, err
	}
	return line, nil
}

// goesOn checks that a checkpoint is of the history that was seen.
func goesOn(seen, c *evidence.Checkpoint, q *question) error {
	switch {
	case q.old > c.Size:
		return &refusal{http.StatusBadRequest, 0, "the old size is larger than the checkpoint's"}
	case q.old != seen.Size, c.Size == seen.Size && seen.Size > 0 && c.Root != seen.Root:
		return &refusal{http.StatusConflict, seen.Size, "another size was seen"}
	case seen.Size == 0 || c.Size == seen.Size:
		if len(q.proof) > 0 {
			return &refusal{http.StatusUnprocessableEntity, 0, "there is nothing to prove"}
		}
		return nil
	}

	if tlog.CheckTree(q.proof, c.Size, c.Root, seen.Size, seen.Root) != nil {
		return &refusal{http.StatusUnprocessableEntity, 0, "the proof does not hold: the log does not go on from what was seen"}
	}
	return nil
}

// FileOf is the file in which a witness keeps what it cosigned last of a log: the origin,
// as base64 for file names.
func FileOf(dir, origin string) string {
	return filepath.Join(dir, base64.RawURLEncoding.EncodeToString([]byte(origin)))
}

func (w *Witness) path(origin string) string { return FileOf(w.dir, origin) }

// seen is the last checkpoint of a log. That of none is the empty tree's.
func (w *Witness) seen(origin string) (evidence.Checkpoint, error) {
	b, err := w.disk.Read(w.path(origin), maxRequest)
	if errors.Is(err, fs.ErrNotExist) {
		return evidence.Checkpoint{}, nil
	}
	if err != nil {
		return evidence.Checkpoint{}, fmt.Errorf("reading what was seen: %w", err)
	}
	text, _, signed := strings.Cut(string(b), "\n\n") // an older version kept the text alone
	if signed {
		text += "\n"
	}
	c, err := evidence.ParseCheckpoint(text)
	if err != nil || c.Origin != origin {
		return c, fmt.Errorf("reading what was seen: %s is damaged", w.path(origin))
	}
	return c, nil
}

// keep writes the note: the checkpoint, the log's own signature of it, and the witness's
// line. Whoever has another checkpoint of the log can be shown what the log signed.
func (w *Witness) keep(c *evidence.Checkpoint, by note.Signature, line []byte) error {
	if err := disk.MakeDirs(w.disk, filepath.Dir(w.dir), w.dir, 0o700); err != nil {
		return err
	}
	if err := disk.Keep(w.disk, w.path(c.Origin), fmt.Appendf(nil, "%s\n— %s %s\n%s", c.Text(), by.Name, by.Base64, line), 0o600); err != nil {
		return fmt.Errorf("keeping what was seen: %w", err)
	}
	return nil
}

// question is the body of a request.
type question struct {
	old        int64
	proof      []tlog.Hash
	checkpoint []byte
}

var errQuestion = errors.New("the request is not as C2SP tlog-witness has it")

func parse(body []byte) (*question, error) {
	head, checkpoint, ok := bytes.Cut(body, []byte("\n\n"))
	first, lines, _ := strings.Cut(string(head), "\n")
	size, isOld := strings.CutPrefix(first, "old ")
	old, err := strconv.ParseInt(size, 10, 64)
	if !ok || !isOld || err != nil || old < 0 || strconv.FormatInt(old, 10) != size {
		return nil, errQuestion
	}

	q := &question{old: old, checkpoint: checkpoint}
	for line := range strings.SplitSeq(lines, "\n") {
		if line == "" && lines == "" {
			break
		}
		h, err := evidence.DecodeBase64(line)
		if err != nil || len(h) != tlog.HashSize || len(q.proof) == maxProof {
			return nil, errQuestion
		}
		q.proof = append(q.proof, tlog.Hash(h))
	}
	return q, nil
}

func (q *question) encode() []byte {
	b := fmt.Appendf(nil, "old %d\n", q.old)
	for _, h := range q.proof {
		b = fmt.Appendf(b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
	}
	return append(append(b, '\n'), q.checkpoint...)
}

// The errors of Client.Add that callers branch on.
var (
	// ErrAhead means that the witness saw a longer log than this one.
	ErrAhead = errors.New("the witness saw a longer log")
	// ErrForked means that the witness saw another log.
	ErrForked = errors.New("the witness saw another history of the log")
)

// Client asks one witness. It is for one goroutine.
type Client struct {
	url  string
	key  *evidence.Witness
	http *http.Client
	old  int64 // what the witness saw last, as far as is known

	cosigned int64 // entries of the checkpoint that it signed last
}

// timeout bounds one question.
const timeout = 10 * time.Second

// NewClient is for the witness at a URL, to which Path is added.
func NewClient(url string, key *evidence.Witness) *Client {
	return &Client{url: strings.TrimSuffix(url, "/") + Path, key: key, http: &http.Client{Timeout: timeout}}
}

// Name is the witness's.
func (c *Client) Name() string { return c.key.Name() }

// Cosigned is how many entries the checkpoint had that the witness signed last, as this
// process saw: 0 before the first. It must not be called beside Add.
func (c *Client) Cosigned() int64 { return c.cosigned }

// Add shows the witness a checkpoint, and returns the line that cosigns it. proof proves
// that a tree of an older size is a beginning of it.
func (c *Client) Add(ctx context.Context, signed []byte, now evidence.Checkpoint, proof func(old int64) ([]tlog.Hash, error)) ([]byte, error) {
	for range 3 { // the witness may have seen more than this process knows of
		if c.old > now.Size {
			return nil, fmt.Errorf("%w: %d entries at %s, and there are %d", ErrAhead, c.old, c.Name(), now.Size)
		}
		q := &question{old: c.old, checkpoint: signed}
		if c.old > 0 && c.old < now.Size {
			var err error
			if q.proof, err = proof(c.old); err != nil {
				return nil, err
			}
		}

		answer, status, err := c.post(ctx, q.encode())
		switch {
		case err != nil:
			return nil, fmt.Errorf("asking witness %s: %w", c.Name(), err)
		case status == http.StatusOK:
			return c.accept(answer, signed, now)
		case status == http.StatusUnprocessableEntity:
			return nil, fmt.Errorf("%w: %s, %d entries", ErrForked, c.Name(), c.old)
		case status != http.StatusConflict:
			return nil, fmt.Errorf("asking witness %s: it answers %d: %.200q", c.Name(), status, answer)
		}

		seen, err := strconv.ParseInt(strings.TrimSuffix(string(answer), "\n"), 10, 64)
		switch {
		case err != nil || seen < 0:
			return nil, fmt.Errorf("asking witness %s: it answers a conflict without a size", c.Name())
		case seen == c.old && seen == now.Size:
			return nil, fmt.Errorf("%w: %s, %d entries", ErrForked, c.Name(), seen)
		}
		c.old = seen
	}
	return nil, fmt.Errorf("asking witness %s: it changes its mind", c.Name())
}

// accept checks the witness's own signature.
func (c *Client) accept(line, signed []byte, now evidence.Checkpoint) ([]byte, error) {
	n, err := note.Open(append(bytes.Clone(signed), line...), note.VerifierList(c.key))
	if err != nil || n.Text != now.Text() {
		return nil, fmt.Errorf("asking witness %s: its signature is not its own", c.Name())
	}
	for _, s := range n.Sigs {
		if s.Name == c.Name() {
			c.old = now.Size
			c.cosigned = now.Size
			return fmt.Appendf(nil, "— %s %s\n", s.Name, s.Base64), nil
		}
	}
	return nil, fmt.Errorf("asking witness %s: it did not sign", c.Name())
}

func (c *Client) post(ctx context.Context, body []byte) (answer []byte, status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, 0, err
	}

	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxRequest))
	return answer, resp.StatusCode, err
}
