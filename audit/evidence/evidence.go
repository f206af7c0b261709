// Package evidence is what an auditor trusts instead of a gateway: entries of a
// decision log as leaves of a Merkle tree, signed checkpoints of that, and files
// which prove by both what became of a record.
//
// A leaf holds all that its entry says, and one digest for each name of a person or a
// client, so that a name can be erased and the proof still holds. A File has a
// checkpoint, the leaves that tell a record's story and their paths to the root. It is
// verified by the log's public key and nothing else.
//
// The formats are in docs/evidence.md: RFC 6962 for the tree, C2SP tlog-checkpoint and
// signed-note for checkpoints, C2SP tlog-tiles for what is stored of the tree.
//
// Trust: a file may come from anybody, and be made to deceive. What is not in its one
// spelling is refused, and what does not follow from the key proves nothing. The
// package reads no file and no clock, and asks no network.
package evidence
