// Package cli is what the commands share: groups and arguments, tables, colours
// and JSON, prompts for passwords, times and periods as people write them.
//
// Trust: what is printed may come from clients, modules or brokers; control
// characters in it are escaped before a terminal sees them.
package cli
