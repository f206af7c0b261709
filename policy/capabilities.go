package policy

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// removed are the built-ins that a policy cannot call: those that reach out,
// read the gateway's surroundings, sign, depend on chance, or (json.*_schema)
// follow references to other documents.
func removed() []string {
	return []string{
		"http.send", "net.lookup_ip_addr", "opa.runtime",
		"io.jwt.encode_sign", "io.jwt.encode_sign_raw", "providers.aws.sign_req",
		"rand.intn", "uuid.rfc4122", "trace", "rego.parse_module",
		"regex.template_match", "json.match_schema", "json.verify_schema",
	}
}

// capabilities is what policies are compiled against. The compiler then does
// not know a removed built-in at all, by any spelling or `with` replacement.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	gone := removed()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return slices.Contains(gone, b.Name)
	})
	c.AllowNet = []string{} // nil would mean any host
	return c
}

// CapabilitiesJSON returns the capabilities file for `opa check --capabilities`
// and `opa test --capabilities`, so that authors meet the gateway's rules.
func CapabilitiesJSON() ([]byte, error) {
	raw, err := json.Marshal(capabilities())
	if err != nil {
		return nil, fmt.Errorf("encoding capabilities: %w", err)
	}

	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("encoding capabilities: %w", err)
	}

	// OPA omits an empty list, which other tools would read as a permission to
	// ask any host.
	doc["allow_net"] = []string{}
	return json.MarshalIndent(doc, "", "  ")
}
