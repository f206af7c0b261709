package cli

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var errTwice = errors.New("it can be given once only")

// Once makes a command refuse what it would otherwise pass over in silence: the
// first of two values for a flag that takes one. Flags with lists stay as they are.
func Once(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, list := f.Value.(pflag.SliceValue); !list {
			f.Value = &once{Value: f.Value}
		}
	})
}

// once is a flag's value that can be set once, around the value that it is
// about.
type once struct {
	pflag.Value
	set bool
}

// Set sets the value, or refuses if it was set before.
func (o *once) Set(s string) error {
	if o.set {
		return errTwice
	}
	o.set = true
	return o.Value.Set(s)
}
