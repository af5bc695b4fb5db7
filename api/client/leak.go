package client

import (
	"context"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// RetryCleanup has the runtime of a lease taken down at once, also out of quarantine. With [Wait] it answers once nothing is
// left or the time is over.
func (c *Client) RetryCleanup(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Lease, error) {
	return post[wire.Lease](ctx, c, leasePath(id)+"/cleanup/retry", nil, opts)
}

// ForceCleanup ends a lease whose runtime cannot be made or taken down; what may be left is on the list of leaks.
func (c *Client) ForceCleanup(ctx context.Context, id uuid.UUID, in wire.ForceCleanup, opts ...CallOption) (wire.Lease, error) {
	return post[wire.Lease](ctx, c, leasePath(id)+"/cleanup/force", in, opts)
}

// LeakFilter picks leaks; a zero field picks all, but for Status, of which "" is open and "all" is all.
type LeakFilter struct{ Status, Provider string }

// Leaks lists what may be left outside, the newest first. See [Page] and [MinPosition].
func (c *Client) Leaks(ctx context.Context, f LeakFilter, opts ...CallOption) (wire.List[wire.Leak], error) {
	opts = append([]CallOption{func(k *call) {
		if f.Status != "" {
			k.query.Set("status", f.Status)
		}
		if f.Provider != "" {
			k.query.Set("provider", f.Provider)
		}
	}}, opts...)
	return get[wire.List[wire.Leak]](ctx, c, v1+"/leaks", opts)
}

// ClearLeak takes a leak off the list by a person's word.
func (c *Client) ClearLeak(ctx context.Context, id uuid.UUID, in wire.ClearLeak, opts ...CallOption) (wire.Leak, error) {
	return post[wire.Leak](ctx, c, v1+"/leaks/"+id.String()+"/clear", in, opts)
}

// Balance accounts for every runtime there ever was.
func (c *Client) Balance(ctx context.Context, opts ...CallOption) (wire.Balance, error) {
	return get[wire.Balance](ctx, c, v1+"/balance", opts)
}
