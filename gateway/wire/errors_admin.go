package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// Responses of administrative APIs with a code on every item of the request.

func (f failure) configs(req kmsg.Request, resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.DescribeConfigsResponse:
		r.Resources = answers(req.(*kmsg.DescribeConfigsRequest).Resources, f.describeConfigs)
	case *kmsg.AlterConfigsResponse:
		r.Resources = answers(req.(*kmsg.AlterConfigsRequest).Resources, f.alterConfigs)
	case *kmsg.IncrementalAlterConfigsResponse:
		r.Resources = answers(req.(*kmsg.IncrementalAlterConfigsRequest).Resources, f.incrementalConfigs)
	default:
		return false
	}
	return true
}

func (f failure) describeConfigs(q *kmsg.DescribeConfigsRequestResource) kmsg.DescribeConfigsResponseResource {
	a := kmsg.NewDescribeConfigsResponseResource()
	a.ResourceType, a.ResourceName, a.ErrorCode, a.ErrorMessage = q.ResourceType, q.ResourceName, f.code, f.msg
	return a
}

func (f failure) alterConfigs(q *kmsg.AlterConfigsRequestResource) kmsg.AlterConfigsResponseResource {
	a := kmsg.NewAlterConfigsResponseResource()
	a.ResourceType, a.ResourceName, a.ErrorCode, a.ErrorMessage = q.ResourceType, q.ResourceName, f.code, f.msg
	return a
}

func (f failure) incrementalConfigs(q *kmsg.IncrementalAlterConfigsRequestResource) kmsg.IncrementalAlterConfigsResponseResource {
	a := kmsg.NewIncrementalAlterConfigsResponseResource()
	a.ResourceType, a.ResourceName, a.ErrorCode, a.ErrorMessage = q.ResourceType, q.ResourceName, f.code, f.msg
	return a
}

func (f failure) admin(req kmsg.Request, resp kmsg.Response) bool {
	switch r := resp.(type) {
	case *kmsg.CreateACLsResponse:
		r.Results = answers(req.(*kmsg.CreateACLsRequest).Creations, f.createACLs)
	case *kmsg.DeleteACLsResponse:
		r.Results = answers(req.(*kmsg.DeleteACLsRequest).Filters, f.deleteACLs)
	case *kmsg.AlterReplicaLogDirsResponse:
		for _, d := range req.(*kmsg.AlterReplicaLogDirsRequest).Dirs {
			r.Topics = append(r.Topics, answers(d.Topics, f.alterLogDirs)...)
		}
	case *kmsg.DescribeLogDirsResponse:
		f.describeLogDirs(r)
	case *kmsg.ElectLeadersResponse:
		r.ErrorCode = f.code // v1
		r.Topics = answers(req.(*kmsg.ElectLeadersRequest).Topics, f.electLeaders)
	case *kmsg.AlterClientQuotasResponse:
		r.Entries = answers(req.(*kmsg.AlterClientQuotasRequest).Entries, f.alterQuotas)
	case *kmsg.AlterUserSCRAMCredentialsResponse:
		f.alterSCRAM(req.(*kmsg.AlterUserSCRAMCredentialsRequest), r)
	case *kmsg.DescribeTransactionsResponse:
		r.TransactionStates = answers(req.(*kmsg.DescribeTransactionsRequest).TransactionalIDs, f.describeTxn)
	default:
		return false
	}
	return true
}

func (f failure) createACLs(*kmsg.CreateACLsRequestCreation) kmsg.CreateACLsResponseResult {
	a := kmsg.NewCreateACLsResponseResult()
	a.ErrorCode, a.ErrorMessage = f.code, f.msg
	return a
}

func (f failure) deleteACLs(*kmsg.DeleteACLsRequestFilter) kmsg.DeleteACLsResponseResult {
	a := kmsg.NewDeleteACLsResponseResult()
	a.ErrorCode, a.ErrorMessage = f.code, f.msg
	return a
}

func (f failure) alterLogDirs(t *kmsg.AlterReplicaLogDirsRequestDirTopic) kmsg.AlterReplicaLogDirsResponseTopic {
	a := kmsg.NewAlterReplicaLogDirsResponseTopic()
	a.Topic = t.Topic
	a.Partitions = answers(t.Partitions, func(p *int32) kmsg.AlterReplicaLogDirsResponseTopicPartition {
		q := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
		q.Partition, q.ErrorCode = *p, f.code
		return q
	})
	return a
}

// describeLogDirs: before v3 a code stands on directories only; a nameless one
// carries it.
func (f failure) describeLogDirs(r *kmsg.DescribeLogDirsResponse) {
	if r.ErrorCode = f.code; r.Version >= 3 {
		return
	}
	d := kmsg.NewDescribeLogDirsResponseDir()
	d.ErrorCode = f.code
	r.Dirs = append(r.Dirs, d)
}

func (f failure) electLeaders(t *kmsg.ElectLeadersRequestTopic) kmsg.ElectLeadersResponseTopic {
	a := kmsg.NewElectLeadersResponseTopic()
	a.Topic = t.Topic
	a.Partitions = answers(t.Partitions, func(p *int32) kmsg.ElectLeadersResponseTopicPartition {
		q := kmsg.NewElectLeadersResponseTopicPartition()
		q.Partition, q.ErrorCode, q.ErrorMessage = *p, f.code, f.msg
		return q
	})
	return a
}

func (f failure) alterQuotas(e *kmsg.AlterClientQuotasRequestEntry) kmsg.AlterClientQuotasResponseEntry {
	a := kmsg.NewAlterClientQuotasResponseEntry()
	a.ErrorCode, a.ErrorMessage = f.code, f.msg
	a.Entity = answers(e.Entity, func(x *kmsg.AlterClientQuotasRequestEntryEntity) kmsg.AlterClientQuotasResponseEntryEntity {
		y := kmsg.NewAlterClientQuotasResponseEntryEntity()
		y.Type, y.Name = x.Type, x.Name
		return y
	})
	return a
}

// alterSCRAM answers once for every user, however often one is named.
func (f failure) alterSCRAM(req *kmsg.AlterUserSCRAMCredentialsRequest, r *kmsg.AlterUserSCRAMCredentialsResponse) {
	seen := make(map[string]bool)
	answer := func(user string) {
		if seen[user] {
			return
		}
		seen[user] = true
		a := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		a.User, a.ErrorCode, a.ErrorMessage = user, f.code, f.msg
		r.Results = append(r.Results, a)
	}
	for _, d := range req.Deletions {
		answer(d.Name)
	}
	for _, u := range req.Upsertions {
		answer(u.Name)
	}
}

func (f failure) describeTxn(id *string) kmsg.DescribeTransactionsResponseTransactionState {
	a := kmsg.NewDescribeTransactionsResponseTransactionState()
	a.TransactionalID, a.ErrorCode = *id, f.code
	return a
}
