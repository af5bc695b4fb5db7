package client

import (
	"context"
	"net/http"

	"github.com/tenure-dev/tenure/api/wire"
)

// Log is the log itself: its epoch, and whether it has forked.
func (c *Client) Log(ctx context.Context, opts ...CallOption) (wire.Log, error) {
	return get[wire.Log](ctx, c, v1+"/log", opts)
}

// AdoptLog takes a log that has forked as it is; its runtimes are driven again.
func (c *Client) AdoptLog(ctx context.Context, in wire.AdoptLog, opts ...CallOption) (wire.Log, error) {
	var out wire.Log
	k, err := newCall(http.MethodPost, v1+"/log/adopt", in, opts)
	if err == nil {
		_, err = c.do(ctx, k, &out)
	}
	return out, err
}
