package auth

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// KeySet is an issuer's public keys, as far as tokens can be checked with them.
// It is immutable.
type KeySet struct {
	keys []issuerKey
}

// issuerKey is one key of a set, with what the issuer says that it is for.
type issuerKey struct {
	id        string
	algorithm string // empty: any that fits the key
	kind      jwa.KeyType
	public    any
}

type verificationKey struct {
	algorithm jwa.SignatureAlgorithm
	key       any
}

// MaxKeySet bounds a key set document, in bytes. Real ones have a few thousand.
const MaxKeySet = 1 << 20

const (
	maxKeys   = 100
	minRSABit = 2048
)

// ParseKeySet reads a JWK set (RFC 7517). Keys that cannot verify what an issuer
// signed are left out: symmetric ones, those for encryption, short RSA. A set
// without any other is an error.
func ParseKeySet(raw []byte) (*KeySet, error) {
	if len(raw) > MaxKeySet {
		return nil, fmt.Errorf("reading key set: more than %d bytes", MaxKeySet)
	}
	set, err := jwk.Parse(raw)
	if err != nil {
		return nil, errors.New("reading key set: it is not a JWK set (RFC 7517)")
	}

	out := &KeySet{}
	for i := range min(set.Len(), maxKeys) {
		k, _ := set.Key(i)
		if key, ok := usable(k); ok {
			out.keys = append(out.keys, key)
		}
	}

	if len(out.keys) == 0 {
		return nil, errors.New("reading key set: it holds no public key that tokens can be checked with")
	}
	return out, nil
}

// usable takes the public half of a key, if tokens can be checked with it. It
// refuses keys for encryption, symmetric ones, and RSA below minRSABit.
func usable(k jwk.Key) (issuerKey, bool) {
	if use, ok := k.KeyUsage(); ok && use != "" && use != jwk.ForSignature.String() {
		return issuerKey{}, false
	}
	switch k.KeyType() {
	case jwa.RSA(), jwa.EC(), jwa.OKP():
	default:
		return issuerKey{}, false
	}

	public, err := jwk.PublicRawKeyOf(k)
	if err != nil {
		return issuerKey{}, false
	}
	if r, ok := public.(*rsa.PublicKey); ok && r.N.BitLen() < minRSABit {
		return issuerKey{}, false
	}

	key := issuerKey{kind: k.KeyType(), public: public}
	key.id, _ = k.KeyID()
	if a, ok := k.Algorithm(); ok {
		key.algorithm = a.String()
	}

	return key, true
}

// find returns the key with that id, or without an id the only key that fits
// the algorithm. It finds nothing where two keys fit, since a guess would be
// wrong half the time.
func (s *KeySet) find(id string, algorithm jwa.SignatureAlgorithm) (public any, ok bool) {
	if s == nil {
		return nil, false
	}
	matches := 0
	for _, k := range s.keys {
		if id != "" && k.id != id || k.kind != kindFor(algorithm) || k.algorithm != "" && k.algorithm != algorithm.String() {
			continue
		}
		public = k.public
		matches++
	}

	return public, matches == 1
}

// kindFor is the kind of key that an algorithm of Algorithms needs, so that no
// token is checked with a key of another kind.
func kindFor(a jwa.SignatureAlgorithm) jwa.KeyType {
	switch a.String()[:2] {
	case "RS", "PS":
		return jwa.RSA()
	case "ES":
		return jwa.EC()
	default:
		return jwa.OKP()
	}
}

// Fetcher keeps the keys that an issuer publishes at a URL. It implements
// KeySource and is safe for concurrent use.
type Fetcher struct {
	// fixed after NewFetcher
	client *http.Client
	url    string
	failed func(error)
	now    func() time.Time
	turn   chan struct{} // held by whoever fetches

	mu    sync.Mutex
	keys  *KeySet
	got   time.Time // when keys came
	tried time.Time
}

const (
	refreshEvery = 5 * time.Minute
	// retryEvery bounds what tokens with made-up key ids cause at the issuer.
	retryEvery = 10 * time.Second
	// keysKeptFor is how long keys are believed when the issuer cannot be asked.
	keysKeptFor  = 24 * time.Hour
	fetchTimeout = 5 * time.Second
)

// NewFetcher makes a fetcher; it does not fetch. client must verify the server's
// certificate. Redirects are not followed: keys come from where the operator
// said, or not at all. failed is told why fetching failed.
func NewFetcher(client *http.Client, url string, failed func(error)) *Fetcher {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Fetcher{
		client: &c,
		url:    url,
		failed: failed,
		now:    time.Now,
		turn:   make(chan struct{}, 1),
	}
}

// Run fetches every few minutes, and sooner while there are no keys, until ctx
// ends.
func (f *Fetcher) Run(ctx context.Context) {
	for {
		f.Refresh(ctx)
		wait := refreshEvery
		if f.Keys() == nil {
			wait = retryEvery
		}

		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// Keys returns the newest keys without waiting, or nil if the last ones are too
// old to be believed.
func (f *Fetcher) Keys() *KeySet {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keys == nil || f.now().Sub(f.got) > keysKeptFor {
		return nil
	}
	return f.keys
}

// Refresh fetches once, unless somebody else just did; then it waits for that
// to end. A failure leaves the old keys.
func (f *Fetcher) Refresh(ctx context.Context) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return
	}

	f.mu.Lock()
	recent := !f.tried.IsZero() && f.now().Sub(f.tried) < retryEvery
	f.mu.Unlock()

	if recent {
		return
	}
	keys, err := f.fetch(ctx)
	if err != nil && ctx.Err() == nil {
		f.failed(err)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried = f.now()

	if err == nil {
		f.keys = keys
		f.got = f.tried
	}
}

// fetch asks the issuer once, within fetchTimeout, and reads no more than
// MaxKeySet.
func (f *Fetcher) fetch(ctx context.Context) (*KeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for keys: %w", err)
	}

	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for keys: %w", err)
	}

	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for keys: the issuer answered with status %d", resp.StatusCode)
	}

	raw, err := io.ReadAll(io.LimitReader(resp.Body, MaxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}

	return ParseKeySet(raw)
}

// FixedKeys is a KeySource whose keys come from elsewhere, such as a file that
// is watched, and that cannot ask for newer ones.
type FixedKeys func() *KeySet

// Keys returns what the function returns, which may be nil.
func (f FixedKeys) Keys() *KeySet { return f() }

// Refresh does nothing, since there is nobody to ask.
func (f FixedKeys) Refresh(context.Context) {}
