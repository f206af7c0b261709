# METADATA
# title: Module admission
# description: |
#   Decides whether a verified module may be bound to topics, and which host
#   functions it may call there. Signatures, digests and the structure of the
#   module were checked before; nothing here can allow what was not approved.
# authors:
#   - Guardlock
package guardlock.module

import data.guardlock.classes
import data.guardlock.shape
import data.guardlock.topics

# METADATA
# title: The decision
# description: |
#   With custom.topics a policy says that it makes no difference between topics that
#   a grant covers, unless data.config.topics gives them classes: a gateway then asks
#   once for all bindings that are the same otherwise.
# entrypoint: true
# custom: {topics: alike}
decision := {
	"allow": allow,
	"reasons": reasons,
	"host_functions": host_functions,
	"limits": limits,
	"valid_until": valid_until,
	"details": details,
}

default allow := false

# A deny rule that meets a missing field is undefined, which is not a denial.
# So the absence of denials allows nothing unless the facts are all there.
allow if {
	shape.well_formed
	shape.well_configured
	classes.effective
	every name in input.module.imports {
		name in callable
	}
	count(deny) == 0
}

reasons contains code if some code in deny

# METADATA
# title: The input is incomplete
# description: A fact is missing or is not of its type, so nothing can be decided.
# custom: {id: GL001, reason: input_malformed}
reasons contains "input_malformed" if not shape.well_formed

# METADATA
# title: The configuration is incomplete
# description: data.config lacks a field or has one of the wrong type.
# custom: {id: GL002, reason: config_malformed}
reasons contains "config_malformed" if not shape.well_configured

default host_functions := []

host_functions := sort(callable) if allow

callable contains name if {
	some name in input.module.imports
	name in input.grant.host_functions
	classes.permits(name)
}

default limits := {"memory_bytes": 0, "deadline_ms": 0, "output_bytes": 0, "instances": 0}

limits := classes.effective.limits if allow

default valid_until := "1970-01-01T00:00:00Z"

valid_until := input.grant.not_after if allow

# METADATA
# title: The data class is not configured
# description: Name a class that data.config.data_classes has.
# custom: {id: GL003, reason: data_class_unknown}
deny contains "data_class_unknown" if {
	some name in classes.applying
	not data.config.data_classes[name]
}

# METADATA
# title: The binding names no topic
# custom: {id: GL004, reason: no_topics}
deny contains "no_topics" if count(input.binding.topics) == 0

# METADATA
# title: A topic was not approved
# description: The binding reaches a topic that no pattern of the grant covers.
# custom: {id: GL005, reason: topic_not_granted}
deny contains "topic_not_granted" if {
	some topic in input.binding.topics
	not topics.covered(topic, input.grant.topics)
}

# METADATA
# title: An import was not approved
# description: The module imports a host function that the approvers did not grant.
# custom: {id: GL006, reason: import_not_granted}
deny contains "import_not_granted" if {
	some name in input.module.imports
	not name in input.grant.host_functions
}

# METADATA
# title: A host function is not for this class of data
# description: See host_functions of the class in data.config.data_classes.
# custom: {id: GL007, reason: host_function_not_allowed}
deny contains "host_function_not_allowed" if {
	some name in input.module.imports
	not classes.permits(name)
}

# METADATA
# title: Too few people approved the module
# description: See approvers of the class in data.config.data_classes.
# custom: {id: GL008, reason: approvers_too_few}
deny contains "approvers_too_few" if count(approvers) < classes.effective.approvers

# METADATA
# title: Too few people approved a module that uses keys
# description: See crypto_approvers of the class in data.config.data_classes.
# custom: {id: GL009, reason: crypto_approvers_too_few}
deny contains "crypto_approvers_too_few" if {
	uses_crypto
	count(approvers) < classes.effective.crypto_approvers
}

uses_crypto if {
	some name in input.module.imports
	startswith(name, "guardlock_crypto.")
}

uses_crypto if count(input.grant.keys) > 0

# The author is never counted, even if listed.
approvers contains person if {
	some person in input.module.approvers
	person != input.module.author
}

# METADATA
# title: The author approved the module
# description: Somebody other than the author must approve.
# custom: {id: GL010, reason: author_approved}
deny contains "author_approved" if input.module.author in input.module.approvers

# METADATA
# title: The approval has expired
# custom: {id: GL011, reason: grant_expired}
deny contains "grant_expired" if not_after <= now

# METADATA
# title: The approval has not begun
# custom: {id: GL012, reason: grant_not_started}
deny contains "grant_not_started" if time.parse_rfc3339_ns(shape.since(input.grant.not_before)) > now + (input.gateway.clock_skew_ms * 1000000)

# METADATA
# title: The approval runs too long
# description: See max_days of the class in data.config.data_classes.
# custom: {id: GL013, reason: grant_too_long}
deny contains "grant_too_long" if last_end > now + (((classes.effective.max_days * 24) * 3600) * 1000000000)

# METADATA
# title: The module is too large
# description: See data.config.max_module_bytes.
# custom: {id: GL014, reason: module_too_large}
deny contains "module_too_large" if input.module.size > data.config.max_module_bytes

# METADATA
# title: The binding lets in connections that are not safe enough
# description: Set tls of the binding. See require_tls of the class in data.config.data_classes.
# custom: {id: GL015, reason: tls_too_weak}
deny contains "tls_too_weak" if {
	classes.effective
	not classes.secure(input.binding.tls)
}

# METADATA
# title: What was found, and what is allowed
# description: For each reason that has more to say than its title. One line of at most 256 bytes.
# scope: document
details["data_class_unknown"] := short(sprintf("%s, and the classes are %s", [
	json.marshal([name | some name in classes.applying; not data.config.data_classes[name]]),
	concat(", ", object.keys(data.config.data_classes)),
])) if {
	"data_class_unknown" in deny
}

details["topic_not_granted"] := short(sprintf("%s, where %s is approved", [
	concat(", ", {topic | some topic in input.binding.topics; not topics.covered(topic, input.grant.topics)}),
	concat(", ", input.grant.topics),
])) if {
	"topic_not_granted" in deny
}

details["import_not_granted"] := short(concat(", ", {name |
	some name in input.module.imports
	not name in input.grant.host_functions
})) if {
	"import_not_granted" in deny
}

details["host_function_not_allowed"] := short(sprintf("%s, where %s may be called", [
	concat(", ", {name | some name in input.module.imports; not classes.permits(name)}),
	concat(", ", classes.effective.host_functions),
])) if {
	"host_function_not_allowed" in deny
	classes.effective
}

details["approvers_too_few"] := sprintf("%d of %d", [count(approvers), classes.effective.approvers]) if "approvers_too_few" in deny

details["crypto_approvers_too_few"] := sprintf("%d of %d", [count(approvers), classes.effective.crypto_approvers]) if {
	"crypto_approvers_too_few" in deny
}

details["grant_expired"] := sprintf("it ended %s", [input.grant.not_after]) if "grant_expired" in deny

details["grant_not_started"] := sprintf("it begins %s", [input.grant.not_before]) if "grant_not_started" in deny

details["grant_too_long"] := short(sprintf("%d days, at most %d%s", [
	ceil((last_end - now) / day),
	classes.effective.max_days,
	by_whom(longest_approvers),
])) if {
	"grant_too_long" in deny
}

details["module_too_large"] := sprintf("%d bytes, at most %d", [input.module.size, data.config.max_module_bytes]) if {
	"module_too_large" in deny
}

details["tls_too_weak"] := sprintf("%s, where %s is required", [tls_name(input.binding.tls), classes.effective.require_tls]) if {
	"tls_too_weak" in deny
}

by_whom(people) := "" if count(people) == 0

by_whom(people) := sprintf(", by %s", [concat(", ", people)]) if count(people) > 0

tls_name(tls) := "none" if tls == ""

tls_name(tls) := tls if tls != ""

short(text) := substring(text, 0, 200)

day := ((24 * 3600) * 1000) * 1000000

now := time.parse_rfc3339_ns(input.now)

not_after := time.parse_rfc3339_ns(input.grant.not_after)

# The end of the approval that lasts longest. The grant itself ends with the first.
last_end := max({not_after} | {time.parse_rfc3339_ns(approval.not_after) | some approval in input.grant.approvals})

# Whose approvals last too long: one of them denies what the others would have let run.
longest_approvers := {approval.approver |
	some approval in input.grant.approvals
	time.parse_rfc3339_ns(approval.not_after) > now + (classes.effective.max_days * day)
}
