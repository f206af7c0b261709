package gateway

import (
	"context"
	"errors"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms"
)

// Kafka error codes that the gateway answers with. This file is the only one
// that knows which failure is which code.
const (
	codeCorruptMessage       = 2
	codeUnknownTopic         = 3
	codeNotLeader            = 6
	codeRequestTimedOut      = 7
	codeMessageTooLarge      = 10
	codeNotEnoughReplicas    = 19
	codeNotEnoughAfterAppend = 20
	codeInvalidConfig        = 40
	codePolicyViolation      = 44
	codeOutOfOrder           = 45
	codeUnknownServer        = -1
	codeKafkaStorage         = 56
	codeUnsupportedMechanism = 33
	codeIllegalSASLState     = 34
	codeAuthenticationFailed = 58
	codeUnsupportedCodec     = 76
	codeInvalidRecord        = 87
	codeUnknownTopicID       = 100
)

// CodeInvalidRecord and CodePolicyViolation are what a binding may answer
// rejected batches with. Neither is retried by any client.
const (
	CodeInvalidRecord   = codeInvalidRecord
	CodePolicyViolation = codePolicyViolation
)

// mayBeStored reports whether a broker that answers a Produce with this code may
// have stored the batch all the same: it answers so when it stops leading, or
// waits for replicas in vain, after it has written. Only the topic knows then.
func mayBeStored(code int16) bool {
	switch code {
	case codeNotLeader, codeRequestTimedOut, codeNotEnoughAfterAppend, codeKafkaStorage, codeUnknownServer:
		return true
	}
	return false
}

// refusal is why a batch is not stored: what the log says, and what the
// producer is told. Texts come from this file and from closed catalogues.
type refusal struct {
	outcome audit.Outcome
	reason  string // closed catalogue, below
	code    int16
	text    string
}

// The gateway's own reasons. Modules have theirs.
var (
	refuseOutOfOrder   = refusal{audit.OutcomeInvalid, "out_of_order", codeOutOfOrder, "an earlier batch of this producer was refused; send again from there"}
	refuseEmpty        = refusal{audit.OutcomeInvalid, "empty_batch", codeCorruptMessage, "the batch holds no records"}
	refuseUnknownTopic = refusal{audit.OutcomeInvalid, "unknown_topic_id", codeUnknownTopicID, "the topic id is not known to the cluster"}
	refuseExpired      = refusal{audit.OutcomePolicyDenied, "grant_expired", codePolicyViolation, "the approval or policy decision for this topic has expired"}
	refuseTxnRoute     = refusal{audit.OutcomeRejected, "route_in_transaction", codeInvalidRecord, "a record must go to another topic, which a transaction cannot promise"}
	refuseUnavailable  = refusal{audit.OutcomeUnavailable, "audit_unavailable", codeNotEnoughReplicas, "the decision cannot be recorded, so nothing is stored; try again"}
	refuseRoute        = refusal{audit.OutcomeError, "route_failed", codeKafkaStorage, "a record must go to another topic, which did not take it; try again"}
	refuseForged       = refusal{audit.OutcomeInvalid, "forged_placeholder", codeInvalidRecord, "a record has the form that stands for dropped records"}
	refuseTooLarge     = refusal{audit.OutcomeError, "too_large", codeMessageTooLarge, "the batch grew past the limits of the gateway"}
)

// whyRefused gives the text for a binding that refuses everything.
func grantRefusal(g *Grant) refusal {
	r := refusal{outcome: g.Refusal, reason: g.Why, code: codePolicyViolation}
	switch g.Refusal {
	case audit.OutcomeNoModule:
		r.text = "a module that this topic needs is not approved"
	case audit.OutcomePolicyDenied:
		r.text = "policy does not allow producing to this topic"
	default:
		r.text = "this topic cannot be produced to now"
	}
	return r
}

// chainRefusal maps a failure of the sandbox.
func chainRefusal(err error) refusal {
	var te *transforms.Error
	if !errors.As(err, &te) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return refusal{audit.OutcomeTimeout, "shutting_down", codeRequestTimedOut, "the gateway is shutting down; try again"}
		}
		return refusal{audit.OutcomeError, "chain_failed", codeUnknownServer, "a transform failed"}
	}
	switch te.Kind {
	case transforms.Timeout:
		return refusal{audit.OutcomeTimeout, "timeout", codeRequestTimedOut, "a transform ran out of time; try again"}
	case transforms.Trap:
		return refusal{audit.OutcomeTrap, "trap", codeUnknownServer, "a transform failed on this batch"}
	case transforms.Closed:
		return refusal{audit.OutcomeUnavailable, "module_closed", codeNotEnoughReplicas, "the transform was replaced meanwhile; try again"}
	default:
		return refusal{audit.OutcomeError, te.Kind.String(), codeUnknownServer, "a transform failed on this batch"}
	}
}

// batchRefusal maps what is wrong with a batch as it came.
func batchRefusal(err error) refusal {
	switch {
	case errors.Is(err, recordbatch.ErrTooLarge):
		return refusal{audit.OutcomeInvalid, "batch_too_large", codeMessageTooLarge, "the batch exceeds limits.max_batch after decompression"}
	case errors.Is(err, recordbatch.ErrUnsupportedCompression):
		return refusal{audit.OutcomeInvalid, "unsupported_compression", codeUnsupportedCodec, "the batch's compression is not known"}
	case errors.Is(err, recordbatch.ErrUnsupportedMagic):
		return refusal{audit.OutcomeInvalid, "unsupported_magic", codeInvalidRecord, "message formats before v2 cannot be transformed"}
	default:
		return refusal{audit.OutcomeInvalid, "corrupt_batch", codeCorruptMessage, "the batch cannot be read"}
	}
}

// result is the answer to one partition. It carries the decision id, so that
// whoever reads the producer's log can ask the audit log.
func (r refusal) result(decision string) wire.ProduceResult {
	text := "guardlock: " + r.text + " (" + r.reason
	if decision != "" {
		text += ", decision " + decision
	}
	return wire.Failed(r.code, text+")", nil)
}
