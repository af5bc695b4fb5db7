package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// FollowLeaseEvents yields the events of a lease with a position above after, and goes on as they happen. It ends without
// an error when the server closes the stream in order (it shuts down); whoever calls again with the last position misses
// nothing and gets nothing twice.
func (c *Client) FollowLeaseEvents(ctx context.Context, id uuid.UUID, after int64) iter.Seq2[wire.Event, error] {
	return c.follow(ctx, leasePath(id)+"/events", after)
}

// FollowEvents is FollowLeaseEvents for the whole log, or a company's part of it.
func (c *Client) FollowEvents(ctx context.Context, after int64) iter.Seq2[wire.Event, error] {
	return c.follow(ctx, v1+"/events", after)
}

func (c *Client) follow(ctx context.Context, path string, after int64) iter.Seq2[wire.Event, error] {
	return func(yield func(wire.Event, error) bool) {
		k, err := newCall(http.MethodGet, path, nil, nil)
		if err != nil {
			yield(wire.Event{}, err)
			return
		}
		k.header.Set("Accept", wire.TypeEventStream)
		k.header.Set(wire.HeaderLastEventID, strconv.FormatInt(after, 10))
		body, err := c.open(ctx, k)
		if err != nil {
			yield(wire.Event{}, err)
			return
		}
		defer body.Close()
		readEvents(ctx, body, yield)
	}
}

// maxLine bounds a line of a stream; an event has at most 256 KiB, a piece of output too, base64 and JSON around it.
const maxLine = 2 << 20

// readEvents reads server-sent events. An event that the end of the stream cuts off is no event.
func readEvents(ctx context.Context, body io.Reader, yield func(wire.Event, error) bool) {
	var data []byte
	for line, err := range lines(ctx, body) {
		if err != nil {
			yield(wire.Event{}, err)
			return
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(line) == 0 && len(data) > 0:
			var e wire.Event
			err := json.Unmarshal(data, &e)
			data = data[:0]
			if !yield(e, wrapDecode(err)) || err != nil {
				return
			}
		case string(field) == "data":
			data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
		}
	}
}

func wrapDecode(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read the stream: %w", err)
}

// OutputOptions say which part of an output is wanted.
type OutputOptions struct {
	// Offset is where to begin; it counts the bytes of both streams.
	Offset int64
	// Follow goes on until the output is sealed.
	Follow bool
	// Stream is stdout or stderr; "" is both.
	Stream string
}

func (o OutputOptions) on(k *call) {
	if o.Offset > 0 {
		k.query.Set("offset", strconv.FormatInt(o.Offset, 10))
	}
	if o.Follow {
		k.query.Set("follow", "true")
	}
	if o.Stream != "" {
		k.query.Set("stream", o.Stream)
	}
}

// ExecOutput yields the output of a command. The last line has Sealed if the output is sealed. When following ends without
// it, the server shut down; whoever calls again with the offset after the last line misses nothing.
func (c *Client) ExecOutput(ctx context.Context, id uuid.UUID, o OutputOptions) iter.Seq2[wire.OutputLine, error] {
	return ndjson[wire.OutputLine](ctx, c, http.MethodGet, v1+"/execs/"+id.String()+"/output", o.on)
}

// RawOutput returns one stream's bytes as they are. The caller closes it.
func (c *Client) RawOutput(ctx context.Context, id uuid.UUID, o OutputOptions) (io.ReadCloser, error) {
	k, err := newCall(http.MethodGet, v1+"/execs/"+id.String()+"/output", nil, []CallOption{o.on})
	if err != nil {
		return nil, err
	}
	k.query.Set("raw", "true")
	resp, err := c.send(ctx, k)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// FollowRebuild starts to rebuild a read model, or with "all" every one, and yields how far it is. The last line of each
// has the state done or failed.
func (c *Client) FollowRebuild(ctx context.Context, name string) iter.Seq2[wire.Rebuild, error] {
	return ndjson[wire.Rebuild](ctx, c, http.MethodPost, projectionPath(name)+"/rebuild", func(k *call) { k.query.Set("follow", "true") })
}

func ndjson[T any](ctx context.Context, c *Client, method, path string, opts ...CallOption) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		k, err := newCall(method, path, nil, opts)
		if err != nil {
			yield(none, err)
			return
		}
		body, err := c.open(ctx, k)
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		for line, err := range lines(ctx, body) {
			var item T
			if err == nil {
				err = wrapDecode(json.Unmarshal(line, &item))
			}
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// open starts a stream; to close it ends it.
func (c *Client) open(ctx context.Context, k *call) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	resp, err := c.send(ctx, k) //nolint:bodyclose // openBody closes it
	if err != nil {
		cancel()
		return nil, err
	}
	return &openBody{ReadCloser: resp.Body, cancel: cancel}, nil
}

// openBody ends its request when it is closed: the server may send for ever.
type openBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *openBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

// lines yields the whole lines of a stream; a stream that ends in the middle of one, or by the loss of the link, ends with
// an error.
func lines(ctx context.Context, body io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		r := bufio.NewReaderSize(body, 64<<10)
		for {
			line, err := readLine(r)
			switch {
			case err == nil:
				if !yield(line, nil) {
					return
				}
			case errors.Is(err, io.EOF) && len(line) == 0:
				return
			case ctx.Err() != nil:
				yield(nil, context.Cause(ctx))
				return
			default:
				yield(nil, fmt.Errorf("read the stream: %w: %w", errLost, err))
				return
			}
		}
	}
}

// readLine returns a line without its end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var whole []byte
	for {
		part, err := r.ReadSlice('\n')
		if err == nil && whole == nil {
			return part[:len(part)-1], nil
		}
		whole = append(whole, part...)
		switch {
		case err == nil:
			return whole[:len(whole)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return whole, err
		case len(whole) > maxLine:
			return whole, errors.New("a line is too long")
		}
	}
}
