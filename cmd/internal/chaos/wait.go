package main

import (
	"context"
	"time"
)

// look is how often something is looked at that tells nobody when it changes.
const look = 50 * time.Millisecond

// pause waits for a time, or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// until looks until it is so, or the end of ctx.
func until(ctx context.Context, so func() bool) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
