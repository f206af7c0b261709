package gateway

import "testing"

// TestErrorsAfterTheWriteLeaveTheTopicToTell: a broker that answers these has
// perhaps stored the batch; one that answers the others has not.
func TestErrorsAfterTheWriteLeaveTheTopicToTell(t *testing.T) {
	for code, want := range map[int16]bool{
		codeNotLeader: true, codeRequestTimedOut: true, codeNotEnoughAfterAppend: true, codeKafkaStorage: true, codeUnknownServer: true,
		0: false, codeCorruptMessage: false, codeMessageTooLarge: false, codeNotEnoughReplicas: false, codeInvalidRecord: false, codeOutOfOrder: false,
	} {
		if got := mayBeStored(code); got != want {
			t.Errorf("code %d may be stored: %v, want %v", code, got, want)
		}
	}
}
