package main

import (
	"github.com/spf13/cobra"

	"github.com/guardlock/guardlock/cmd/guardlock/internal/bench"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/cli"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/decisions"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/demo"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/devel"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/kafka"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/trust"
	"github.com/guardlock/guardlock/cmd/guardlock/internal/users"
	"github.com/guardlock/guardlock/internal/build"
	"github.com/guardlock/guardlock/internal/exit"
)

const rootHelp = `Guardlock stands in front of a Kafka cluster. Every record that a producer sends
passes through signed and approved WebAssembly modules before it is stored; OPA
decides what each module may do; and a decision log records every decision.

Start here:
  guardlock demo                     a complete chain on this machine, with sample data
  guardlock serve --config FILE      the gateway
  guardlock check FILE               every problem of a configuration at once

Exit codes:
    0  done
    1  something did not work (file, network, broker); a named file that is missing, too
    2  the command line is wrong
    3  refused: by a signature, an approval, a policy, a module or a check of the log;
       what could not be asked or read is 1
    4  not found: no such topic, decision or file in the log
  130  interrupted before the work was done`

// newRootCommand puts the command tree together: one constructor per file.
func newRootCommand() *cobra.Command {
	root := cli.NewGroup("guardlock", "A gateway that checks every Kafka record before it is stored", rootHelp,
		demo.NewCommand(),
		newServeCommand(),
		newCheckCommand(),
		newPlanCommand(),
		bench.NewCommand(),
		newStatusCommand(),
		kafka.NewCoverageCommand(),
		trust.NewKeygenCommand(),
		trust.NewModuleCommand(devel.NewCommands()...),
		trust.NewPolicyCommand(),
		decisions.NewCommand(),
		decisions.NewWhyCommand(),
		users.NewCommand(),
		kafka.NewTopicCommand(),
		kafka.NewProduceCommand(),
		kafka.NewConsumeCommand(),
		newVersionCommand(),
		newBrokerCommand(),
		newBenchGatewayCommand(),
		newCompileCommand(),
		newGuestCommand(),
		newPolicyWorkerCommand(),
	)

	root.Version = build.Read().Version
	root.SetVersionTemplate(versionText(build.Read()) + "\n")
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.PersistentFlags().Bool("json", false, "print JSON instead of text; streams print one object per line")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.WithHint(exit.WithCode(err, exit.Usage), "see `%s --help`", cmd.CommandPath())
	})

	return root
}
