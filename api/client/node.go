package client

import (
	"context"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// Nodes lists the machines that runtimes may be bound to, those that are lost too. See [MinPosition].
func (c *Client) Nodes(ctx context.Context, opts ...CallOption) (wire.List[wire.Node], error) {
	return get[wire.List[wire.Node]](ctx, c, v1+"/nodes", opts)
}

// ForgetNode gives up a node that has no process, with all that is on it.
func (c *Client) ForgetNode(ctx context.Context, id uuid.UUID, in wire.ForgetNode, opts ...CallOption) (wire.Node, error) {
	return post[wire.Node](ctx, c, v1+"/nodes/"+id.String()+"/forget", in, opts)
}
