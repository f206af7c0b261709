package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// Responses with one code at the top.

func (f failure) group(resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.JoinGroupResponse:
		r.ErrorCode, r.Generation = f.code, -1
	case *kmsg.HeartbeatResponse:
		r.ErrorCode = f.code
	case *kmsg.LeaveGroupResponse:
		r.ErrorCode = f.code
	case *kmsg.SyncGroupResponse:
		r.ErrorCode = f.code
	case *kmsg.ListGroupsResponse:
		r.ErrorCode = f.code
	case *kmsg.OffsetDeleteResponse:
		r.ErrorCode = f.code
	case *kmsg.ConsumerGroupHeartbeatResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.StreamsGroupHeartbeatResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	default:
		return false
	}
	return true
}

func (f failure) shared(resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.ShareGroupHeartbeatResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.ShareFetchResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.ShareAcknowledgeResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.AlterShareGroupOffsetsResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.DeleteShareGroupOffsetsResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	default:
		return false
	}
	return true
}

func (f failure) transaction(resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.InitProducerIDResponse:
		r.ErrorCode, r.ProducerID, r.ProducerEpoch = f.code, -1, -1
	case *kmsg.AddOffsetsToTxnResponse:
		r.ErrorCode = f.code
	case *kmsg.EndTxnResponse:
		r.ErrorCode, r.ProducerID, r.ProducerEpoch = f.code, -1, -1
	case *kmsg.ListTransactionsResponse:
		r.ErrorCode = f.code
	default:
		return false
	}
	return true
}

func (f failure) cluster(resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		r.ErrorCode = f.code
	case *kmsg.SASLHandshakeResponse:
		r.ErrorCode = f.code
	case *kmsg.SASLAuthenticateResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.DescribeClusterResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.DescribeACLsResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.CreateDelegationTokenResponse:
		r.ErrorCode = f.code
	case *kmsg.RenewDelegationTokenResponse:
		r.ErrorCode = f.code
	case *kmsg.ExpireDelegationTokenResponse:
		r.ErrorCode = f.code
	case *kmsg.DescribeDelegationTokenResponse:
		r.ErrorCode = f.code
	case *kmsg.AlterPartitionAssignmentsResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.ListPartitionReassignmentsResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.DescribeClientQuotasResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.DescribeUserSCRAMCredentialsResponse:
		r.ErrorCode, r.ErrorMessage = f.code, f.msg
	case *kmsg.GetTelemetrySubscriptionsResponse:
		r.ErrorCode = f.code
	case *kmsg.PushTelemetryResponse:
		r.ErrorCode = f.code
	case *kmsg.ListConfigResourcesResponse:
		r.ErrorCode = f.code
	default:
		return false
	}
	return true
}
