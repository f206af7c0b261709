package server

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/gateway/recordbatch"
	"github.com/guardlock/guardlock/internal/config"
)

// rules are the bindings of one cluster, in the order of the configuration,
// which is valid.
func rules(cfg *config.Config, cluster string) []admission.Rule {
	var out []admission.Rule
	for _, b := range cfg.Bindings {
		if b.Cluster == "" || b.Cluster == cluster {
			out = append(out, rule(cluster, b))
		}
	}

	return out
}

// rule is a binding of the configuration as admission has it, with words turned
// into values.
func rule(cluster string, b config.Binding) admission.Rule {
	r := admission.Rule{
		Cluster:     cluster,
		Modules:     b.Modules,
		RejectCode:  kerr.InvalidRecord.Code,
		KeepCodec:   b.Recompress == "same",
		RejectDrops: b.OnDrop == "reject",
		Place:       place(b),
	}

	if b.RejectWith == "policy_violation" {
		r.RejectCode = kerr.PolicyViolation.Code
	}
	if !r.KeepCodec {
		r.Recompress, _ = recordbatch.ParseCompression(b.Recompress) // validated
	}
	if b.Evidence == "content" {
		r.Evidence = audit.EvidenceContent
	}

	return r
}

// place is the binding as admission and policy know it. Its parts were
// validated with the configuration.
func place(b config.Binding) admission.Place {
	at := admission.Place{
		Binding:    b.Name,
		Topics:     b.Topics,
		Principals: b.Principals,
		ClientIDs:  b.ClientIDs,
		DataClass:  b.DataClass,
		Isolation:  admission.Isolation(b.Isolation),
	}

	at.TLS, _ = gateway.ParseTLSLevel(b.TLS)
	for _, s := range b.Sources {
		prefix, _ := gateway.ParseSource(s)
		at.Sources = append(at.Sources, prefix)
	}

	return at
}

// unbound is the grant of topics that no binding matches: refuse, record, or
// pass unseen.
func unbound(cfg *config.Config) *pipeline.Grant {
	switch cfg.UnboundTopics {
	case "record":
		return &pipeline.Grant{Binding: "unbound", RejectCode: kerr.InvalidRecord.Code, KeepCodec: true}
	case "insecure_pass":
		return &pipeline.Grant{Binding: "unbound", Unaudited: true}
	default:
		return pipeline.Unbound
	}
}
