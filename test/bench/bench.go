// Package bench measures what the gateway costs: throughput, and CPU time of
// the gateway's process alone per megabyte of raw record bytes.
//
// The benchmark process is the load and the broker; the gateway under test is
// a child process, so that its CPU time can be told apart. The broker takes
// every batch and stores nothing. All variants run in one go: compare them as
// ratios within a run, since machines are noisy.
package bench

const benchTopic = "bench"
