# METADATA
# title: Data classes
# description: Which class of data a binding reaches, and what that class permits.
package guardlock.classes

import data.guardlock.topics

# The class that the binding names, or the default.
applying contains input.binding.data_class if input.binding.data_class != ""

applying contains data.config.default_class if input.binding.data_class == ""

# The classes of all topics that the binding can reach, so that a binding cannot
# name a lower class than its topics have.
applying contains class if {
	some pattern, class in data.config.topics
	some topic in input.binding.topics
	topics.overlap(pattern, topic)
}

# The strictest of them. Undefined, and nothing allowed, if one is not configured.
effective := data.config.data_classes[strictest] if {
	every name in applying {
		data.config.data_classes[name]
	}
	strictest := max([[data.config.data_classes[name].rank, name] | some name in applying])[1]
}

# METADATA
# description: Whether connections with this of TLS are enough for the class.
# scope: document
secure(tls) if levels[tls] >= levels[object.get(effective, "require_tls", "")]

levels := {"": 0, "required": 1, "mutual": 2}

# METADATA
# description: Whether the class lets modules call the host function.
# scope: document
permits(name) if topics.covered(name, effective.host_functions)
