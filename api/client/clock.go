package client

import (
	"context"

	"github.com/tenure-dev/tenure/api/wire"
)

// Clock returns how time stands for the process that answers.
func (c *Client) Clock(ctx context.Context, opts ...CallOption) (wire.Clock, error) {
	return get[wire.Clock](ctx, c, v1+"/clock", opts)
}

// ConfirmClock says that the database's clock is right after a jump.
func (c *Client) ConfirmClock(ctx context.Context, in wire.ConfirmClock, opts ...CallOption) (wire.Clock, error) {
	return post[wire.Clock](ctx, c, v1+"/clock/confirm", in, opts)
}
