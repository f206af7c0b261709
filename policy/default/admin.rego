# METADATA
# title: Administration
# description: |
#   Decides whether a client may change topics and settings through the gateway:
#   what destroys or weakens the evidence that the gateway keeps. Each resource of
#   a request is asked about by itself. What is allowed is recorded.
package guardlock.admin

import data.guardlock.shape

# METADATA
# title: The decision on a request that changes something
# entrypoint: true
decision := {
	"allow": allow,
	"reasons": reasons,
	"details": details,
}

default allow := false

allow if {
	well_formed
	count(deny) == 0
}

reasons contains code if some code in deny

# METADATA
# title: The input is incomplete
# description: A fact is missing or is not of its type, so nothing can be decided.
# custom: {id: GL101, reason: admin_input_malformed}
reasons contains "admin_input_malformed" if not well_formed

# METADATA
# title: The topic is Kafka's own
# description: Groups and transactions live in it. Change it at the brokers, and not through the gateway.
# custom: {id: GL102, reason: topic_internal}
deny contains "topic_internal" if {
	input.request.resource == "topic"
	kafkas_own
}

kafkas_own if startswith(input.request.name, "__")

# METADATA
# title: No binding is about the topic
# description: Nothing may be produced to it through the gateway, so nothing may be changed there either. Bind it, or see unbound_topics.
# custom: {id: GL103, reason: topic_unbound}
deny contains "topic_unbound" if {
	input.request.resource == "topic"
	input.gateway.unbound_topics == "refuse"
	not input.request.bound
}

# METADATA
# title: What was found
# scope: document
details[code] := input.request.name if {
	some code in deny
	shape.topic_name(input.request.name)
}

well_formed if {
	shape.name(input.request.api)
	shape.name(input.request.resource)
	is_string(input.request.name)
	is_boolean(input.request.bound)
	is_array(input.request.settings)
	every setting in input.request.settings {
		shape.name(setting.name)
		is_string(setting.value)
		is_boolean(setting.removed)
	}
	is_string(input.client.principal)
	is_string(input.client.client_id)
	is_string(input.client.source)
	shape.tls_level(input.client.tls)
	is_string(input.gateway.id)
	input.gateway.unbound_topics in {"refuse", "record", "insecure_pass"}
	is_string(input.now)
	time.parse_rfc3339_ns(input.now) > 0
}
