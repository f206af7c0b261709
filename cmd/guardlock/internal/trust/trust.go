// Package trust holds the commands of the security team: `guardlock keygen`,
// `module` and `policy`. They make, check and explain what a gateway admits
// modules by.
//
// Trust: modules, bundles and policies are hostile until they were verified; a
// private key is read from a file closed to others.
package trust
