package wire

import "strings"

// createTopics learns the ids of topics that were made, so that the first
// request by such an id need not be looked up.
func (w *rewriter) createTopics() {
	w.skip(4) // throttle_time_ms
	for n := w.arrayLen(24); n > 0 && w.ok(); n-- {
		name := w.str()
		id := w.uuid()
		code := w.i16()
		w.str()       // error_message
		w.skip(4 + 2) // num_partitions, replication_factor

		for m := w.arrayLen(5); m > 0 && w.ok(); m-- {
			w.str()
			w.str()
			w.skip(1 + 1 + 1) // read_only, config_source, is_sensitive
			w.tags()
		}

		w.tags()
		w.learn(code, id, name)
	}

	w.tags()
}

// topicPartitions learns the ids of topics that were described, as a Metadata
// answer would tell them.
func (w *rewriter) topicPartitions() {
	w.skip(4) // throttle_time_ms
	for n := w.arrayLen(25); n > 0 && w.ok(); n-- {
		code := w.i16()
		name := w.str()
		id := w.uuid()
		w.skip(1) // is_internal

		for m := w.arrayLen(20); m > 0 && w.ok(); m-- {
			w.skip(2 + 4 + 4 + 4) // error_code, partition_index, leader_id, leader_epoch
			for range 5 {         // replicas, isr, eligible, last known, offline
				w.ids()
			}
			w.tags()
		}

		w.skip(4) // topic_authorized_operations
		w.tags()
		w.learn(code, id, name)
	}

	if w.i8() != -1 && !w.bad { // next_cursor
		w.str()
		w.skip(4)
		w.tags()
	}

	w.tags()
}

// describeConfigs withholds the values of settings that hold addresses, the way
// Kafka itself withholds a sensitive one: null, and marked as sensitive.
func (w *rewriter) describeConfigs() {
	w.skip(4) // throttle_time_ms
	for n := w.arrayLen(7); n > 0 && w.ok(); n-- {
		w.skip(2) // error_code
		w.str()   // error_message
		w.skip(1) // resource_type
		w.str()   // resource_name

		for m := w.arrayLen(7); m > 0 && w.ok(); m-- {
			w.config()
		}
		w.tags()
	}

	w.tags()
}

// config reads one setting with its synonyms, and hides every value of it that
// may be an address.
func (w *rewriter) config() {
	name := w.str()
	hide := holdsAddress(string(name))
	hidden := w.configValue(hide)
	w.skip(1 + 1) // read_only, config_source
	w.sensitive(hidden)

	for n := w.arrayLen(4); n > 0 && w.ok(); n-- {
		synonym := w.str()
		w.configValue(hide || holdsAddress(string(synonym)))
		w.skip(1) // source
		w.tags()
	}

	if w.version >= 3 {
		w.skip(1) // config_type
		w.str()   // documentation
	}

	w.tags()
}

// configValue reads a value and replaces it by null if it is to be hidden. It
// reports whether it did.
func (w *rewriter) configValue(hide bool) (hidden bool) {
	start := w.off
	if value := w.str(); !hide || value == nil || !w.ok() {
		return false
	}

	w.upTo(start)
	w.out = appendStr(w.out, nil, w.flex)
	w.copied = w.off
	return true
}

// sensitive reads is_sensitive and sets it for a hidden value, so that tools
// take the null for what it is and do not write it back.
func (w *rewriter) sensitive(hidden bool) {
	start := w.off
	w.skip(1)
	if hidden && w.ok() {
		w.upTo(start)
		w.out = append(w.out, 1)
		w.copied = w.off
	}
}

// holdsAddress names the broker settings whose values are addresses of the
// cluster: listeners, advertised.listeners, controller.quorum.voters,
// controller.quorum.bootstrap.servers, the bootstrap servers of remote storage
// and of reporters, ZooKeeper and host names of older brokers.
func holdsAddress(setting string) bool {
	for _, part := range []string{"listeners", "quorum.voters", "bootstrap.servers", "zookeeper.connect", "host.name"} {
		if strings.HasSuffix(setting, part) {
			return true
		}
	}
	return false
}
