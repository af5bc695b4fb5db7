package client

import (
	"context"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

func secretsPath(company uuid.UUID) string { return v1 + "/companies/" + company.String() + "/secrets" }

func secretPath(id uuid.UUID) string { return v1 + "/secrets/" + id.String() }

// AddSecret adds a secret to a company. No answer ever has its value.
func (c *Client) AddSecret(ctx context.Context, company uuid.UUID, in wire.AddSecret, opts ...CallOption) (wire.Secret, error) {
	return post[wire.Secret](ctx, c, secretsPath(company), in, opts)
}

// Secrets lists the secrets of a company.
func (c *Client) Secrets(ctx context.Context, company uuid.UUID, opts ...CallOption) (wire.List[wire.Secret], error) {
	return get[wire.List[wire.Secret]](ctx, c, secretsPath(company), opts)
}

// Secret returns a secret as it is in the log now.
func (c *Client) Secret(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Secret, error) {
	return get[wire.Secret](ctx, c, secretPath(id), opts)
}

// AddSecretVersion gives a secret a new value, which is the latest from then on.
func (c *Client) AddSecretVersion(ctx context.Context, id uuid.UUID, in wire.AddSecretVersion, opts ...CallOption) (wire.Secret, error) {
	return post[wire.Secret](ctx, c, secretPath(id)+"/versions", in, opts)
}

// DisableSecretVersion takes a version out of use.
func (c *Client) DisableSecretVersion(ctx context.Context, id uuid.UUID, version int, opts ...CallOption) (wire.Secret, error) {
	return c.onSecretVersion(ctx, id, version, "disable", opts)
}

// EnableSecretVersion puts a disabled version back into use.
func (c *Client) EnableSecretVersion(ctx context.Context, id uuid.UUID, version int, opts ...CallOption) (wire.Secret, error) {
	return c.onSecretVersion(ctx, id, version, "enable", opts)
}

// Force destroys a secret or a version of it although leases that are not over need it.
func Force() CallOption { return func(k *call) { k.query.Set("force", "true") } }

// DestroySecretVersion ends a version, and its value, for good. Leases that need it stand in the way, unless [Force].
func (c *Client) DestroySecretVersion(ctx context.Context, id uuid.UUID, version int, opts ...CallOption) (wire.Secret, error) {
	return c.onSecretVersion(ctx, id, version, "destroy", opts)
}

func (c *Client) onSecretVersion(ctx context.Context, id uuid.UUID, version int, verb string, opts []CallOption) (wire.Secret, error) {
	return post[wire.Secret](ctx, c, secretPath(id)+"/versions/"+strconv.Itoa(version)+"/"+verb, nil, opts)
}

// DestroySecret ends a secret, and all its values, for good. Leases that need it stand in the way, unless [Force]. Doing so
// again changes nothing.
func (c *Client) DestroySecret(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Secret, error) {
	var out wire.Secret
	k, err := newCall(http.MethodDelete, secretPath(id), nil, opts)
	if err != nil {
		return out, err
	}
	k.repeat = true
	_, err = c.do(ctx, k, &out)
	return out, err
}

// SecretReads lists who read a secret, the oldest read first.
func (c *Client) SecretReads(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.List[wire.SecretRead], error) {
	return get[wire.List[wire.SecretRead]](ctx, c, secretPath(id)+"/reads", opts)
}
