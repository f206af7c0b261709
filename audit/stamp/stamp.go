// Package stamp has a time-stamping authority (RFC 3161) say that a checkpoint was
// there at a time.
//
// # Form
//
// The authority's answer is one more signature line of the signed note (C2SP
// signed-note): its name is Name, and its signature is the TimeStampResp in DER over
// the SHA-256 of the note's text. Readers that do not know the line pass over it.
//
// # Trust
//
// An authority is trusted for the time alone, by the root certificates that the
// verifier got from elsewhere. Its certificate must have held at the time that it
// says. Revocation is not asked for, since that needs a network.
package stamp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"time"

	"github.com/digitorus/timestamp"
	"golang.org/x/mod/sumdb/note"

	"github.com/guardlock/guardlock/audit/evidence"
	"github.com/guardlock/guardlock/signing"
)

// Name is that of the signature line.
const Name = "rfc3161"

// algorithm is that of signature lines whose kind is told by a text (C2SP signed-note).
const algorithm = "\xff"

// maxAnswer bounds an answer. A chain of RSA certificates takes 6 KiB.
const maxAnswer = 64 << 10

// timeout bounds one question.
const timeout = 10 * time.Second

// ErrStamp means that an answer is no time stamp of this text by a trusted authority.
var ErrStamp = errors.New("the time stamp does not hold")

// Authorities are those whose word on the time counts. It implements note.Verifier,
// and is safe for concurrent use.
type Authorities struct{ trusted *signing.TimestampAuthorities }

// ParseAuthorities reads certificates in PEM. Those that signed themselves are trusted,
// the others only lead to them. It returns signing.ErrAuthorities where there are none.
func ParseAuthorities(text []byte) (*Authorities, error) {
	trusted, err := signing.ParseTimestampAuthorities(text)
	if err != nil {
		return nil, err
	}
	return &Authorities{trusted}, nil
}

// Name implements note.Verifier.
func (a *Authorities) Name() string { return Name }

// KeyHash implements note.Verifier. It is one for all authorities: whose answer it is
// stands in the answer.
func (a *Authorities) KeyHash() uint32 {
	h := sha256.Sum256([]byte(Name + "\n" + algorithm + "TimeStampResp"))
	return binary.BigEndian.Uint32(h[:])
}

// Verify implements note.Verifier.
func (a *Authorities) Verify(text, answer []byte) bool {
	_, err := a.check(text, answer, nil)
	return err == nil
}

// check verifies an answer about a text. Nonce is that of the question, nil later on.
func (a *Authorities) check(text, answer []byte, nonce *big.Int) (evidence.Timestamp, error) {
	who, at, err := a.trusted.Check(text, answer, nonce)
	if err != nil {
		return evidence.Timestamp{}, fmt.Errorf("%w: %w", ErrStamp, err)
	}
	return evidence.Timestamp{Authority: who, Time: at}, nil
}

// Timestamps are the time stamps on a signed note. A line that no trusted authority
// stands behind is an error, as note.Open has it.
func (a *Authorities) Timestamps(signed []byte) ([]evidence.Timestamp, error) {
	n, err := note.Open(signed, note.VerifierList(a))
	var none *note.UnverifiedNoteError
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStamp, err)
	}

	var all []evidence.Timestamp
	for _, s := range n.Sigs {
		raw, err := evidence.DecodeBase64(s.Base64)
		if err != nil || len(raw) < 4 {
			return nil, fmt.Errorf("%w: its base64 has another spelling", ErrStamp)
		}
		t, err := a.check([]byte(n.Text), raw[4:], nil)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// Client asks one authority. It is safe for concurrent use.
type Client struct {
	url         string
	authorities *Authorities
	http        *http.Client
}

// NewClient is for the authority that answers at a URL (RFC 3161, 3.4).
func NewClient(url string, a *Authorities) *Client {
	return &Client{url: url, authorities: a, http: &http.Client{Timeout: timeout}}
}

// Stamp asks for a time stamp of a note's text, checks it, and returns it as a signature
// line. The authority learns a digest, and nothing else. It returns ErrStamp where
// the answer does not hold.
func (c *Client) Stamp(ctx context.Context, text string) ([]byte, error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(text))
	question, err := (&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Certificates: true, Nonce: nonce}).Marshal()
	if err != nil {
		return nil, fmt.Errorf("asking for a time stamp: %w", err)
	}

	answer, err := c.post(ctx, question)
	if err != nil {
		return nil, fmt.Errorf("asking for a time stamp: %w", err)
	}
	if _, err := c.authorities.check([]byte(text), answer, nonce); err != nil {
		return nil, fmt.Errorf("asking for a time stamp: %w", err)
	}

	raw := append(binary.BigEndian.AppendUint32(nil, c.authorities.KeyHash()), answer...)
	return fmt.Appendf(nil, "— %s %s\n", Name, base64.StdEncoding.EncodeToString(raw)), nil
}

func (c *Client) post(ctx context.Context, question []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/timestamp-query")
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()

	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("its answer has more than %d bytes", maxAnswer)
	}
	return answer, nil
}
