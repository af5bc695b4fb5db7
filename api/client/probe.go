package client

import (
	"context"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// ProbeEnvironment asks whether a saved environment would work. With [Wait] the answer comes when it is known.
func (c *Client) ProbeEnvironment(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Probe, error) {
	return post[wire.Probe](ctx, c, v1+"/environments/"+id.String()+"/probe", nil, opts)
}

// ProbeSettings asks whether settings that are not saved would work, as [Client.ProbeEnvironment].
func (c *Client) ProbeSettings(ctx context.Context, company uuid.UUID, in wire.ProbeSettings, opts ...CallOption) (wire.Probe, error) {
	return post[wire.Probe](ctx, c, v1+"/companies/"+company.String()+"/environments/probe", in, opts)
}

// Probe returns a probe as it is in the log now; with [Wait], once it is answered.
func (c *Client) Probe(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Probe, error) {
	return get[wire.Probe](ctx, c, v1+"/probes/"+id.String(), opts)
}
