# METADATA
# title: Patterns
# description: |
#   Patterns of topics and host functions, in which '*' stands for any run of
#   characters, dots included, and everything else for itself.
package guardlock.topics

# METADATA
# description: |
#   Whether one of patterns matches all that name, which may itself be a pattern,
#   can match. A '*' in name can only be met by a '*' in the pattern.
# scope: document
covered(name, patterns) if {
	some pattern in patterns
	glob.match(pattern, null, name)
}

# METADATA
# description: Whether there is a name that both patterns match.
# scope: document
overlap(a, b) if regex.globs_match(expression(a), expression(b))

expression(pattern) := replace(replace(pattern, ".", `\.`), "*", ".*")
