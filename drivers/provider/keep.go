package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenure-dev/tenure/drivers"
)

// Of a provider on the published SDK, which knows no fences, nothing more is promised than that it confirms the end of the work
// at a release and finds its own name for the runtime again at a resume: what a worker that lost its lease still asks of it
// is for the engine's log alone to refuse.

// Keep implements [drivers.Keeper]. A provider that does not confirm that it keeps the runtime has failed.
func (d *Driver) Keep(ctx context.Context, req drivers.KeepRequest) error {
	config, _, err := d.shape.open(req.Config)
	if err != nil {
		return drivers.BadConfig(err)
	}
	hidden := secretsOf(d.offer, config)
	worker, err := d.offer.Worker(ctx)
	if err != nil {
		return hidden.clean(err)
	}
	receipt, err := worker.Release(ctx, EndRequest{
		LeaseRequest: d.leaseOf(req.Handle, config), CancelActiveWork: true, Keep: true, Stop: req.Stop, Attempt: req.Attempt,
	})
	if err != nil {
		return hidden.clean(repeatable(err))
	}
	if receipt.State == ReceiptDestroyed {
		return fmt.Errorf("the provider did not keep it: %w", drivers.ErrGone)
	}
	return nil
}

// Resume implements [drivers.Keeper].
func (d *Driver) Resume(ctx context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	config, envelope, err := d.shape.open(req.Config)
	if err != nil {
		return drivers.Runtime{}, drivers.BadConfig(err)
	}
	hidden := secretsOf(d.offer, config)
	worker, err := d.offer.Worker(ctx)
	if err != nil {
		return drivers.Runtime{}, hidden.clean(err)
	}
	of := LeaseRequest{
		Scope: Scope{CompanyID: req.CompanyID, EnvironmentID: req.EnvironmentID, IssueID: req.IssueID, Config: config},
		Token: Token{RuntimeID: req.RuntimeID, Installation: req.Installation, LeaseID: req.LeaseID, Fence: req.Fence},
		Lease: Lease{ProviderLeaseID: req.ProviderLeaseID},
	}
	if len(req.Metadata) > 0 {
		of.Lease.Metadata = d.shape.Said(req.Metadata)
	}
	lease, err := worker.Resume(ctx, ResumeRequest{
		LeaseRequest: of, Attempt: req.Attempt, Epoch: req.Epoch, RunID: req.RunID, AgentID: req.AgentID,
		ExecutionWorkspaceID: req.ExecutionWorkspaceID, ExecutionWorkspaceMode: req.ExecutionWorkspaceMode, AdapterType: req.AdapterType,
	})
	if err != nil {
		return drivers.Runtime{}, hidden.clean(repeatable(err))
	}
	if len(lease.Metadata) == 0 {
		lease.Metadata = of.Lease.Metadata // it is the same runtime, and nothing new was said of it
	}
	of.Lease = lease
	url, err := d.findURL(ctx, worker, of, envelope)
	if err != nil {
		return drivers.Runtime{}, hidden.clean(err) // the runtime is left as it is: it was not made for this lease
	}
	stored, _, err := d.shape.open(req.StoredConfig)
	if err != nil {
		stored = nil // it is for show only
	}
	d.late.holds(req.RuntimeID, lease)
	return drivers.Runtime{
		ProviderLeaseID: lease.ProviderLeaseID, Resumed: true,
		Metadata: d.shape.Metadata(d.about, stored, hidden.strip(lease.Metadata), url),
	}, nil
}

// repeatable is the error of a verb that may be asked again whatever became of it.
func repeatable(err error) error {
	f, ok := errors.AsType[*drivers.Failure](err)
	if !ok || f.Outcome != drivers.OutcomeAmbiguous {
		return err
	}
	again := *f
	again.Outcome = drivers.OutcomeRetryable
	return &again
}
