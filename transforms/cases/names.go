package cases

import (
	"slices"
	"strconv"
	"strings"
)

// readable is a function's name as its author wrote it: the path that Rust's mangled
// names hold (RFC 2603, and the older form), without the rest. Others are as they are.
func readable(name string) string {
	mangled, rust := strings.CutPrefix(name, "_R")
	if !rust {
		mangled, rust = strings.CutPrefix(name, "_ZN")
	}
	if !rust {
		return name
	}

	var parts []string
	for at := 0; at < len(mangled); {
		c := mangled[at]
		switch {
		case c >= '0' && c <= '9':
			part, length := identifier(mangled[at:])
			if length == 0 {
				return name
			}
			parts = append(parts, part)
			at += length
		case c == 's' || c == 'B': // a number in base 62 follows, up to the next _
			end := strings.IndexByte(mangled[at:], '_')
			if end < 0 {
				return name
			}
			at += end + 1
		default:
			at++
		}
	}

	parts = slices.DeleteFunc(parts, func(part string) bool { return part == "" || isHash(part) })
	if len(parts) == 0 {
		return name
	}
	return strings.Join(parts, "::")
}

// identifier reads a length and as many bytes, of which a _ may stand in front.
func identifier(s string) (part string, length int) {
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}

	if s[0] == '0' {
		return "", 1 // a closure has no name of its own
	}
	n, err := strconv.Atoi(s[:digits])
	if err != nil || digits+n > len(s) {
		return "", 0
	}
	start := digits
	if s[start] == '_' && start+1+n <= len(s) {
		start++
	}

	return s[start : start+n], start + n
}

// isHash knows what the older form ends with: h and 16 hexadecimal digits.
func isHash(part string) bool {
	if len(part) != 17 || part[0] != 'h' {
		return false
	}
	_, err := strconv.ParseUint(part[1:], 16, 64)

	return err == nil
}

// ownCalls says in one word what a panic runs through before it traps: whose function
// it was stands behind it.
func ownCalls(names []string) []string {
	machinery := func(name string) bool {
		for _, prefix := range []string{"std::", "core::", "__rustc::", "alloc::"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return strings.HasPrefix(name, "rust_")
	}

	first := slices.IndexFunc(names, func(name string) bool { return !machinery(name) })
	if first <= 0 {
		return names
	}
	own := names[first:]
	if slices.ContainsFunc(names[:first], func(name string) bool { return strings.Contains(name, "panic") }) {
		return append([]string{"a panic"}, own...)
	}

	return own
}
