package ops

// Kind is how a metric's value goes on.
type Kind string

// The kinds of metrics.
const (
	Counter   Kind = "counter" // only grows, from the start of the process
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram" // seconds
)

// Metric is the definition of one metric. docs/metrics.md is made of all of them.
// Labels hold names of the configuration and words of closed catalogues alone: no
// principal, client id, address, and nothing of a record.
type Metric struct {
	Name   string
	Kind   Kind
	Help   string
	Labels []string
}

// The metrics, in the order of the reference.
var (
	BuildInfo = metric("guardlock_build_info", Gauge, "Always 1: which build runs, as which gateway.", "version", "revision", "go", "node")
	Ready     = metric("guardlock_ready", Gauge, "1 while /readyz says yes.")
	Started   = metric("guardlock_start_time_seconds", Gauge, "When the gateway started, in seconds since the epoch.")

	Batches       = metric("guardlock_batches_total", Counter, "Batches by what became of them. What is refused after its entry was written counts as refused. The reason is empty for those that are forwarded; modules' reasons are of their approved catalogues, bounded by limits.reasons_per_hour. An empty binding means that none matched.", "cluster", "binding", "direction", "outcome", "reason")
	Records       = metric("guardlock_records_total", Counter, "Records by what became of them: as modules said where their batch goes on, or refused with their batch.", "cluster", "binding", "direction", "verdict")
	ReceivedBytes = metric("guardlock_received_bytes_total", Counter, "Bytes of batches as they came.", "cluster", "binding", "direction")
	ForwardBytes  = metric("guardlock_forwarded_bytes_total", Counter, "Bytes of batches as they went on.", "cluster", "binding", "direction")
	TopicRecords  = metric("guardlock_topic_records_total", Counter, "Records of batches that the cluster stored, by topic. The first 200 topics of a cluster have names, from their first stored batch on; the others are other.", "cluster", "topic")
	TopicBytes    = metric("guardlock_topic_received_bytes_total", Counter, "Bytes, as they came, of batches that the cluster stored, by topic, as above.", "cluster", "topic")
	StageSeconds  = metric("guardlock_stage_seconds", Histogram, "How long batches took in each stage: queue (for a worker), decode, wasm (modules), encode, commit (until the decision is durable), upstream (until the broker answered). The examples name decisions.", "cluster", "stage")
	AnswerSeconds = metric("guardlock_answer_seconds", Histogram, "How long writing answers to clients took: long when clients do not take them.", "cluster")

	ModuleSeconds  = metric("guardlock_binding_wasm_seconds_total", Counter, "Time that batches spent in the modules of a binding.", "cluster", "binding", "direction")
	BindingInfo    = metric("guardlock_binding_module_info", Gauge, "Always 1: which modules a binding runs, and by which digest.", "cluster", "binding", "module", "digest")
	BindingRefuses = metric("guardlock_binding_refuses", Gauge, "1 while all that is produced under a binding is refused, with the reason.", "cluster", "binding", "reason")
	Suspended      = metric("guardlock_binding_suspended", Gauge, "1 while the modules of a binding are suspended for everybody, since they keep failing.", "cluster", "binding")
	ModuleFuel     = metric("guardlock_module_fuel_total", Counter, "Fuel that a module was charged, in whole slices of 262,144 units: about one for each instruction. Modules in processes of their own (isolation: process) do not tell.", "module")
	ModuleMemory   = metric("guardlock_module_memory_bytes", Gauge, "The most linear memory that one instance of a module had after a batch, since the start; 0 where the module is in a process of its own.", "module")
	GuestMetrics   = metric("guardlock_module_counted_total", Counter, "What modules count by themselves, by names of their approved catalogues.", "module", "name")

	LogEntries     = metric("guardlock_log_entries_total", Counter, "Entries that were committed to the decision log. Divided by the commits: how many share one.")
	LogCommits     = metric("guardlock_log_commit_seconds", Histogram, "How long one commit of the decision log took, with the wait for the disk.")
	LogPending     = metric("guardlock_log_pending_bytes", Gauge, "Bytes of entries that wait for a commit.")
	LogOpen        = metric("guardlock_log_open_batches", Gauge, "Forwarded batches whose place in their topic is not known yet.")
	LogFailed      = metric("guardlock_log_failed", Gauge, "1 once the decision log takes no entries any more: nothing is stored until the gateway is started again.")
	LogBytes       = metric("guardlock_log_bytes", Gauge, "Bytes of the decision log's segments on disk.")
	LogSegments    = metric("guardlock_log_segments", Gauge, "Segments of the decision log.")
	LogDiskFree    = metric("guardlock_log_disk_free_bytes", Gauge, "Bytes that are free on the disk of the decision log.")
	LogDiskLow     = metric("guardlock_log_disk_low", Gauge, "1 while that is less than audit.disk_alarm.")
	LogDiskFull    = metric("guardlock_log_disk_full", Gauge, "1 while that is too little for the next segment: what is produced is refused, to be tried again.")
	CheckpointAge  = metric("guardlock_evidence_checkpoint_age_seconds", Gauge, "Time since the tree over the log was last signed and shown to all copies and witnesses, or had nothing new.")
	CheckpointSize = metric("guardlock_evidence_lag_entries", Gauge, "Durable entries that no checkpoint speaks for yet.")
	WitnessLag     = metric("guardlock_evidence_witness_lag_entries", Gauge, "Entries of the last checkpoint, with placements and seals, that a witness has not cosigned, as far as this process saw.", "witness")
	CheckpointFail = metric("guardlock_evidence_failures_total", Counter, "Checkpoints that could not be made, or not be shown to every copy and witness.")

	ClockSteps = metric("guardlock_clock_steps_total", Counter, "Steps of the wall clock of more than a second, forward or back, that were seen at the start and since.", "direction")
	ClockAhead = metric("guardlock_clock_ahead_seconds", Gauge, "How far the time by which approvals end is ahead of the wall clock, which was set back. It is 0 where that was not, or has caught up.")

	ReconcileEvery      = metric("guardlock_reconcile_every_seconds", Gauge, "Time between two looks for records without a decision (audit.reconcile). This and the following are there only where somebody looks.", "cluster")
	ReconcileAge        = metric("guardlock_reconcile_age_seconds", Gauge, "Time since a look last came to a conclusion about everything, or since the start where none did.", "cluster")
	ReconcileTime       = metric("guardlock_reconcile_last_time_seconds", Gauge, "When the last look ended, in seconds since the epoch.", "cluster")
	ReconcileSeconds    = metric("guardlock_reconcile_duration_seconds", Gauge, "How long it took.", "cluster")
	ReconcileOutcome    = metric("guardlock_reconcile_outcome", Gauge, "1 for what the last look came to: complete, acknowledged, bypass, beyond, not_concluded. It is known over restarts, from the decision log.", "cluster", "outcome")
	ReconcileRuns       = metric("guardlock_reconcile_runs_total", Counter, "Looks since the start, by what they came to.", "cluster", "outcome")
	ReconcilePartitions = metric("guardlock_reconcile_partitions", Gauge, "Partitions in the last look that came to a conclusion: compared, or gone from the cluster.", "cluster", "state")
	ReconcileOffsets    = metric("guardlock_reconcile_offsets", Gauge, "Offsets that no decision names, and others that are not as they should be, in the last look that came to a conclusion, by the classes of audit reconcile.", "cluster", "class")

	Connections   = metric("guardlock_connections", Gauge, "Connections of clients.", "cluster")
	Accepted      = metric("guardlock_connections_accepted_total", Counter, "Connections that were served.", "cluster")
	TurnedAway    = metric("guardlock_connections_turned_away_total", Counter, "Connections that were closed at once, since there were limits.max_connections.", "cluster")
	Ended         = metric("guardlock_connections_ended_total", Counter, "Connections that were served and have ended, by cause: client (it closed its side), cluster (the broker did, or was not to be reached), age (limits.max_connection_age), drain (the gateway ends), login (not authenticated, or no longer), refused (it sent what is not served), slow (it took or sent too slowly, or memory was short), internal.", "cluster", "cause")
	InFlight      = metric("guardlock_requests_in_flight", Gauge, "Requests that owe an answer.", "cluster")
	Handshakes    = metric("guardlock_tls_handshakes_failed_total", Counter, "Connections whose TLS handshake failed.", "cluster")
	Authenticated = metric("guardlock_authentications_total", Counter, "Authentications by SASL, and connections that ended for want of one: ok or denied.", "cluster", "result")
	Unresolved    = metric("guardlock_decisions_unresolved", Gauge, "Decisions whose batch is looked for in its topic, after a crash or a lost connection.", "cluster")
	ClusterUp     = metric("guardlock_cluster_up", Gauge, "1 if the cluster answered when it was last asked for its brokers, which is every three seconds.", "cluster")
	UpstreamError = metric("guardlock_upstream_errors_total", Counter, "Batches that a broker answered with an error, by Kafka's name for it.", "cluster", "error")

	MemoryHeld    = metric("guardlock_memory_held_bytes", Gauge, "What is in use of limits.memory, by what holds it: requests, changed_batches, answers.", "holder")
	MemoryLimit   = metric("guardlock_memory_limit_bytes", Gauge, "What each holder may have of limits.memory.", "holder")
	MemoryWaiting = metric("guardlock_memory_waiting", Gauge, "Connections that wait for memory.", "holder")

	TraceSpans   = metric("guardlock_trace_spans_total", Counter, "Spans of traces (ops.traces) by what became of them: sent, no_room (too many waited for the collector), failed (the collector did not take them).", "result")
	TraceLimited = metric("guardlock_traces_limited_total", Counter, "Batches that were to be traced and were not, since ops.traces.per_second others were.")

	Reloads       = metric("guardlock_reloads_total", Counter, "Reloads of trust, policy, modules and configuration: applied or refused.", "result")
	TrustUsable   = metric("guardlock_trust_root_usable", Gauge, "1 while the file of the trust root can be used; with 0 nothing that it newly revokes is revoked.")
	TrustUntil    = metric("guardlock_trust_root_end_time_seconds", Gauge, "When topics with modules refuse everything unless the trust root is read again (trust.max_outage), or written again (trust.max_age), in seconds since the epoch.")
	ManifestOK    = metric("guardlock_manifest_usable", Gauge, "1 while the manifest of the cluster's decision logs (audit.manifest) is signed by enough approvers, is not an old one, and has this gateway's log; with 0 the one before stays in force.")
	EndTimes      = metric("guardlock_end_time_seconds", Gauge, "When something ends that bindings or clients depend on, in seconds since the epoch: a grant by its binding, an approval or key by its module, a certificate by its file's name.", "kind", "name")
	InsecureInUse = metric("guardlock_insecure_settings", Gauge, "How many settings are in use that are spelled insecure.")
)

// All are the metrics, in the order of the reference.
func All() []*Metric { return all }

var all []*Metric

func metric(name string, kind Kind, help string, labels ...string) *Metric {
	m := &Metric{name, kind, help, labels}
	all = append(all, m)
	return m
}
