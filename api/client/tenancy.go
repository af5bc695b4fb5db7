package client

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

const v1 = "/api/v1"

func get[T any](ctx context.Context, c *Client, path string, opts []CallOption) (T, error) {
	var out T
	k, err := newCall(http.MethodGet, path, nil, opts)
	if err == nil {
		_, err = c.do(ctx, k, &out)
	}
	return out, err
}

// command sends one that has one outcome however often it is sent.
func command[T any](ctx context.Context, c *Client, path string, body any, opts []CallOption) (out T, status int, err error) {
	k, err := newCall(http.MethodPost, path, body, opts)
	if err != nil {
		return out, 0, err
	}
	k.idempotent()
	status, err = c.do(ctx, k, &out)
	return out, status, err
}

func post[T any](ctx context.Context, c *Client, path string, body any, opts []CallOption) (T, error) {
	out, _, err := command[T](ctx, c, path, body, opts)
	return out, err
}

// Health says whether the server can serve; it needs no key. A server that cannot is a [*Problem] with status 503.
func (c *Client) Health(ctx context.Context) (wire.Health, error) {
	k, err := newCall(http.MethodGet, "/api/health", nil, nil)
	if err != nil {
		return wire.Health{}, err
	}
	k.repeat = false
	var out wire.Health
	_, err = c.do(ctx, k, &out)
	return out, err
}

// AddCompany adds a company.
func (c *Client) AddCompany(ctx context.Context, in wire.AddCompany, opts ...CallOption) (wire.Company, error) {
	return post[wire.Company](ctx, c, v1+"/companies", in, opts)
}

// Companies lists the companies that the key reaches.
func (c *Client) Companies(ctx context.Context, opts ...CallOption) (wire.List[wire.Company], error) {
	return get[wire.List[wire.Company]](ctx, c, v1+"/companies", opts)
}

// PatchCompany changes settings by a merge patch (RFC 7396): patch is anything that encodes as a JSON object. With [IfMatch]
// it applies to that version only.
func (c *Client) PatchCompany(ctx context.Context, id uuid.UUID, patch any, opts ...CallOption) (wire.Company, error) {
	return patched[wire.Company](ctx, c, v1+"/companies/"+id.String(), patch, opts)
}

// AddKey adds a key for one company; with uuid.Nil, for every one. It is not repeated by itself, since the answer has the
// key, which is shown once.
func (c *Client) AddKey(ctx context.Context, company uuid.UUID, in wire.AddKey, opts ...CallOption) (wire.Key, error) {
	var out wire.Key
	k, err := newCall(http.MethodPost, keysPath(company), in, opts)
	if err == nil {
		_, err = c.do(ctx, k, &out)
	}
	return out, err
}

// Keys lists the keys of a company; with uuid.Nil, all keys, also those that reach every company.
func (c *Client) Keys(ctx context.Context, company uuid.UUID, opts ...CallOption) (wire.List[wire.Key], error) {
	return get[wire.List[wire.Key]](ctx, c, keysPath(company), opts)
}

func keysPath(company uuid.UUID) string {
	if company == uuid.Nil {
		return v1 + "/keys"
	}
	return v1 + "/companies/" + company.String() + "/keys"
}

// RevokeKey ends a key. Doing so again changes nothing.
func (c *Client) RevokeKey(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Key, error) {
	return post[wire.Key](ctx, c, v1+"/keys/"+id.String()+"/revoke", nil, opts)
}

// AddEnvironment adds an environment to a company.
func (c *Client) AddEnvironment(ctx context.Context, company uuid.UUID, in wire.AddEnvironment, opts ...CallOption) (wire.Environment, error) {
	return post[wire.Environment](ctx, c, v1+"/companies/"+company.String()+"/environments", in, opts)
}

// Environments lists the environments of a company.
func (c *Client) Environments(ctx context.Context, company uuid.UUID, opts ...CallOption) (wire.List[wire.Environment], error) {
	return get[wire.List[wire.Environment]](ctx, c, v1+"/companies/"+company.String()+"/environments", opts)
}

// Environment returns an environment as it is in the log now.
func (c *Client) Environment(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Environment, error) {
	return get[wire.Environment](ctx, c, v1+"/environments/"+id.String(), opts)
}

// PatchEnvironment changes settings by a merge patch (RFC 7396): patch is anything that encodes as a JSON object. With
// [IfMatch] it applies to that version only.
func (c *Client) PatchEnvironment(ctx context.Context, id uuid.UUID, patch any, opts ...CallOption) (wire.Environment, error) {
	return patched[wire.Environment](ctx, c, v1+"/environments/"+id.String(), patch, opts)
}

func patched[T any](ctx context.Context, c *Client, path string, patch any, opts []CallOption) (T, error) {
	var out T
	k, err := newCall(http.MethodPatch, path, patch, opts)
	if err != nil {
		return out, err
	}
	k.header.Set("Content-Type", wire.TypeMergePatch)
	_, err = c.do(ctx, k, &out)
	return out, err
}

// ArchiveEnvironment lets an environment take no new leases. Leases that it has stand in the way, unless they are to be taken
// down first: then the answer says archiving until they are; with [Wait] it comes when that is done.
func (c *Client) ArchiveEnvironment(ctx context.Context, id uuid.UUID, in wire.RetireEnvironment, opts ...CallOption) (wire.Environment, error) {
	return post[wire.Environment](ctx, c, v1+"/environments/"+id.String()+"/archive", in, opts)
}

// DeleteEnvironment ends an environment for good, as [Client.ArchiveEnvironment] does.
func (c *Client) DeleteEnvironment(ctx context.Context, id uuid.UUID, in wire.RetireEnvironment, opts ...CallOption) (wire.Environment, error) {
	var out wire.Environment
	k, err := newCall(http.MethodDelete, v1+"/environments/"+id.String(), nil, opts)
	if err != nil {
		return out, err
	}
	k.idempotent()
	if in.Force {
		k.query.Set("force", "true")
	}
	_, err = c.do(ctx, k, &out)
	return out, err
}
