package signing

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guardlock/guardlock/internal/problem"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"google.golang.org/protobuf/encoding/protojson"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func wasm() []byte   { return []byte("\x00asm\x01\x00\x00\x00 a module") }
func config() []byte { return []byte(`{"rules":[]}`) }

// world is an author, two approvers of whom one has two keys, somebody who is
// both, and a stranger.
type world struct {
	t                                  testing.TB
	ada, bob, bob2, eve, zoe, stranger *PrivateKey
}

func newWorld(t testing.TB) *world {
	w := &world{t: t}
	for _, k := range []**PrivateKey{&w.ada, &w.bob, &w.bob2, &w.eve, &w.zoe, &w.stranger} {
		var err error
		if *k, err = GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}

	return w
}

type entry struct {
	Identity  string `json:"identity"`
	Key       string `json:"key"`
	NotBefore string `json:"not_before,omitempty"`
	NotAfter  string `json:"not_after,omitempty"`
}

type rootDoc struct {
	Authors   []entry `json:"authors"`
	Approvers []entry `json:"approvers"`
	Threshold int     `json:"threshold"`
	Revoked   struct {
		Digests   []string `json:"digests"`
		Keys      []string `json:"keys"`
		Approvals []string `json:"approvals"`
	} `json:"revoked"`
}

func listed(t testing.TB, who string, k *PrivateKey) entry {
	t.Helper()
	b, err := k.Public().MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	return entry{Identity: who, Key: string(b)}
}

// doc is the trust root of the world, to be changed by edits.
func (w *world) doc(threshold int, edits ...func(*rootDoc)) []byte {
	w.t.Helper()
	d := rootDoc{
		Authors:   []entry{listed(w.t, "ada", w.ada), listed(w.t, "zoe", w.zoe)},
		Approvers: []entry{listed(w.t, "bob", w.bob), listed(w.t, "bob", w.bob2), listed(w.t, "eve", w.eve), listed(w.t, "zoe", w.zoe)},
		Threshold: threshold,
	}
	for _, e := range edits {
		e(&d)
	}

	raw, err := json.Marshal(d)
	if err != nil {
		w.t.Fatal(err)
	}

	return raw
}

func (w *world) root(threshold int, edits ...func(*rootDoc)) *TrustRoot {
	w.t.Helper()
	root, err := ParseTrustRoot(w.doc(threshold, edits...))
	if err != nil {
		w.t.Fatal(err)
	}
	return root
}

func (w *world) signed(key *PrivateKey) []byte {
	w.t.Helper()
	b, err := SignModule(w.t.Context(), wasm(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// approval is the usual grant.
func approval(edits ...func(*Approval)) Approval {
	a := Approval{
		ModuleDigest: sha256.Sum256(wasm()), ConfigDigest: sha256.Sum256(config()),
		Topics:        []string{"customers.*"},
		HostFunctions: []string{"guardlock_log.log", "guardlock_crypto.sha256"},
		Routes:        []string{"quarantine"},
		Limits:        Limits{MemoryBytes: 16 << 20, DeadlineMS: 50},
		NotBefore:     noon().Add(-time.Hour), NotAfter: noon().Add(24 * time.Hour),
		Ticket: "SEC-1",
	}
	for _, e := range edits {
		e(&a)
	}

	return a
}

func (w *world) approved(key *PrivateKey, edits ...func(*Approval)) []byte {
	w.t.Helper()
	b, err := Approve(w.t.Context(), approval(edits...), key)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// statementOf is the payload of the usual approval, with texts replaced in
// pairs.
func statementOf(t testing.TB, replacements ...string) []byte {
	t.Helper()
	raw, err := encodeStatement(approval())
	if err != nil {
		t.Fatal(err)
	}

	out := strings.NewReplacer(replacements...).Replace(string(raw))
	if len(replacements) != 0 && out == string(raw) {
		t.Fatalf("nothing replaced in %s", raw)
	}
	return []byte(out)
}

// enveloped signs any payload as it is.
func (w *world) enveloped(key *PrivateKey, payload []byte, edits ...func(*protobundle.Bundle)) []byte {
	w.t.Helper()
	return w.edited(&sign.DSSEData{Data: payload, PayloadType: payloadType}, key, edits...)
}

// edited signs content and then changes the bundle.
func (w *world) edited(content sign.Content, key *PrivateKey, edits ...func(*protobundle.Bundle)) []byte {
	w.t.Helper()
	b, err := sign.Bundle(content, keypair{key, rand.Reader}, sign.BundleOptions{})
	if err != nil {
		w.t.Fatal(err)
	}

	for _, e := range edits {
		e(b)
	}
	raw, err := protojson.Marshal(b)
	if err != nil {
		w.t.Fatal(err)
	}

	return raw
}

func withHint(k *PrivateKey) func(*protobundle.Bundle) {
	return func(b *protobundle.Bundle) { b.GetVerificationMaterial().GetPublicKey().Hint = k.ID() }
}

func TestModuleSignatureIsVerified(t *testing.T) {
	w := newWorld(t)
	who, err := w.root(1).VerifyModule(t.Context(), wasm(), w.signed(w.ada))
	if err != nil || who != "ada" {
		t.Errorf("got %q, %v", who, err)
	}
}

func TestModuleRefusals(t *testing.T) {
	w := newWorld(t)
	good := w.signed(w.ada)
	digest := sha256.Sum256(wasm())
	for name, c := range map[string]struct {
		wasm, bundle []byte
		edit         func(*rootDoc)
		want         error
	}{
		"unsigned":        {wasm(), nil, nil, ErrUnsigned},
		"blank":           {wasm(), []byte(" \n"), nil, ErrUnsigned},
		"changed byte":    {append(wasm(), 0), good, nil, ErrDigestMismatch},
		"wrong key":       {wasm(), w.signed(w.stranger), nil, ErrWrongKey},
		"approver's key":  {wasm(), w.signed(w.bob), nil, ErrWrongRole},
		"swapped hint":    {wasm(), w.edited(&sign.PlainData{Data: wasm()}, w.stranger, withHint(w.ada)), nil, ErrBadSignature},
		"no hint":         {wasm(), bytes.Replace(good, []byte(w.ada.ID()), nil, 1), nil, ErrWrongKey},
		"an approval":     {wasm(), w.approved(w.bob), nil, ErrNotSignature},
		"not JSON":        {wasm(), []byte("hello"), nil, ErrMalformed},
		"not a bundle":    {wasm(), []byte("{}"), nil, ErrMalformed},
		"unknown field":   {wasm(), bytes.Replace(good, []byte("{"), []byte(`{"x":1,`), 1), nil, ErrMalformed},
		"later version":   {wasm(), bytes.Replace(good, []byte("v0.3"), []byte("v0.4"), 1), nil, ErrMalformed},
		"large bundle":    {wasm(), bytes.Repeat([]byte(" x"), MaxBundleBytes), nil, ErrTooLarge},
		"large module":    {make([]byte, MaxModuleBytes+1), good, nil, ErrTooLarge},
		"revoked module":  {wasm(), good, func(d *rootDoc) { d.Revoked.Digests = []string{hex.EncodeToString(digest[:])} }, ErrRevoked},
		"revoked key":     {wasm(), good, func(d *rootDoc) { d.Revoked.Keys = []string{w.ada.ID()} }, ErrRevoked},
		"key ended":       {wasm(), good, func(d *rootDoc) { d.Authors[0].NotAfter = "2026-03-01T12:00:00Z" }, ErrKeyExpired},
		"key not started": {wasm(), good, func(d *rootDoc) { d.Authors[0].NotBefore = "2026-03-01T12:01:01Z" }, ErrKeyExpired},
	} {
		t.Run(name, func(t *testing.T) {
			root := w.root(1, func(d *rootDoc) {
				if c.edit != nil {
					c.edit(d)
				}
			})

			who, err := root.VerifyModuleAt(t.Context(), c.wasm, c.bundle, noon())
			if !errors.Is(err, c.want) || who != "" {
				t.Errorf("got %q, %v; want %v", who, err, c.want)
			}
		})
	}
}

func TestRefusalsStayShortWhateverTheBundleHolds(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 9000)
	statement := statementOf(t, `"grant":{`, `"grant":{"`+long+`":1,`)
	_, err1 := w.root(1).VerifyApproval(t.Context(), sha256.Sum256(wasm()), w.enveloped(w.bob, statement), noon())
	_, err2 := w.root(1).VerifyModule(t.Context(), wasm(), bytes.Replace(w.signed(w.ada), []byte("v0.3"), []byte(long), 1))
	_, err3 := w.root(1).VerifyModule(t.Context(), wasm(), bytes.Replace(w.signed(w.ada), []byte(w.ada.ID()), []byte(long), 1))
	for _, err := range []error{err1, err2, err3} {
		if err == nil || len(err.Error()) > 600 {
			t.Errorf("got %.700v", err)
		}
	}
}

func TestForgedDigestHintDoesNotHideAChange(t *testing.T) {
	w := newWorld(t)
	changed := append(wasm(), 1)
	forged := w.edited(&sign.PlainData{Data: wasm()}, w.ada, func(b *protobundle.Bundle) {
		sum := sha256.Sum256(changed)
		b.GetMessageSignature().MessageDigest.Digest = sum[:]
	})
	if _, err := w.root(1).VerifyModule(t.Context(), changed, forged); !errors.Is(err, ErrBadSignature) {
		t.Errorf("got %v", err)
	}
}

func TestApprovalIsVerified(t *testing.T) {
	w := newWorld(t)
	got, err := w.root(1).VerifyApproval(t.Context(), sha256.Sum256(wasm()), w.approved(w.bob), noon())
	if err != nil {
		t.Fatal(err)
	}

	want := approval(func(a *Approval) {
		a.Approver = "bob"
		a.ID = got.ID
	})
	if len(got.ID) != 64 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestStatementsOfBothVersionsAreAccepted(t *testing.T) {
	w := newWorld(t)
	for _, payload := range [][]byte{statementOf(t), statementOf(t, statementV1, statementV01)} {
		if _, err := w.root(1).VerifyApproval(t.Context(), sha256.Sum256(wasm()), w.enveloped(w.bob, payload), noon()); err != nil {
			t.Error(err)
		}
	}
}

func TestApprovalRefusals(t *testing.T) {
	w := newWorld(t)
	digest := sha256.Sum256(wasm())
	hexDigest := hex.EncodeToString(digest[:])
	subject := fmt.Sprintf(`{"name":"module.wasm","digest":{"sha256":"%s"}}`, hexDigest)
	of := func(replacements ...string) []byte { return w.enveloped(w.bob, statementOf(t, replacements...)) }
	twice := func(b *protobundle.Bundle) {
		e := b.GetDsseEnvelope()
		e.Signatures = append(e.Signatures, e.Signatures[0])
	}

	altered := func(b *protobundle.Bundle) {
		e := b.GetDsseEnvelope()
		e.Payload = bytes.Replace(e.Payload, []byte("customers.*"), []byte("*"), 1)
	}
	for name, c := range map[string]struct {
		bundle []byte
		want   error
	}{
		"nothing":                 {nil, ErrMalformed},
		"author signature":        {w.signed(w.ada), ErrNotApproval},
		"other payload type":      {w.edited(&sign.DSSEData{Data: statementOf(t), PayloadType: "text/plain"}, w.bob), ErrNotApproval},
		"untrusted key":           {w.approved(w.stranger), ErrWrongKey},
		"author's key":            {w.approved(w.ada), ErrWrongRole},
		"swapped hint":            {w.enveloped(w.bob, statementOf(t), withHint(w.eve)), ErrBadSignature},
		"two signatures":          {w.enveloped(w.bob, statementOf(t), twice), ErrSignatureCount},
		"no signature":            {w.enveloped(w.bob, statementOf(t), func(b *protobundle.Bundle) { b.GetDsseEnvelope().Signatures = nil }), ErrSignatureCount},
		"altered payload":         {w.enveloped(w.bob, statementOf(t), altered), ErrBadSignature},
		"wrong predicate type":    {of(PredicateType, "https://slsa.dev/provenance/v1"), ErrPredicateType},
		"unknown statement":       {of(statementV1, "https://in-toto.io/Statement/v2"), ErrPredicate},
		"other module":            {of(hexDigest, strings.Repeat("0", 64)), ErrDigestMismatch},
		"two subjects":            {of(subject, subject+","+subject), ErrSubjects},
		"no subject":              {of(subject, ""), ErrSubjects},
		"two digests":             {of(`{"sha256":"`+hexDigest, `{"sha512":"00","sha256":"`+hexDigest), ErrSubjects},
		"upper-case digest":       {of(hexDigest, strings.ToUpper(hexDigest)), ErrSubjects},
		"unknown predicate field": {of(`"grant":{`, `"grant":{"network":true,`), ErrPredicate},
		"unknown statement field": {of(`"subject"`, `"extra":1,"subject"`), ErrPredicate},
		"field in another case":   {of(`"topics"`, `"Topics"`), ErrPredicate},
		"long s in a name":        {of(`"topics":["customers.*"]`, `"topicſ":["*"]`), ErrPredicate},
		"long s beside the name":  {of(`"topics":[`, `"topicſ":["*"],"topics":[`), ErrPredicate},
		"long s in a function":    {of(`"host_functions":`, `"hoſt_functions":[],"host_functions":`), ErrPredicate},
		"long s in the subject":   {of(`"subject":[`, `"ſubject":[`), ErrPredicate},
		"kelvin sign in a name":   {of(`"keys":`, `"Keys":`), ErrPredicate},
		"lower-case predicate":    {of(`"predicateType"`, `"predicatetype"`), ErrPredicate},
		"escaped name":            {of(`"topics"`, `"\u0074opics"`), ErrPredicate},
		"escaped text":            {of(`"customers.*"`, `"\u0063ustomers.*"`), ErrPredicate},
		"not UTF-8":               {of(`"SEC-1"`, "\"SEC\xff\""), ErrPredicate},
		"null for a list":         {of(`"keys":[]`, `"keys":null`), ErrPredicate},
		"null for an object":      {of(`"limits":{"memory_bytes":16777216,"deadline_ms":50}`, `"limits":null`), ErrPredicate},
		"a list left out":         {of(`"keys":[],`, ``), ErrPredicate},
		"functions left out":      {of(`"host_functions":["guardlock_log.log","guardlock_crypto.sha256"],`, ``), ErrPredicate},
		"number with an exponent": {of(`:50`, `:5e1`), ErrPredicate},
		"number with a point":     {of(`:50`, `:50.0`), ErrPredicate},
		"minus zero":              {of(`:50`, `:-0`), ErrPredicate},
		"odd audience":            {of(`"limits":`, `"audience":["production"],"limits":`), ErrPredicate},
		"field given twice":       {of(`"topics":[`, `"topics":["*"],"topics":[`), ErrPredicate},
		"no grant":                {of(`"grant"`, `"ticket2"`), ErrPredicate},
		"no topics":               {of(`"customers.*"`, ``), ErrPredicate},
		"odd topic":               {of(`customers.*`, `customers.{a,b}`), ErrPredicate},
		"function twice":          {of(`"guardlock_log.log"`, `"guardlock_log.log","guardlock_log.log"`), ErrPredicate},
		"negative limit":          {of(`:50`, `:-50`), ErrPredicate},
		"no end":                  {of(`"not_after":"2026-03-02T12:00:00Z",`, ``), ErrPredicate},
		"end before start":        {of(`2026-03-02`, `2026-02-02`), ErrPredicate},
		"odd time":                {of(`2026-03-02T12:00:00Z`, `tomorrow`), ErrPredicate},
		"more than one value":     {w.enveloped(w.bob, append(statementOf(t), "{}"...)), ErrPredicate},
		"not JSON":                {w.enveloped(w.bob, []byte("approved!")), ErrPredicate},
		"deep nesting":            {w.enveloped(w.bob, bytes.Repeat([]byte("["), 1000)), ErrPredicate},
		"claims to be another":    {of(`"ticket"`, `"approver":"eve","ticket"`), ErrApproverClaim},
		"expired":                 {w.approved(w.bob, func(a *Approval) { a.NotAfter = noon() }), ErrExpired},
		"not yet valid":           {w.approved(w.bob, func(a *Approval) { a.NotBefore = noon().Add(time.Minute + 1) }), ErrNotYetValid},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := w.root(1).VerifyApproval(t.Context(), digest, c.bundle, noon())
			if !errors.Is(err, c.want) || a.Approver != "" {
				t.Errorf("got %+v, %v; want %v", a, err, c.want)
			}
		})
	}
}

func TestRevokedApprovalsAreRefused(t *testing.T) {
	w := newWorld(t)
	digest := sha256.Sum256(wasm())
	conf := sha256.Sum256(config())
	b := w.approved(w.bob)

	a, err := w.root(1).VerifyApproval(t.Context(), digest, b, noon())
	if err != nil {
		t.Fatal(err)
	}

	for name, edit := range map[string]func(*rootDoc){
		"approval":      func(d *rootDoc) { d.Revoked.Approvals = []string{a.ID} },
		"module":        func(d *rootDoc) { d.Revoked.Digests = []string{hex.EncodeToString(digest[:])} },
		"configuration": func(d *rootDoc) { d.Revoked.Digests = []string{"sha256:" + hex.EncodeToString(conf[:])} },
		"key":           func(d *rootDoc) { d.Revoked.Keys = []string{w.bob.ID()} },
	} {
		if _, err := w.root(1, edit).VerifyApproval(t.Context(), digest, b, noon()); !errors.Is(err, ErrRevoked) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestApproveRefusesWhatCannotBeVerified(t *testing.T) {
	w := newWorld(t)
	_, err := Approve(t.Context(), Approval{Topics: []string{"a b"}, Keys: []string{"", "k", "k"}}, w.bob)
	var ps problem.List
	if !errors.Is(err, ErrInvalidApproval) || !errors.As(err, &ps) || len(ps) != 4 {
		t.Errorf("got %v", err)
	}
}

func TestKeyFilesRoundTrip(t *testing.T) {
	w := newWorld(t)
	for _, password := range [][]byte{nil, []byte("secret")} {
		file, err := w.bob.MarshalPEM(password)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(file, []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----")) {
			t.Errorf("cosign would not know %.60s", file)
		}

		again, err := ParsePrivateKey(file, password)
		if err != nil || again.ID() != w.bob.ID() {
			t.Errorf("got %v", err)
		}
		if password == nil {
			continue
		}
		if _, err := ParsePrivateKey(file, nil); err == nil {
			t.Error("a wrong password is accepted")
		}
	}
}

func TestOtherCurvesAreRefused(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	pub, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}

	priv, err := cryptoutils.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePublicKey(pub); !errors.Is(err, ErrKey) {
		t.Errorf("public: %v", err)
	}
	if _, err := ParsePrivateKey(priv, nil); !errors.Is(err, ErrKey) {
		t.Errorf("private: %v", err)
	}
	if _, err := ParsePublicKey(append(pub, pub...)); !errors.Is(err, ErrKey) {
		t.Errorf("two keys: %v", err)
	}
}

func TestGrantDigestIsOfWhatIsGranted(t *testing.T) {
	base := approval().GrantDigest()
	for name, c := range map[string]struct {
		edit func(*Approval)
		same bool
	}{
		"order of functions": {func(a *Approval) { slices.Reverse(a.HostFunctions) }, true},
		"time":               {func(a *Approval) { a.NotAfter = a.NotAfter.Add(1) }, true},
		"person and ticket": {func(a *Approval) {
			a.Approver = "x"
			a.Ticket = "y"
			a.ID = "z"
		}, true},
		"no keys as empty": {func(a *Approval) { a.Keys = []string{} }, true},
		"module":           {func(a *Approval) { a.ModuleDigest[0]++ }, false},
		"configuration":    {func(a *Approval) { a.ConfigDigest[0]++ }, false},
		"topics":           {func(a *Approval) { a.Topics = append(a.Topics, "x") }, false},
		"functions":        {func(a *Approval) { a.HostFunctions = a.HostFunctions[1:] }, false},
		"keys":             {func(a *Approval) { a.Keys = []string{"k"} }, false},
		"routes":           {func(a *Approval) { a.Routes = nil }, false},
		"limits":           {func(a *Approval) { a.Limits.Instances = 2 }, false},
	} {
		if got := approval(c.edit).GrantDigest() == base; got != c.same {
			t.Errorf("%s: same is %v", name, got)
		}
	}

	ab := approval(func(a *Approval) { a.Keys = []string{"a", "b"} }).GrantDigest()
	ba := approval(func(a *Approval) { a.Keys = []string{"b", "a"} }).GrantDigest()
	if ab == ba {
		t.Error("the order of keys, which guests address by index, is not in the digest")
	}
}
