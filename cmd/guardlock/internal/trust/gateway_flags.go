package trust

import (
	"cmp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/signing"
)

// gatewayFlags name the gateway for which a module is verified, since approvals
// may be for some only.
type gatewayFlags struct {
	node        string
	environment string
}

func (g *gatewayFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&g.node, "node", "", "`NAME` of the gateway that would run it, as its configuration has it")
	fl.StringVar(&g.environment, "environment", "", "`NAME` of the environment that the gateway is part of, as production")
}

// root is the trust root in the file at path as that gateway would read it.
func (g *gatewayFlags) root(path string) (*signing.TrustRoot, error) {
	root, err := loadTrustRoot(path)
	if err != nil {
		return nil, err
	}

	return root.For(signing.Gateway{
		Name:        g.node,
		Environment: g.environment,
		ClockSkew:   signing.DefaultClockSkew,
	}), nil
}

// addressee is a gateway for which a grant with this audience holds, to verify
// an approval before it is used.
func addressee(audience []string) signing.Gateway {
	g := signing.Gateway{ClockSkew: signing.DefaultClockSkew}
	for _, a := range audience {
		if name, ok := strings.CutPrefix(a, "gateway:"); ok {
			g.Name = cmp.Or(g.Name, name)
		}
		if name, ok := strings.CutPrefix(a, "environment:"); ok {
			g.Environment = cmp.Or(g.Environment, name)
		}
	}

	return g
}
