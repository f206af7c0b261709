package pipeline

// This file alone knows which failure is which of Kafka's error codes. Rooms
// below speak their own errors.

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/gateway/wire"
	"github.com/guardlock/guardlock/transforms"
)

// mayBeStored reports whether a broker that answers a Produce with this code may
// have stored the batch all the same: it answers so when it stops leading, or
// waits for replicas in vain, after it has written. Only the topic knows then.
func mayBeStored(code int16) bool {
	switch code {
	case kerr.NotLeaderForPartition.Code, kerr.RequestTimedOut.Code, kerr.NotEnoughReplicasAfterAppend.Code, kerr.KafkaStorageError.Code, kerr.UnknownServerError.Code:
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

// The gateway's own reasons for a refusal, with code and text. Modules have
// theirs in their catalogues.
var (
	refuseOutOfOrder   = refusal{audit.OutcomeInvalid, "out_of_order", kerr.OutOfOrderSequenceNumber.Code, "an earlier batch of this producer was refused; send again from there"}
	refuseBehindOpen   = refusal{audit.OutcomeInvalid, "out_of_order", kerr.OutOfOrderSequenceNumber.Code, "an earlier batch of this producer may be stored or not; send again from there"}
	refuseEmpty        = refusal{audit.OutcomeInvalid, "empty_batch", kerr.CorruptMessage.Code, "the batch holds no records"}
	refuseUnknownTopic = refusal{audit.OutcomeInvalid, "unknown_topic_id", kerr.UnknownTopicID.Code, "the topic id is not known to the cluster"}
	refuseExpired      = refusal{audit.OutcomePolicyDenied, "grant_expired", kerr.NotEnoughReplicas.Code, "what was approved or decided for this topic has ended and is judged anew; try again"}
	refuseTxnRoute     = refusal{audit.OutcomeRejected, "route_in_transaction", kerr.InvalidRecord.Code, "a record must go to another topic, which a transaction cannot promise"}
	refuseUnavailable  = refusal{audit.OutcomeUnavailable, "audit_unavailable", kerr.NotEnoughReplicas.Code, "the decision cannot be recorded, so nothing is stored; try again"}
	refuseRoute        = refusal{audit.OutcomeError, "route_failed", kerr.KafkaStorageError.Code, "a record must go to another topic, which did not take it; try again"}
	refuseReadRoute    = refusal{audit.OutcomeRejected, "route_while_reading", kerr.InvalidRecord.Code, "a record must go to another topic, which reading cannot do"}
	refuseNoMemory     = refusal{audit.OutcomeTimeout, "no_memory", kerr.RequestTimedOut.Code, "the gateway is out of buffer memory; try again"}
	refuseSuspended    = refusal{audit.OutcomeUnavailable, "module_suspended", kerr.NotEnoughReplicas.Code, "a module of this topic keeps failing and is given no batches for a while; try again"}
	refuseSlow         = refusal{audit.OutcomeTimeout, "timeout_again", kerr.InvalidRecord.Code, "a transform ran out of time for this batch each time that it was sent; send smaller records or batches"}
	refuseUnrecordable = refusal{audit.OutcomeInvalid, "decision_too_large", kerr.MessageTooLarge.Code, "the batch's records came to different ends in turn too often to be recorded, so nothing is stored; send smaller batches"}
	refuseNoEra        = refusal{audit.OutcomeUnavailable, "era_unknown", kerr.NotEnoughReplicas.Code, "the cluster does not say where this partition ends, which is recorded before the first batch for it, so nothing is stored; try again"}
	refuseNoPartition  = refusal{audit.OutcomeInvalid, "unknown_partition", kerr.UnknownTopicOrPartition.Code, "the cluster has no such topic or partition"}
	refuseForged       = refusal{audit.OutcomeInvalid, "forged_placeholder", kerr.InvalidRecord.Code, "a record has the form that stands for dropped records"}
)

// dropRefusal is for a binding that rejects a batch rather than leave
// placeholders in it.
func dropRefusal(g *Grant) refusal {
	return refusal{audit.OutcomeRejected, "drop_refused", g.RejectCode, "a record must be dropped, and the binding leaves no placeholders"}
}

// tooLarge refuses a batch that its modules made larger than its topic takes,
// and names what helps.
func tooLarge(before, after, limit int, plain bool) refusal {
	cure := "raise the topic's max.message.bytes, or let the producer send smaller batches"
	if plain {
		cure = "take `recompress: none` from the binding, raise the topic's max.message.bytes, or let the producer send smaller batches"
	}
	text := fmt.Sprintf("the batch grew from %d to %d bytes and its topic takes %d: %s", before, after, limit, cure)
	return refusal{audit.OutcomeError, "too_large", kerr.MessageTooLarge.Code, text}
}

// grantRefusal is the refusal of a binding that refuses everything, with a text
// for its producers.
func grantRefusal(g *Grant) refusal {
	r := refusal{outcome: g.Refusal, reason: g.Why, code: kerr.PolicyViolation.Code}
	switch g.Refusal {
	case audit.OutcomeNoModule:
		r.text = "a module that this topic needs is not approved"
	case audit.OutcomePolicyDenied:
		r.text = "policy does not allow producing to this topic"
	case audit.OutcomeUnavailable: // nobody said no
		r.code = kerr.NotEnoughReplicas.Code
		r.text = "it could not be decided whether this topic may be produced to; try again"
	default:
		r.text = "this topic cannot be produced to now"
	}

	return r
}

// chainRefusal maps a failure of the sandbox to a refusal. Where another
// attempt may succeed, its code makes the client try again.
func chainRefusal(err error) refusal {
	var te *transforms.Error
	if !errors.As(err, &te) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return refusal{audit.OutcomeTimeout, "shutting_down", kerr.RequestTimedOut.Code, "the gateway is shutting down; try again"}
		}
		return refusal{audit.OutcomeError, "chain_failed", kerr.UnknownServerError.Code, "a transform failed"}
	}

	switch te.Kind {
	case transforms.Timeout:
		return refusal{audit.OutcomeTimeout, "timeout", kerr.RequestTimedOut.Code, "a transform ran out of time; try again"}
	case transforms.Ended:
		return refusal{audit.OutcomeUnavailable, te.Kind.String(), kerr.RequestTimedOut.Code, "the process that a transform ran in ended; try again"}
	case transforms.Trap:
		return refusal{audit.OutcomeTrap, "trap", kerr.UnknownServerError.Code, "a transform failed on this batch"}
	case transforms.TooLarge:
		return refusal{audit.OutcomeInvalid, te.Kind.String(), kerr.MessageTooLarge.Code, "a record is larger than its transform can take (guardlock module inspect says how large)"}
	case transforms.TooMany: // for good, until the binding is another
		return refusal{audit.OutcomeError, te.Kind.String(), kerr.PolicyViolation.Code, "the binding has more modules than a record can name"}
	case transforms.Closed:
		return refusal{audit.OutcomeUnavailable, "module_closed", kerr.NotEnoughReplicas.Code, "the transform was replaced meanwhile; try again"}
	default:
		return refusal{audit.OutcomeError, te.Kind.String(), kerr.UnknownServerError.Code, "a transform failed on this batch"}
	}
}

// batchRefusal maps what is wrong with a batch as it came to a refusal, which
// another attempt would meet too.
func batchRefusal(err error) refusal {
	switch {
	case errors.Is(err, recordbatch.ErrTooLarge):
		return refusal{audit.OutcomeInvalid, "batch_too_large", kerr.MessageTooLarge.Code, "the batch exceeds limits.max_batch after decompression"}
	case errors.Is(err, recordbatch.ErrUnsupportedCompression):
		return refusal{audit.OutcomeInvalid, "unsupported_compression", kerr.UnsupportedCompressionType.Code, "the batch's compression is not known"}
	case errors.Is(err, recordbatch.ErrUnsupportedMagic):
		return refusal{audit.OutcomeInvalid, "unsupported_magic", kerr.InvalidRecord.Code, "message formats before v2 cannot be transformed"}
	default:
		return refusal{audit.OutcomeInvalid, "corrupt_batch", kerr.CorruptMessage.Code, "the batch cannot be read"}
	}
}

// eraRefusal tells what the cluster says from what it could not be asked: that passes.
func eraRefusal(err error) refusal {
	switch {
	case errors.Is(err, ErrNoPartition):
		return refuseNoPartition
	case errors.Is(err, ErrOtherTopic):
		return refuseUnknownTopic
	}
	return refuseNoEra
}

// result is the answer to one partition. It carries the decision id, so that
// whoever reads the producer's log can ask the decision log.
func (r refusal) result(decision string) wire.ProduceResult {
	text := "guardlock: " + r.text + " (" + r.reason
	if decision != "" {
		text += ", decision " + decision
	}
	return wire.Failed(r.code, text+")", nil)
}
