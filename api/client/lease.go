package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/api/wire"
)

// AcquireLease asks for a lease. With [Wait] it answers once the lease is active (ready is true) or the time is over; a
// lease that ends before it is active is a [*Problem] with the code lease_failed and the lease in it.
func (c *Client) AcquireLease(
	ctx context.Context, company uuid.UUID, in wire.AcquireLease, opts ...CallOption,
) (acquired wire.Acquired, ready bool, err error) {
	out, status, err := command[wire.Acquired](ctx, c, v1+"/companies/"+company.String()+"/leases", in, opts)
	return out, err == nil && status == http.StatusCreated, err
}

// LeaseFilter picks leases; a zero field picks all.
type LeaseFilter struct {
	Status         string
	EnvironmentID  uuid.UUID
	HeartbeatRunID string
}

// Leases lists leases of a company, the newest first. See [Page] and [MinPosition].
func (c *Client) Leases(ctx context.Context, company uuid.UUID, f LeaseFilter, opts ...CallOption) (wire.List[wire.Lease], error) {
	opts = append([]CallOption{func(k *call) {
		if f.Status != "" {
			k.query.Set("status", f.Status)
		}
		if f.EnvironmentID != uuid.Nil {
			k.query.Set("environmentId", f.EnvironmentID.String())
		}
		if f.HeartbeatRunID != "" {
			k.query.Set("heartbeatRunId", f.HeartbeatRunID)
		}
	}}, opts...)
	return get[wire.List[wire.Lease]](ctx, c, v1+"/companies/"+company.String()+"/leases", opts)
}

func leasePath(id uuid.UUID) string { return v1 + "/leases/" + id.String() }

// Lease returns a lease as it is in the log now. With [Wait] it answers once the lease is active or has ended.
func (c *Client) Lease(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Lease, error) {
	return get[wire.Lease](ctx, c, leasePath(id), opts)
}

// ExplainLease says why a lease is where it is.
func (c *Client) ExplainLease(ctx context.Context, id uuid.UUID) (wire.Explanation, error) {
	return get[wire.Explanation](ctx, c, leasePath(id)+"/explain", nil)
}

// Queue returns who waits for a slot of an environment, in the order of grants. [Page] bounds how many.
func (c *Client) Queue(ctx context.Context, env uuid.UUID, opts ...CallOption) (wire.Queue, error) {
	return get[wire.Queue](ctx, c, v1+"/environments/"+env.String()+"/queue", opts)
}

// ReleaseLease asks to take a lease down. With [Wait] it answers once it has ended or the time is over.
func (c *Client) ReleaseLease(ctx context.Context, id uuid.UUID, in wire.Release, opts ...CallOption) (wire.Lease, error) {
	return post[wire.Lease](ctx, c, leasePath(id)+"/release", in, opts)
}

// CancelLease gives up a lease that is not active yet.
func (c *Client) CancelLease(ctx context.Context, id uuid.UUID, in wire.Cancel, opts ...CallOption) (wire.Lease, error) {
	return post[wire.Lease](ctx, c, leasePath(id)+"/cancel", in, opts)
}

// RenewLease says that the lease with this fence is in use; the answer has RemainingMs.
func (c *Client) RenewLease(ctx context.Context, id uuid.UUID, fence int64, opts ...CallOption) (wire.Lease, error) {
	return post[wire.Lease](ctx, c, leasePath(id)+"/renew", nil, append([]CallOption{Fence(fence)}, opts...))
}

// RenewLeaseFor is RenewLease with what more the renewal asks for.
func (c *Client) RenewLeaseFor(ctx context.Context, id uuid.UUID, fence int64, in wire.Renew, opts ...CallOption) (wire.Lease, error) {
	return post[wire.Lease](ctx, c, leasePath(id)+"/renew", in, append([]CallOption{Fence(fence)}, opts...))
}

// ReleaseRun releases every lease of a run and returns those that this call asked to release, as they are after the
// teardown or after 30 s. [Wait] changes the time.
func (c *Client) ReleaseRun(ctx context.Context, company uuid.UUID, run string, in wire.Release, opts ...CallOption) (wire.RunReleased, error) {
	return post[wire.RunReleased](ctx, c, v1+"/companies/"+company.String()+"/runs/"+url.PathEscape(run)+"/release", in, opts)
}

// LeaseEvents returns a lease's events; [Page] goes on after a position.
func (c *Client) LeaseEvents(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.List[wire.Event], error) {
	return get[wire.List[wire.Event]](ctx, c, leasePath(id)+"/events", opts)
}

// StartExec asks to run a command in the active lease with this fence.
func (c *Client) StartExec(ctx context.Context, lease uuid.UUID, fence int64, in wire.StartExec, opts ...CallOption) (wire.Exec, error) {
	return post[wire.Exec](ctx, c, leasePath(lease)+"/execs", in, append([]CallOption{Fence(fence)}, opts...))
}

// Execs lists the commands of a lease, the newest first.
func (c *Client) Execs(ctx context.Context, lease uuid.UUID, opts ...CallOption) (wire.List[wire.Exec], error) {
	return get[wire.List[wire.Exec]](ctx, c, leasePath(lease)+"/execs", opts)
}

// Exec returns a command as it is in the log now. With [Wait] it answers once it has ended or the time is over.
func (c *Client) Exec(ctx context.Context, id uuid.UUID, opts ...CallOption) (wire.Exec, error) {
	return get[wire.Exec](ctx, c, v1+"/execs/"+id.String(), opts)
}

// KillExec asks to end a command.
func (c *Client) KillExec(ctx context.Context, id uuid.UUID, in wire.KillExec, opts ...CallOption) (wire.Exec, error) {
	return post[wire.Exec](ctx, c, v1+"/execs/"+id.String()+"/kill", in, opts)
}
