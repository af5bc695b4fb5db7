package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/tenure-dev/tenure/api/wire"
)

// Projections lists the read models.
func (c *Client) Projections(ctx context.Context, opts ...CallOption) (wire.List[wire.Projection], error) {
	return get[wire.List[wire.Projection]](ctx, c, v1+"/projections", opts)
}

func projectionPath(name string) string { return v1 + "/projections/" + url.PathEscape(name) }

// RebuildProjection starts to rebuild a read model, or with "all" every one, and does not wait for it; see Projections for
// how far it is, and [Client.FollowRebuild].
func (c *Client) RebuildProjection(ctx context.Context, name string, opts ...CallOption) (wire.RebuildStarted, error) {
	var out wire.RebuildStarted
	k, err := newCall(http.MethodPost, projectionPath(name)+"/rebuild", nil, opts)
	if err == nil {
		_, err = c.do(ctx, k, &out)
	}
	return out, err
}

// Parked lists the streams that a read model left behind.
func (c *Client) Parked(ctx context.Context, name string, opts ...CallOption) (wire.List[wire.ParkedStream], error) {
	return get[wire.List[wire.ParkedStream]](ctx, c, projectionPath(name)+"/parked", opts)
}

// RetryParked applies a parked stream again.
func (c *Client) RetryParked(ctx context.Context, name, stream string, opts ...CallOption) error {
	return c.unpark(ctx, name, stream, "retry", opts)
}

// SkipParked goes on without the event that could not be applied.
func (c *Client) SkipParked(ctx context.Context, name, stream string, opts ...CallOption) error {
	return c.unpark(ctx, name, stream, "skip", opts)
}

func (c *Client) unpark(ctx context.Context, name, stream, verb string, opts []CallOption) error {
	k, err := newCall(http.MethodPost, projectionPath(name)+"/parked/"+url.PathEscape(stream)+"/"+verb, nil, opts)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, k, nil)
	return err
}

// Events returns a page of the log; [Page] goes on after a position. A company's key sees its company's events only.
func (c *Client) Events(ctx context.Context, opts ...CallOption) (wire.List[wire.Event], error) {
	return get[wire.List[wire.Event]](ctx, c, v1+"/events", opts)
}

// Workers lists the processes that drive, those that have gone silent too.
func (c *Client) Workers(ctx context.Context, opts ...CallOption) (wire.List[wire.Worker], error) {
	return get[wire.List[wire.Worker]](ctx, c, v1+"/workers", opts)
}
