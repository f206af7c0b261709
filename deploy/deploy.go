// Package deploy holds what it takes to run Guardlock somewhere: an image, a
// compose file, a systemd unit and sample configurations. There is no code in
// it; its tests check each of those files with a real binary.
package deploy
