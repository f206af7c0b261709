// Package signing decides whether a module may be trusted: who wrote it, who
// approved it, for what, and until when.
//
// Two kinds of proof accompany a module, both Sigstore bundles (v0.3 JSON)
// made with P-256 keys and checked without any network:
//
//   - the author's signature: a message signature over the module's bytes;
//   - approvals: DSSE envelopes around an in-toto statement whose only subject
//     is the module's SHA-256, with predicate type PredicateType. The predicate
//     is the grant: configuration digest, topics, host functions, key names,
//     routes, limits, the gateways and the time for which it holds. It must be in
//     the one spelling that every reader takes alike.
//
// The trust root, a local file, says which keys are authors' and which are
// approvers', and which person each key belongs to. Identities come from there
// and from nowhere else: a name inside a bundle proves nothing. Approvals are
// counted per person, never per key, only when they grant exactly the same, and
// never when they are the author's own.
//
// Bundles follow the conventions of cosign (media type, base64 SHA-256 key
// hint, in-toto Statement v0.1 or v1), so that cosign alone can make and check
// them.
//
// A bundle, a module and a configuration are hostile until verified; the trust
// root and private keys are not, but are parsed strictly all the same. Every
// refusal has its own sentinel. All types are immutable once made, and safe for
// concurrent use.
package signing

import "errors"

// PredicateType names the in-toto predicate of an approval, by which a
// statement about something else is told from one.
const PredicateType = "https://guardlock.dev/attestations/module-approval/v1"

// Bounds on what is read before anything of it is trusted. Sizes are in bytes.
const (
	MaxModuleBytes = 16 << 20 // a module
	MaxConfigBytes = 1 << 20  // a module's configuration
	MaxBundleBytes = 256 << 10
	MaxApprovals   = 64 // bundles beside one module
)

// Identity is a person or a machine as the trust root names it. Two spellings
// are two identities, so the trust root admits one of each.
type Identity string

// Refusals. Each says what is wrong and what to do; details follow in the
// error that wraps it.
var (
	ErrUnsigned        = errors.New("the module has no author signature: sign it with `guardlock module sign`")
	ErrTooLarge        = errors.New("larger than is ever accepted: check that this is the right file")
	ErrMalformed       = errors.New("not a Sigstore bundle that can be read: make it again with guardlock or cosign")
	ErrNotSignature    = errors.New("the bundle holds no signature over the module: an approval was given where the author signature belongs")
	ErrNotApproval     = errors.New("the bundle holds no approval: it must be a DSSE envelope with an in-toto statement")
	ErrCertificate     = errors.New("the bundle was signed with a certificate: sign with a key that the trust root lists")
	ErrSignatureCount  = errors.New("the envelope must carry exactly one signature: make one bundle per approver")
	ErrWrongKey        = errors.New("signed with a key that the trust root does not list: add the key, or have a listed person sign")
	ErrWrongRole       = errors.New("signed with a key that the trust root lists for another role: authors sign modules, approvers approve them")
	ErrKeyExpired      = errors.New("the signing key is outside the time for which the trust root accepts it: sign with a current key")
	ErrBadSignature    = errors.New("the signature does not match: the bundle was altered, or names a key that did not make it")
	ErrDigestMismatch  = errors.New("the module is not the one that was signed: its bytes have changed")
	ErrSubjects        = errors.New("an approval must name exactly one module, by its sha256 alone")
	ErrPredicateType   = errors.New("the statement is not a module approval: its predicate type must be " + PredicateType)
	ErrPredicate       = errors.New("the approval cannot be understood in full, so it grants nothing: make it again with `guardlock module approve`")
	ErrApproverClaim   = errors.New("the approval names somebody other than the owner of the key that signed it")
	ErrExpired         = errors.New("the approval has expired: ask for a new one")
	ErrNotYetValid     = errors.New("the approval is not valid yet: wait, or ask for one that starts earlier")
	ErrConfigChanged   = errors.New("the configuration is not the one that was approved: restore it, or have the new one approved")
	ErrAudience        = errors.New("the approval is for other gateways: have it approved for this one with `guardlock module approve --audience`")
	ErrRevoked         = errors.New("revoked by the trust root: it must not be used again")
	ErrAuthorApproved  = errors.New("an author's approval of their own module does not count: somebody else must approve")
	ErrApproverTwice   = errors.New("the same person approved more than once, which counts once: another approver is needed")
	ErrGrantsDiffer    = errors.New("the approvals do not grant the same: have every approver approve the same grant, and remove the others")
	ErrUnapproved      = errors.New("the module has no approval: have it approved with `guardlock module approve`")
	ErrThreshold       = errors.New("too few people approved this module with this grant")
	ErrKey             = errors.New("only ECDSA P-256 keys are accepted: make one with `guardlock keygen` or `cosign generate-key-pair`")
	ErrInvalidApproval = errors.New("the approval would not be accepted")
)
