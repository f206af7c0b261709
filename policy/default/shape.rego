# METADATA
# title: Shape of input and configuration
# description: |
#   Positive checks that every fact is there and of its type. Without them, a
#   rule that denies would be undefined for missing facts, and not deny.
package guardlock.shape

# METADATA
# description: Whether the input has every field, of its type.
# scope: document
well_formed if {
	module_formed
	grant_formed
	binding_formed
	limits_formed(input.grant.limits)
	limits_formed(input.gateway.limits)
	text(input.gateway.id)
	text(input.gateway.version)
	text(input.gateway.environment)
	amount(input.gateway.clock_skew_ms)
	time.parse_rfc3339_ns(input.now) > 0
}

module_formed if {
	name(input.module.name)
	regex.match(`^[0-9a-f]{64}$`, input.module.digest)
	amount(input.module.size)
	names(input.module.imports)
	name(input.module.author)
	names(input.module.approvers)
	names(input.module.approvals)
}

grant_formed if {
	approvals_formed
	patterns(input.grant.topics)
	names(input.grant.host_functions)
	names(input.grant.keys)
	names(input.grant.routes)
	names(input.grant.audience)
	text(input.grant.digest)
	is_number(time.parse_rfc3339_ns(since(input.grant.not_before)))
	time.parse_rfc3339_ns(input.grant.not_after) > 0
}

approvals_formed if {
	is_array(input.grant.approvals)
	every approval in input.grant.approvals {
		text(approval.id)
		name(approval.approver)
		text(approval.ticket)
		is_number(time.parse_rfc3339_ns(since(approval.not_before)))
		time.parse_rfc3339_ns(approval.not_after) > 0
	}
}

# The zero time, which Go writes for no beginning, is before what OPA can count.
since(t) := "1970-01-01T00:00:00Z" if t == "0001-01-01T00:00:00Z"

since(t) := t if {
	is_string(t)
	t != "0001-01-01T00:00:00Z"
}

binding_formed if {
	patterns(input.binding.topics)
	names(input.binding.principals)
	names(input.binding.client_ids)
	networks(input.binding.sources)
	tls_level(input.binding.tls)
	text(input.binding.data_class)
	isolation(input.binding.isolation)
}

limits_formed(l) if {
	amount(l.memory_bytes)
	amount(l.deadline_ms)
	amount(l.output_bytes)
	amount(l.instances)
}

# METADATA
# description: Whether data.config has every field, of its type.
# scope: document
well_configured if {
	object.keys(data.config) == {"data_classes", "default_class", "topics", "max_module_bytes"}
	name(data.config.default_class)
	amount(data.config.max_module_bytes)
	is_object(data.config.topics)
	every pattern, class in data.config.topics {
		topic_pattern(pattern)
		name(class)
	}
	is_object(data.config.data_classes)
	every _, class in data.config.data_classes {
		class_configured(class)
	}
}

class_configured(class) if {
	object.keys(class) - {"require_tls"} == {"rank", "approvers", "crypto_approvers", "host_functions", "max_days", "limits"}
	tls_level(object.get(class, "require_tls", ""))
	amount(class.rank)
	class.approvers >= 1
	amount(class.approvers)
	amount(class.crypto_approvers)
	names(class.host_functions)
	amount(class.max_days)
	limits_formed(class.limits)
}

text(x) if is_string(x)

name(x) if {
	is_string(x)
	x != ""
}

amount(x) if {
	is_number(x)
	x >= 0
}

names(xs) if {
	is_array(xs)
	every x in xs {
		name(x)
	}
}

networks(xs) if {
	is_array(xs)
	every x in xs {
		net.cidr_is_valid(x)
	}
}

# What a connection must have; nothing, TLS, or TLS with a verified certificate.
tls_level(x) if x in {"", "required", "mutual"}

# What a binding's guests are kept apart from: nothing, other topics, or the gateway itself.
isolation(x) if x in {"shared", "topic", "process"}

patterns(xs) if {
	is_array(xs)
	every x in xs {
		topic_pattern(x)
	}
}

# A topic's name as Kafka takes it, so that nothing else of a client's reaches a log.
topic_name(x) if {
	is_string(x)
	regex.match(`^[A-Za-z0-9._-]{1,249}$`, x)
}

# No characters that glob or regular expressions would take for more than
# themselves.
topic_pattern(x) if {
	is_string(x)
	regex.match(`^[A-Za-z0-9._*-]{1,249}$`, x)
}
