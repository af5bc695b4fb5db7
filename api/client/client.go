// Package client is the way into Tenure for Go programs: a method for every route of the API.
//
//	c, err := client.New("http://127.0.0.1:7717", key)
//	acquired, err := c.AcquireLease(ctx, company, wire.AcquireLease{…}, client.Wait(time.Minute))
//
// Every answer that is no success is a [*Problem]; a server that does not answer at all is [ErrUnreachable]. A command is
// sent with an Idempotency-Key, chosen by the client unless the caller gives one, and is repeated with the same key when its
// answer was lost or the server says that it is busy; so it has one outcome. Streams are iterators; leaving the loop ends
// the stream.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	key   string
	http  *http.Client
	agent string
	// tries is how often a command is sent at most.
	tries int
}

// Option changes a client.
type Option func(*Client)

// WithHTTPClient uses another HTTP client. It must have no timeout of its own, which would cut streams.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithUserAgent says who calls.
func WithUserAgent(agent string) Option { return func(c *Client) { c.agent = agent } }

// WithoutRetries sends everything once.
func WithoutRetries() Option { return func(c *Client) { c.tries = 1 } }

const defaultTries = 3

// New makes a client of the server at baseURL, such as http://127.0.0.1:7717. Without a key only Health is answered.
func New(baseURL, key string, opts ...Option) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(baseURL, "/"))
	if err != nil {
		return nil, fmt.Errorf("parse the server's address: %w", err)
	}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("the server's address %q is not of the form http://HOST:PORT", baseURL)
	}
	c := &Client{base: base, key: key, agent: "tenure-client", tries: defaultTries, http: &http.Client{Transport: transport()}}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// transport is the default one with room for many calls to one host and no wish to compress streams.
func transport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     60 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
	}
}

// BaseURL is the server's address.
func (c *Client) BaseURL() string { return c.base.String() }

// CloseIdleConnections closes the connections that are not in use.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// CallOption says more of one call.
type CallOption func(*call)

// Wait asks the server to answer only once the thing is as wanted (active, ended), or after d: Prefer: wait=N.
func Wait(d time.Duration) CallOption {
	return func(c *call) {
		c.header.Set("Prefer", "wait="+strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10))
	}
}

// IdempotencyKey chooses the key of a command, so that the caller too can repeat it.
func IdempotencyKey(key string) CallOption {
	return func(c *call) { c.header.Set(wire.HeaderIdempotencyKey, key) }
}

// MinPosition makes an answer show at least this position of the log.
func MinPosition(p int64) CallOption {
	return func(c *call) { c.query.Set("minPosition", strconv.FormatInt(p, 10)) }
}

// IfMatch applies a change only to this version.
func IfMatch(version int64) CallOption {
	return func(c *call) { c.header.Set("If-Match", `"`+strconv.FormatInt(version, 10)+`"`) }
}

// Fence is the fence of the lease as the caller knows it; another one is refused.
func Fence(fence int64) CallOption {
	return func(c *call) { c.header.Set(wire.HeaderFence, strconv.FormatInt(fence, 10)) }
}

// RequestID is written on every event that the call leads to.
func RequestID(id uuid.UUID) CallOption {
	return func(c *call) { c.header.Set(wire.HeaderRequestID, id.String()) }
}

// Page asks for at most limit items after a cursor.
func Page(after string, limit int) CallOption {
	return func(c *call) {
		if after != "" {
			c.query.Set("after", after)
		}
		if limit > 0 {
			c.query.Set("limit", strconv.Itoa(limit))
		}
	}
}

// call is one request to be made.
type call struct {
	method string
	path   string
	query  url.Values
	header http.Header
	body   []byte
	// repeat says that sending it again is harmless.
	repeat bool
}

func newCall(method, path string, body any, opts []CallOption) (*call, error) {
	k := &call{method: method, path: path, query: url.Values{}, header: http.Header{}, repeat: method == http.MethodGet}
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		k.body = raw
		k.header.Set("Content-Type", "application/json")
	}
	for _, o := range opts {
		o(k)
	}
	return k, nil
}

// idempotent gives a command its key.
func (k *call) idempotent() {
	if k.header.Get(wire.HeaderIdempotencyKey) == "" {
		k.header.Set(wire.HeaderIdempotencyKey, uuid.NewString())
	}
	k.repeat = true
}

// do makes a call, decodes the answer into out, unless out is nil, and returns its status.
func (c *Client) do(ctx context.Context, k *call, out any) (status int, err error) {
	resp, err := c.send(ctx, k)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if out == nil {
		drain(resp.Body)
		return resp.StatusCode, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return resp.StatusCode, fmt.Errorf("%s %s: read the answer: %w", k.method, k.path, err)
	}
	return resp.StatusCode, nil
}

// send makes a call and returns a successful response, whose body the caller closes.
//
// A try whose answer was lost may have done something, whatever is said of a later one that did not: that error is given then.
func (c *Client) send(ctx context.Context, k *call) (*http.Response, error) {
	var unsure error
	for try := 1; ; try++ {
		resp, err := c.sendOnce(ctx, k)
		if mayHaveActed(err) {
			unsure = err
		}
		if err == nil || !k.repeat || try >= c.tries || !worthRepeating(err) || ctx.Err() != nil {
			return resp, honest(err, unsure)
		}
		if pause(ctx, retryAfter(err, try)) != nil {
			return nil, honest(err, unsure)
		}
	}
}

// mayHaveActed reports whether a try that failed may have done what was asked for.
func mayHaveActed(err error) bool { return errors.Is(err, errLost) || IsCode(err, "outcome_unknown") }

// honest is the error of all tries together: the last one's, if it settles what became of the command.
func honest(last, unsure error) error {
	if unsure != nil && (worthRepeating(last) || errors.Is(last, ErrUnreachable)) {
		return unsure
	}
	return last
}

func (c *Client) sendOnce(ctx context.Context, k *call) (*http.Response, error) {
	target := c.base.String() + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, bytes.NewReader(k.body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", k.method, k.path, err)
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	if key, ok := req.Header[wire.HeaderIdempotencyKey]; ok {
		// Under its canonical name net/http takes it as leave to send the request again by itself, on a connection that broke. Then nobody
		// would know that the answer is to a later try than the first.
		delete(req.Header, wire.HeaderIdempotencyKey)
		req.Header[strings.ToLower(wire.HeaderIdempotencyKey)] = key
	}
	req.Header.Set("User-Agent", c.agent)
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(ctx, k, err)
	}
	if resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problem(resp)
}

// transportError tells a server that is not there from an answer that was lost.
func (c *Client) transportError(ctx context.Context, k *call, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s %s: %w", k.method, k.path, cause)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base.Host, op.Err)
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base.Host, err)
	}
	return fmt.Errorf("%s %s: %w: %w", k.method, k.path, errLost, err)
}

func worthRepeating(err error) bool {
	if errors.Is(err, errLost) {
		return true
	}
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == http.StatusServiceUnavailable && p.Retryable
}

func retryAfter(err error, try int) time.Duration {
	if p, ok := errors.AsType[*Problem](err); ok && p.RetryAfter > 0 {
		return p.RetryAfter
	}
	return time.Duration(try) * 200 * time.Millisecond
}

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

// drain reads what is left, so that the connection can be used again.
func drain(body io.Reader) { _, _ = io.Copy(io.Discard, io.LimitReader(body, 64<<10)) }
