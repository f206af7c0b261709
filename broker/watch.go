package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// probesAStall is how many probes fall into the time that a child may stall.
const probesAStall = 6

// watch asks the child again and again whether it still answers, and ends it when it has not for cfg.Stall: it has one
// loop for all requests, and one request that keeps that busy stops everybody. What was acknowledged is on disk. It
// returns when ctx ends, which is with the child.
func (e *Embedded) watch(ctx context.Context, kill func() error) {
	t := time.NewTicker(e.cfg.Stall / probesAStall)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}

		if !e.Status().Ready {
			continue // it may have much to read before it serves
		}
		if err := e.probe(ctx); err != nil && ctx.Err() == nil {
			e.log.Error("embedded broker does not answer; ending it", zap.Error(err))
			if err := kill(); err != nil {
				e.log.Error("ending the embedded broker failed", zap.Error(err))
			}
			return
		}
	}
}

// probe asks for the API versions, which costs nothing and stands in the same queue as every other request.
func (e *Embedded) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Stall)
	defer cancel()
	var d net.Dialer

	conn, err := d.DialContext(ctx, "unix", e.socket)
	if err != nil {
		return fmt.Errorf("dialing embedded broker: %w", err)
	}

	defer conn.Close()

	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		return fmt.Errorf("asking embedded broker: %w", err)
	}

	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("waiting for the embedded broker's answer: %w", err)
	}

	if binary.BigEndian.Uint32(head[4:]) != 1 {
		return errors.New("the embedded broker answered what was not asked")
	}
	return nil
}
