package pipeline

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// TestErrorsAfterTheWriteLeaveTheTopicToTell: a broker that answers these has
// perhaps stored the batch; one that answers the others has not.
func TestErrorsAfterTheWriteLeaveTheTopicToTell(t *testing.T) {
	for code, want := range map[int16]bool{
		kerr.NotLeaderForPartition.Code: true, kerr.RequestTimedOut.Code: true, kerr.NotEnoughReplicasAfterAppend.Code: true, kerr.KafkaStorageError.Code: true, kerr.UnknownServerError.Code: true,
		0: false, kerr.CorruptMessage.Code: false, kerr.MessageTooLarge.Code: false, kerr.NotEnoughReplicas.Code: false, kerr.InvalidRecord.Code: false, kerr.OutOfOrderSequenceNumber.Code: false,
	} {
		if got := mayBeStored(code); got != want {
			t.Errorf("code %d may be stored: %v, want %v", code, got, want)
		}
	}
}
