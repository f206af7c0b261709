package guardlock.module_test

import data.guardlock.module

base := {
	"module": {
		"name": "gdpr",
		"digest": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"size": 4096,
		"imports": ["guardlock_log.log"],
		"author": "ada@example.com",
		"approvers": ["bob@example.com", "eve@example.com"],
		"approvals": [],
	},
	"grant": {
		"approvals": [
			{"id": "a1", "approver": "bob@example.com", "ticket": "", "not_before": "2026-01-01T00:00:00Z", "not_after": "2026-06-01T00:00:00Z"},
			{"id": "a2", "approver": "eve@example.com", "ticket": "SEC-1", "not_before": "0001-01-01T00:00:00Z", "not_after": "2026-07-01T00:00:00Z"},
		],
		"topics": ["customers.*", "payments.*"],
		"host_functions": ["guardlock_log.log", "guardlock_crypto.sha256", "guardlock_compress.zstd"],
		"keys": [],
		"routes": ["quarantine"],
		"limits": {"memory_bytes": 0, "deadline_ms": 0, "output_bytes": 0, "instances": 0},
		"not_before": "2026-01-01T00:00:00Z",
		"not_after": "2026-06-01T00:00:00Z",
		"digest": "",
		"audience": [],
	},
	"binding": {
		"topics": ["customers.eu"],
		"principals": [],
		"client_ids": ["crm-*"],
		"sources": ["10.0.0.0/8", "2001:db8::/32"],
		"tls": "",
		"data_class": "confidential",
		"isolation": "shared",
	},
	"gateway": {
		"id": "gw-1",
		"version": "v0.1.0",
		"environment": "production",
		"clock_skew_ms": 60000,
		"limits": {"memory_bytes": 16777216, "deadline_ms": 50, "output_bytes": 0, "instances": 4},
	},
	"now": "2026-03-01T12:00:00Z",
}

# with_ returns base with one value replaced.
with_(path, value) := json.patch(base, [{"op": "replace", "path": path, "value": value}])

one_approver := with_("/module/approvers", ["bob@example.com"])

test_a_complete_request_is_allowed if {
	d := module.decision with input as base
	d.allow
	d.reasons == set()
	d.host_functions == ["guardlock_log.log"]
	d.limits.memory_bytes == 33554432
	d.valid_until == "2026-06-01T00:00:00Z"
}

test_a_grant_without_beginning_is_allowed if {
	module.allow with input as with_("/grant/not_before", "0001-01-01T00:00:00Z")
}

test_an_empty_input_is_denied if {
	d := module.decision with input as {}
	not d.allow
	d.reasons == {"input_malformed"}
	d.host_functions == []
	d.limits.memory_bytes == 0
	d.valid_until == "1970-01-01T00:00:00Z"
}

test_an_input_of_wrong_types_is_denied if {
	every path in ["/module/imports", "/module/approvers", "/grant/topics", "/binding/topics", "/binding/client_ids", "/binding/sources", "/binding/tls", "/module/size"] {
		r := module.reasons with input as with_(path, "x")
		"input_malformed" in r
	}
}

test_topics_with_other_wildcards_are_denied if {
	r := module.reasons with input as with_("/binding/topics", ["customers.{eu,us}"])
	"input_malformed" in r
}

test_a_source_that_is_no_prefix_is_denied if {
	every source in ["10.0.0.1", "10.0.0.0/40", "localhost", "", 7] {
		r := module.reasons with input as with_("/binding/sources", [source])
		"input_malformed" in r
	}
}

test_a_broken_configuration_is_denied if {
	every config in [{}, object.remove(data.config, ["topics"]), object.union(data.config, {"default_class": ""})] {
		not module.allow with input as base with data.config as config
		r := module.reasons with input as base with data.config as config
		"config_malformed" in r
	}
}

test_a_class_without_quorum_is_a_broken_configuration if {
	config := json.patch(data.config, [{"op": "replace", "path": "/data_classes/confidential/approvers", "value": 0}])
	"config_malformed" in module.reasons with input as base with data.config as config
}

test_an_unknown_class_is_denied if {
	module.deny == {"data_class_unknown"} with input as json.patch(
		with_("/binding/data_class", "secret"),
		[{"op": "replace", "path": "/module/imports", "value": []}],
	)
}

test_no_class_is_the_strictest if {
	d := module.decision with input as with_("/binding/data_class", "")
	d.allow
	d.limits.memory_bytes == 16777216
}

test_topics_raise_the_class if {
	config := object.union(data.config, {"topics": {"customers.e*": "restricted", "other": "public"}})
	d := module.decision with input as with_("/binding/topics", ["customers.*"]) with data.config as config
	d.allow
	d.limits.memory_bytes == 16777216
}

test_topics_do_not_lower_the_class if {
	config := object.union(data.config, {"topics": {"customers.*": "public"}})
	d := module.decision with input as base with data.config as config
	d.limits.memory_bytes == 33554432
}

test_a_topic_of_an_unknown_class_is_denied if {
	config := object.union(data.config, {"topics": {"customers.*": "secret"}})
	r := module.reasons with input as base with data.config as config
	"data_class_unknown" in r
}

test_no_topics_is_denied if {
	module.deny == {"no_topics"} with input as with_("/binding/topics", [])
}

test_a_topic_outside_the_grant_is_denied if {
	every topic in ["orders", "customers", "xcustomers.eu", "customers*", "*"] {
		module.deny == {"topic_not_granted"} with input as with_("/binding/topics", [topic])
	}
}

test_a_dot_stands_for_itself if {
	r := module.reasons with input as json.patch(base, [
		{"op": "replace", "path": "/grant/topics", "value": ["a.b"]},
		{"op": "replace", "path": "/binding/topics", "value": ["axb"]},
	])
	r == {"topic_not_granted"}
}

test_an_import_outside_the_grant_is_denied if {
	module.deny == {"import_not_granted"} with input as with_("/module/imports", ["guardlock_compress.gzip"])
}

test_a_host_function_outside_the_class_is_denied if {
	restricted := with_("/binding/data_class", "restricted")
	r := module.deny with input as json.patch(restricted, [{"op": "replace", "path": "/module/imports", "value": ["guardlock_compress.zstd"]}])
	r == {"host_function_not_allowed"}
}

test_too_few_approvers_are_denied if {
	r := module.deny with input as with_("/module/approvers", [])
	r == {"approvers_too_few"}
}

test_restricted_crypto_needs_two if {
	needs := json.patch(one_approver, [
		{"op": "replace", "path": "/binding/data_class", "value": "restricted"},
		{"op": "replace", "path": "/module/imports", "value": ["guardlock_crypto.sha256"]},
	])
	r := module.deny with input as needs
	r == {"crypto_approvers_too_few"}
	module.allow with input as json.patch(needs, [{"op": "replace", "path": "/module/approvers", "value": ["bob", "eve"]}])
}

test_keys_count_as_crypto if {
	r := module.deny with input as json.patch(one_approver, [
		{"op": "replace", "path": "/binding/data_class", "value": "restricted"},
		{"op": "replace", "path": "/grant/keys", "value": ["pii"]},
	])
	r == {"crypto_approvers_too_few"}
}

test_the_same_approver_twice_counts_once if {
	r := module.deny with input as json.patch(base, [
		{"op": "replace", "path": "/binding/data_class", "value": "restricted"},
		{"op": "replace", "path": "/module/imports", "value": ["guardlock_crypto.sha256"]},
		{"op": "replace", "path": "/module/approvers", "value": ["bob@example.com", "bob@example.com"]},
	])
	r == {"crypto_approvers_too_few"}
}

test_the_author_does_not_count if {
	r := module.deny with input as with_("/module/approvers", ["ada@example.com"])
	r == {"author_approved", "approvers_too_few"}
}

test_an_expired_grant_is_denied if {
	module.deny == {"grant_expired"} with input as with_("/grant/not_after", "2026-03-01T12:00:00Z")
}

test_a_grant_that_has_not_begun_is_denied if {
	module.deny == {"grant_not_started"} with input as with_("/grant/not_before", "2026-03-01T12:01:01Z")
}

test_a_grant_begins_within_what_clocks_may_differ if {
	module.allow with input as with_("/grant/not_before", "2026-03-01T12:01:00Z")
}

test_a_grant_that_runs_too_long_is_denied if {
	module.deny == {"grant_too_long"} with input as with_("/grant/not_after", "2027-06-01T00:00:00Z")
}

test_an_approval_that_runs_too_long_is_denied_beside_a_short_one if {
	module.deny == {"grant_too_long"} with input as with_("/grant/approvals/1/not_after", "2027-06-01T00:00:00Z")
}

test_whose_approval_runs_too_long_is_said if {
	detail(with_("/grant/approvals/1/not_after", "2027-07-14T12:00:00Z"), "grant_too_long") == "500 days, at most 366, by eve@example.com"
}

test_an_approval_without_its_facts_is_denied if {
	every path in ["/grant/approvals", "/grant/approvals/0", "/grant/approvals/0/approver"] {
		r := module.reasons with input as with_(path, "")
		"input_malformed" in r
	}
}

test_a_large_module_is_denied if {
	module.deny == {"module_too_large"} with input as with_("/module/size", 16777217)
}

# requiring is the configuration with require_tls set for confidential data.
requiring(level) := json.patch(data.config, [{"op": "add", "path": "/data_classes/confidential/require_tls", "value": level}])

test_a_class_that_requires_tls_denies_a_binding_without if {
	every level in ["required", "mutual"] {
		r := module.reasons with input as base with data.config as requiring(level)
		r == {"tls_too_weak"}
	}
}

test_tls_without_a_certificate_is_not_mutual if {
	r := module.reasons with input as with_("/binding/tls", "required") with data.config as requiring("mutual")
	r == {"tls_too_weak"}
}

test_tls_that_is_enough_is_allowed if {
	every pair in [["", ""], ["required", "required"], ["mutual", "required"], ["mutual", "mutual"]] {
		module.allow with input as with_("/binding/tls", pair[0]) with data.config as requiring(pair[1])
	}
}

test_a_class_that_says_nothing_of_tls_takes_any if {
	every level in ["", "required", "mutual"] {
		module.allow with input as with_("/binding/tls", level)
	}
}

test_a_class_with_an_unknown_tls_level_is_a_broken_configuration if {
	every level in ["always", true, null] {
		r := module.reasons with input as base with data.config as requiring(level)
		"config_malformed" in r
	}
}

# detail is what the decision says of a code.
detail(request, code) := d.details[code] if d := module.decision with input as request

test_details_say_what_was_found_and_what_is_allowed if {
	detail(with_("/grant/not_after", "2027-07-14T12:00:00Z"), "grant_too_long") == "500 days, at most 366"
	detail(with_("/grant/not_after", "2026-03-01T12:00:00Z"), "grant_expired") == "it ended 2026-03-01T12:00:00Z"
	detail(with_("/grant/not_before", "2026-04-01T00:00:00Z"), "grant_not_started") == "it begins 2026-04-01T00:00:00Z"
	detail(with_("/module/size", 16777217), "module_too_large") == "16777217 bytes, at most 16777216"
	detail(with_("/module/approvers", []), "approvers_too_few") == "0 of 1"
	detail(with_("/binding/topics", ["orders", "customers.eu"]), "topic_not_granted") == "orders, where customers.*, payments.* is approved"
	detail(with_("/module/imports", ["guardlock_compress.gzip"]), "import_not_granted") == "guardlock_compress.gzip"
}

test_details_of_classes_and_of_crypto if {
	secret := with_("/binding/data_class", "secret")
	startswith(detail(secret, "data_class_unknown"), `["secret"], and the classes are confidential, `)
	restricted := json.patch(one_approver, [
		{"op": "replace", "path": "/binding/data_class", "value": "restricted"},
		{"op": "replace", "path": "/module/imports", "value": ["guardlock_crypto.sha256", "guardlock_compress.zstd"]},
	])
	detail(restricted, "crypto_approvers_too_few") == "1 of 2"
	startswith(detail(restricted, "host_function_not_allowed"), "guardlock_compress.zstd, where guardlock_crypto.*, ")
}

test_details_of_tls if {
	d := module.decision with input as with_("/binding/tls", "required") with data.config as requiring("mutual")
	d.details.tls_too_weak == "required, where mutual is required"
	n := module.decision with input as base with data.config as requiring("mutual")
	n.details.tls_too_weak == "none, where mutual is required"
}

test_what_is_allowed_has_no_details if {
	d := module.decision with input as base
	d.details == {}
}
