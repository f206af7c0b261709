package guardlock.admin_test

import data.guardlock.admin

base := {
	"request": {
		"api": "DeleteRecords",
		"resource": "topic",
		"name": "customers",
		"bound": true,
		"settings": [{"name": "retention.ms", "value": "1", "removed": false}],
	},
	"client": {"principal": "User:ops", "client_id": "kafka-admin", "source": "10.0.0.7", "tls": "mutual"},
	"gateway": {"id": "gw-1", "environment": "production", "version": "v0.1.0", "unbound_topics": "refuse"},
	"now": "2026-03-01T12:00:00Z",
}

with_(path, value) := json.patch(base, [{"op": "replace", "path": path, "value": value}])

test_a_bound_topic_may_be_changed if {
	d := admin.decision with input as base
	d == {"allow": true, "reasons": set(), "details": {}}
}

test_an_unbound_topic_may_not if {
	d := admin.decision with input as with_("/request/bound", false)
	d == {"allow": false, "reasons": {"topic_unbound"}, "details": {"topic_unbound": "customers"}}
}

test_where_unbound_topics_are_recorded_their_changes_are_too if {
	admin.allow with input as json.patch(with_("/request/bound", false), [{"op": "replace", "path": "/gateway/unbound_topics", "value": "record"}])
}

test_a_name_that_is_no_topic_is_not_repeated if {
	d := admin.decision with input as json.patch(with_("/request/bound", false), [{"op": "replace", "path": "/request/name", "value": "a\nb"}])
	d == {"allow": false, "reasons": {"topic_unbound"}, "details": {}}
}

test_topics_of_kafka_itself_may_not_be_changed if {
	r := admin.reasons with input as with_("/request/name", "__consumer_offsets")
	r == {"topic_internal"}
}

test_other_resources_are_no_topics if {
	admin.allow with input as json.patch(base, [
		{"op": "replace", "path": "/request/resource", "value": "quota"},
		{"op": "replace", "path": "/request/name", "value": ""},
		{"op": "replace", "path": "/request/bound", "value": false},
	])
}

test_an_incomplete_request_is_denied if {
	d := admin.decision with input as {}
	not d.allow
	d.reasons == {"admin_input_malformed"}
	every path in ["/request/api", "/request/name", "/request/bound", "/request/settings", "/client/source", "/client/tls", "/gateway/unbound_topics", "/now"] {
		r := admin.reasons with input as with_(path, 7)
		"admin_input_malformed" in r
	}
}
