package tree

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/guardlock/guardlock/audit"
	"github.com/guardlock/guardlock/audit/evidence"
)

// Signed is the last checkpoint as a note. Its signature is not checked here.
func (p *Prover) Signed() string { return p.signed }

// Check makes every leaf of the log anew and holds it against the checkpoint: what the log
// says is what the checkpoint speaks for. Of a log whose beginning was pruned that is
// checked of the rest. It returns how many entries were checked, ErrRolledBack where
// the log is another one, and ErrDamaged where the tree's own files do not fit.
func (p *Prover) Check(ctx context.Context) (checked int64, err error) {
	t := &tiles{ctx: ctx, store: p.store, reader: p.reader, edge: p.edge}
	c := checking{
		walk:   walk{store: p.store},
		size:   p.checkpoint.Size,
		hashes: evidence.NewProver(p.checkpoint.Size, p.checkpoint.Root, t),
	}

	err = p.reader.Cursor(audit.Position{}).Read(ctx, func(f *audit.Frame) error {
		return c.walk.frame(f, c.leaf)
	})
	behind := errors.Is(err, ErrNotCommitted) && c.walk.next >= c.size // a segment that no leaf is of yet
	if err != nil && !errors.Is(err, errFound) && !behind {
		return c.checked, fmt.Errorf("checking the tree: %w", err)
	}
	if c.checked < c.size && c.walk.next < c.size {
		return c.checked, fmt.Errorf("%w: it speaks for %d entries, and the log has %d", ErrRolledBack, c.size, c.walk.next)
	}
	return c.checked, c.last()
}

// Contains checks that the log goes on from a checkpoint which somebody kept. It
// returns ErrRolledBack where it does not.
func (p *Prover) Contains(ctx context.Context, kept evidence.Checkpoint) error {
	if kept.Size > p.checkpoint.Size {
		return fmt.Errorf("%w: it speaks for %d entries, and the last checkpoint for %d", ErrRolledBack, kept.Size, p.checkpoint.Size)
	}

	root := p.checkpoint.Root
	if kept.Size < p.checkpoint.Size {
		t := &tiles{ctx: ctx, store: p.store, reader: p.reader, edge: p.edge}
		var err error
		if root, err = evidence.NewProver(p.checkpoint.Size, p.checkpoint.Root, t).RootAt(kept.Size); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if root != kept.Root {
		return fmt.Errorf("%w: its first %d entries are others", ErrRolledBack, kept.Size)
	}
	return nil
}

// checking gathers leaves to tiles, and holds each full tile against the tree.
type checking struct {
	walk    walk
	size    int64
	hashes  *evidence.Prover
	tile    []evidence.Hash
	whole   bool // tile holds its first leaf, too
	checked int64
}

// leaf takes the leaf with an index. errFound ends the walk: what comes is behind the
// checkpoint.
func (c *checking) leaf(index int64, n *names, e *audit.Entry) error {
	if index >= c.size {
		return errFound
	}
	if index%evidence.TileWidth == 0 {
		c.whole = true
		c.tile = c.tile[:0]
	}

	l := e.Leaf(n.of)
	c.tile = append(c.tile, evidence.HashOf(l.Append(nil)))
	c.checked++
	if !c.whole || len(c.tile) < evidence.TileWidth {
		return nil
	}

	want, err := c.hashes.Hash(tlog.StoredHashIndex(evidence.TileHeight, index/evidence.TileWidth))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if evidence.RootOf(c.tile) != want {
		return fmt.Errorf("%w: entries %d to %d are others", ErrRolledBack, index+1-evidence.TileWidth, index)
	}
	return nil
}

// last checks the leaves of the tile that is not full, one by one.
func (c *checking) last() error {
	if c.size%evidence.TileWidth == 0 {
		return nil
	}

	first := c.size - int64(len(c.tile))
	for i := range c.tile {
		want, err := c.hashes.Hash(tlog.StoredHashIndex(0, first+int64(i)))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if c.tile[i] != want {
			return fmt.Errorf("%w: entry %d is another", ErrRolledBack, first+int64(i))
		}
	}
	return nil
}
