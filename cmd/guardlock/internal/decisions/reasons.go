package decisions

import "strings"

// reasons is the catalogue of why a record or batch was not stored as it came,
// in words for those who produce. docs/reasons.md is made from it.
var reasons = map[string]string{
	// the gateway's own
	"audit_unavailable":       "The decision could not be written to the log, so nothing was stored. Clients try again by themselves.",
	"batch_too_large":         "The batch is larger than limits.max_batch once it is decompressed. Send smaller batches.",
	"chain_failed":            "A module failed without saying why. Those who run the gateway find more in its log.",
	"corrupt_batch":           "The bytes are no batch that Kafka knows: a length, a count or the checksum is wrong.",
	"decision_too_large":      "The batch's records came to different ends in turn too often to be recorded. Send smaller batches.",
	"drop_refused":            "A module would have dropped a record, and this binding rejects instead.",
	"empty_batch":             "The batch holds no records.",
	"forged_placeholder":      "A record has the form by which the gateway marks dropped records. Give it another key.",
	"grant_expired":           "What was approved for this topic has ended and is judged anew. Clients try again by themselves.",
	"module_closed":           "The module was replaced while the batch was with it. Clients try again by themselves.",
	"module_suspended":        "A module kept failing and gets no batches for a while. Clients try again by themselves.",
	"no_memory":               "The gateway had no buffer memory left. Clients try again by themselves.",
	"out_of_order":            "An earlier batch of this producer was refused, or may be stored or not, and this one was sent behind it. Clients send it again.",
	"reason_limit":            "Modules gave more distinct reasons in an hour than the gateway records. Those who run it may raise limits.reasons_per_hour.",
	"route_failed":            "A record had to go to another topic, which did not take it. Clients try again by themselves.",
	"route_in_transaction":    "A record had to go to another topic, which a transaction cannot promise. Send it without a transaction.",
	"route_while_reading":     "A record had to go to another topic, which is not possible while reading.",
	"shutting_down":           "The gateway was ending. Clients try again by themselves.",
	"timeout":                 "A module ran out of time. Clients try again by themselves.",
	"timeout_again":           "A module ran out of time for this batch each time that it was sent. Send smaller records or batches.",
	"too_large":               "The modules made the batch larger than its topic takes. Send smaller batches, or have max.message.bytes raised.",
	"trap":                    "A module failed on this batch. Its author needs to know the decision's id.",
	"unknown_topic_id":        "The cluster does not know the topic's id: it was deleted, or made again.",
	"unsupported_compression": "The batch's compression is not one that Kafka has.",
	"unsupported_magic":       "The batch has a format from before Kafka 0.11, which cannot be looked into.",

	// the sandbox's
	"output_invalid":   "A module answered with something that is no answer. Its author needs to know the decision's id.",
	"guest_failed":     "A module said that it failed. Its author needs to know the decision's id.",
	"memory":           "A module asked for more memory than it may have. Send smaller records or batches.",
	"record_too_large": "A record is larger than its module can take. `guardlock module inspect` says how large it may be.",
	"too_many_modules": "The binding names more modules than a record can pass. Those who run the gateway must change it.",
	"worker_ended":     "The process that a module ran in ended while the batch was with it. Clients try again by themselves.",

	// of modules that were built for Redpanda
	"redpanda.changed":         "A transform changed the record. It is stored as changed.",
	"redpanda.no_output":       "A transform wrote nothing for the record, so that it is not stored.",
	"redpanda.routed":          "A transform wrote the record to another topic, where it is stored.",
	"redpanda.several_outputs": "A transform wrote several records for one, which cannot take its place. Its author must split records elsewhere.",
	"redpanda.write_refused":   "A transform wrote something that is no record, or to a topic that was not approved. Its author needs to know.",

	// of topics whose module may not run
	"approvals_missing":    "Too few people approved the module of this topic. Those who run the gateway must have it approved.",
	"audience_other":       "The module of this topic was approved for other gateways.",
	"author_approved":      "The module of this topic was approved by its author, who does not count.",
	"config_changed":       "The configuration of this topic's module is not the one that was approved.",
	"digest_mismatch":      "The module of this topic is not the one that was signed.",
	"expired":              "An approval of this topic's module has ended. Those who run the gateway must have it approved again.",
	"hostile_or_malformed": "The file of this topic's module is no module, or one that no gateway loads.",
	"import_not_allowed":   "The policy does not let this topic's module call what it needs.",
	"import_not_approved":  "This topic's module needs something that its approvals do not grant.",
	"import_unknown":       "This topic's module needs something that no gateway has.",
	"key_expired":          "A key of those who vouched for this topic's module has ended.",
	"key_missing":          "This topic's module needs a key that the gateway does not have.",
	"load_failed":          "This topic's module does not start with its configuration.",
	"not_yet_valid":        "The approvals of this topic's module hold from a later time on.",
	"package_unreadable":   "A file of this topic's module cannot be read.",
	"policy_denied":        "The policy does not allow this topic's module here, and says no more.",
	"policy_error":         "The policy gave no decision about this topic's module that can be understood.",
	"policy_unavailable":   "The policy could not be asked about this topic's module yet. Clients try again by themselves.",
	"revoked":              "The module of this topic, its approval or a key of those who vouched for it was revoked.",
	"signature_invalid":    "A signature of this topic's module is not one.",
	"start_unavailable":    "This topic's module could not be started yet. Clients try again by themselves.",
	"table_malformed":      "This topic's module looks up in a file that is no table.",
	"table_missing":        "This topic's module looks up in a table that the gateway does not have.",
	"table_not_approved":   "This topic's module looks up in a table, and the file in its place was not approved.",
	"topic_not_granted":    "The binding reaches topics that its module was not approved for.",
	"unbound_topic":        "No binding names this topic for this client. Those who run the gateway must add one.",
	"unsigned":             "The module of this topic has no author's signature.",
	"untrusted_key":        "The module of this topic was signed or approved with a key that the trust root does not list.",

	// gdpr
	"gdpr.invalid_json":  "The value is not JSON.",
	"gdpr.invalid_utf8":  "The value is not text in UTF-8.",
	"gdpr.too_deep":      "Objects and arrays are nested deeper than 128.",
	"gdpr.masked":        "Fields were masked. The record is stored.",
	"gdpr.redacted":      "Fields were redacted. The record is stored.",
	"gdpr.hashed":        "Fields were replaced by pseudonyms. The record is stored.",
	"gdpr.field_dropped": "Fields were taken out. The record is stored.",
	"gdpr.several":       "Fields were changed in more than one way. The record is stored.",
	"gdpr.wrong_type":    "On the way to a field there is a text, number, boolean, or the wrong one of object and array.",
	"gdpr.missing_field": "A field that must be there is missing or null.",
	"gdpr.unknown_field": "There is a field that the module was not told about.",
	"gdpr.nested_json":   "A text holds JSON in which a field with personal data stands. Send it as an object.",
	"gdpr.framing":       "The value has a schema registry's five bytes before it and should not, or the other way round.",

	// fraud
	"fraud.invalid_json":  "The value is not JSON.",
	"fraud.too_deep":      "Objects and arrays are nested deeper than 128.",
	"fraud.allowed":       "The score is below all thresholds. The record is stored.",
	"fraud.unscored":      "The value is not JSON, and was let pass without a score.",
	"fraud.wrong_type":    "A field that a rule judges is of another type than the rule's own values.",
	"fraud.missing_field": "A field that must be there is missing or null.",
	"fraud.unknown_field": "There is a field that the module was not told about.",
	"fraud.nested_json":   "A text holds JSON in which a field that a rule judges stands. Send it as an object.",
	"fraud.framing":       "The value has a schema registry's five bytes before it and should not, or the other way round.",
	"fraud.ambiguous":     "A field that the model reads is there twice.",
	"fraud.model":         "The model's score weighs most, and no field that it reads has a reason of its own.",
	"fraud.score":         "The rules that fired weigh too much together.",
	"fraud.amount":        "The rules that fired weigh too much; the heaviest is about the amount.",
	"fraud.currency":      "The rules that fired weigh too much; the heaviest is about the currency.",
	"fraud.country":       "The rules that fired weigh too much; the heaviest is about the country.",
	"fraud.velocity":      "The rules that fired weigh too much; the heaviest is about how often payments come.",
	"fraud.merchant":      "The rules that fired weigh too much; the heaviest is about the merchant.",
	"fraud.card":          "The rules that fired weigh too much; the heaviest is about the card.",
	"fraud.account":       "The rules that fired weigh too much; the heaviest is about the account.",
	"fraud.device":        "The rules that fired weigh too much; the heaviest is about the device.",
	"fraud.channel":       "The rules that fired weigh too much; the heaviest is about the channel.",
	"fraud.time":          "The rules that fired weigh too much; the heaviest is about the time.",
	"fraud.identity":      "The rules that fired weigh too much; the heaviest is about the identity.",

	// validate
	"validate.type":           "A value is of another type than the schema says.",
	"validate.value":          "A value is none of those that the schema lists.",
	"validate.range":          "A number is too small or too large, or not a multiple of what it must be one of.",
	"validate.length":         "A text is too short or too long.",
	"validate.pattern":        "A text does not have the pattern or format that it must have.",
	"validate.required":       "A field that must be there is missing.",
	"validate.unknown_field":  "There is a field that the schema does not allow.",
	"validate.field_name":     "A field has a name that the schema does not allow.",
	"validate.count":          "An object or array has too few or too many members.",
	"validate.duplicate_item": "An array has an item twice whose items must differ.",
	"validate.items":          "An array has an item that it may not have, or lacks one that it must have.",
	"validate.alternatives":   "A value fits none of the schema's alternatives, more of them than it may, or one that it must not fit.",
	"validate.too_complex":    "Judging the value would take too long, or needs alternatives nested too deep.",
	"validate.invalid_json":   "The value is not JSON.",
	"validate.too_deep":       "Objects and arrays are nested deeper than 128.",
	"validate.duplicate_key":  "An object has a field twice.",
	"validate.size":           "The value is smaller or larger than it may be.",
	"validate.tombstone":      "The value is null, which is not allowed on this topic.",
	"validate.header_missing": "A header that must be there is missing.",
	"validate.header":         "A header is null, there more than once, or does not have the pattern that it must have.",
	"validate.key":            "The key is null, too short, too long, or does not have the pattern that it must have.",

	// enrich
	"enrich.added":         "What a table has of a field was added. The record is stored.",
	"enrich.removed":       "A member or header that only the module may set was taken away. The record is stored.",
	"enrich.invalid_json":  "The value is not JSON.",
	"enrich.too_deep":      "Objects and arrays are nested deeper than 128.",
	"enrich.not_an_object": "The value is JSON, but no object that something could be added to.",
	"enrich.missing":       "A field that is to be looked up is missing or null.",
	"enrich.ambiguous":     "A field that is to be looked up is there twice.",
	"enrich.invalid_key":   "A field that is to be looked up is not what the table has as keys, such as an IP address.",
	"enrich.not_found":     "The table has nothing of a field that is to be looked up.",
	"enrich.stale":         "The table is older than it may be. Those who run the gateway must bring a new one.",
	"enrich.no_table":      "The module looks up in a table that its configuration does not declare.",
	"enrich.too_large":     "The table has more of a field than fits.",

	// sensor and the two examples
	"sensor.invalid_json":             "The value is not JSON.",
	"sensor.too_deep":                 "Objects and arrays are nested deeper than 128.",
	"sensor.no_value":                 "There is no reading where one should be.",
	"sensor.not_a_number":             "A reading is not a number, or too large a one.",
	"sensor.too_many_readings":        "There are more than 256 readings in one record.",
	"sensor.jitter":                   "A reading jumped away from the device's mean.",
	"sensor.header_removed":           "A header that only the module may set was taken away. The record is stored.",
	"reject_uppercase.capital_letter": "The value holds a capital letter.",
	"uppercase.changed":               "Letters were made capital. The record is stored.",
}

// notStoredMeaning explains the outcome not_stored, whatever Kafka's error is.
const notStoredMeaning = "No module refused it. The cluster answered with this error, or a batch before it was refused, so nothing was stored. Clients try again where Kafka lets them."

// explain says what a reason means. Those of other modules, and of policies, are
// not ours to know.
func explain(reason string) string {
	if text, ok := reasons[reason]; ok {
		return text
	}
	if strings.Contains(reason, ".") {
		return "A module gave this reason; who wrote it knows what it means."
	}
	return "A module is not approved here, or policy says no. Those who run the gateway learn more from `guardlock check`."
}
