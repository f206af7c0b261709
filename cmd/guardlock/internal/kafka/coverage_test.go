package kafka

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/guardlock/guardlock/internal/coverage"
)

// Who may write is told by a cluster's ACLs; a cluster that does not tell is no
// cluster where nobody may.
func TestWhoMayWriteIsAskedOfTheCluster(t *testing.T) {
	cluster := kfake.MustCluster(kfake.NumBrokers(1))
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	acl := func(principal string, operation kmsg.ACLOperation) kmsg.DescribeACLsResponseResourceACL {
		return kmsg.DescribeACLsResponseResourceACL{Principal: principal, Host: "*", Operation: operation, PermissionType: kmsg.ACLPermissionTypeAllow}
	}
	cluster.ControlKey(kmsg.DescribeACLs.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.DescribeACLsRequest)
		if req.PermissionType != kmsg.ACLPermissionTypeAllow || req.ResourceType != kmsg.ACLResourceTypeTopic {
			t.Errorf("asked for %s of %s", req.PermissionType, req.ResourceType)
		}

		resp := req.ResponseKind().(*kmsg.DescribeACLsResponse)
		resp.Resources = []kmsg.DescribeACLsResponseResource{
			{ResourceType: kmsg.ACLResourceTypeTopic, ResourceName: "pay", ResourcePatternType: kmsg.ACLResourcePatternTypePrefixed,
				ACLs: []kmsg.DescribeACLsResponseResourceACL{acl("User:app", kmsg.ACLOperationWrite), acl("User:reader", kmsg.ACLOperationRead)}},
			{ResourceType: kmsg.ACLResourceTypeTopic, ResourceName: "*", ResourcePatternType: kmsg.ACLResourcePatternTypeLiteral,
				ACLs: []kmsg.DescribeACLsResponseResourceACL{acl("User:root", kmsg.ACLOperationAll)}},
		}
		return resp, nil, true
	})

	got, err := writeACLs(t.Context(), client)
	want := []coverage.ACL{{Principal: "User:app", Host: "*", Topic: "pay", Prefix: true}, {Principal: "User:root", Host: "*", Topic: "*"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}

	cluster.ControlKey(kmsg.DescribeACLs.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		resp := r.ResponseKind().(*kmsg.DescribeACLsResponse)
		resp.ErrorCode = kerr.SecurityDisabled.Code
		return resp, nil, true
	})
	if got, err := writeACLs(t.Context(), client); err == nil {
		t.Errorf("a cluster that does not say who may write was taken for one where only %+v may", got)
	}
}
