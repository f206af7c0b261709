package server

import (
	"fmt"
	"testing"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/gateway"
	"github.com/guardlock/guardlock/gateway/admission"
	"github.com/guardlock/guardlock/gateway/pipeline"
	"github.com/guardlock/guardlock/internal/config"
)

// BenchmarkRevocation is what a revocation costs from the trust root's file to the
// last binding, at most one second: with one module on every binding, and with
// many.
func BenchmarkRevocation(b *testing.B) {
	for _, modules := range []int{1, 300} {
		b.Run(fmt.Sprintf("10000 bindings, %d modules", modules), func(b *testing.B) {
			s := newSite(b, oneModule)
			if err := s.r.load(b.Context()); err != nil {
				b.Fatal(err)
			}

			_, digest := version("uppercase")
			s.manyBindings(10_000, modules)

			b.ReportAllocs()
			for b.Loop() {
				s.trust()
				s.r.lookAtTrust(b.Context())
				s.r.revoked = map[string]*admission.Refused{}
				s.trust(digest)
				s.r.lookAtTrust(b.Context())

				if got := s.on("topic-9999"); got != "revoked" {
					b.Fatalf("the last topic is under %s", got)
				}
			}
		})
	}
}

// manyBindings puts bindings into force that nobody built: all that revoking looks
// at is there.
func (s *site) manyBindings(n, modules int) {
	whole := s.r.modules["m"]
	s.r.modules = map[string]admission.Module{}
	for i := range modules {
		m := whole
		m.Name = fmt.Sprint("m-", i)
		s.r.modules[m.Name] = m
	}

	set := &admission.Set{}
	for i := range n {
		set.Bindings = append(set.Bindings, gateway.Binding{
			Topics: []string{fmt.Sprint("topic-", i)},
			Grant:  &pipeline.Grant{Modules: []audit.ModuleRef{{Name: fmt.Sprint("m-", i%modules)}}},
		})
	}

	s.r.sets = map[string]*admission.Set{config.MainCluster: set}
}
