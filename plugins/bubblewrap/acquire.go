package bubblewrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/rundir"
	"github.com/tenure-dev/tenure/plugins/cgroup"
)

// endLimit bounds the wait for a cgroup to be empty.
const endLimit = 10 * time.Second

// Acquire implements [drivers.Driver]. The metadata says where the workspace is in the sandbox, which network there is, and
// which limits are kept or not.
func (d *Driver) Acquire(ctx context.Context, req drivers.AcquireRequest) (drivers.Runtime, error) {
	if err := rundir.CheckID(req.RuntimeID); err != nil {
		return drivers.Runtime{}, err
	}
	config, err := decodeConfig(req.Config)
	if err != nil {
		return drivers.Runtime{}, badConfig(err)
	}
	if err := d.ready(config); err != nil {
		return drivers.Runtime{}, err
	}
	got, err := d.runtimes.Acquire(ctx, req)
	if err != nil {
		return drivers.Runtime{}, err
	}
	if err := d.makeGroup(req.RuntimeID, config); err != nil {
		return drivers.Runtime{}, d.withoutLimits(ctx, req, got.Resumed, err)
	}
	return d.runtime(req.RuntimeID, config, got), nil
}

func (d *Driver) runtime(runtimeID string, config Config, got rundir.Acquired) drivers.Runtime {
	name := "bubblewrap://" + runtimeID
	return drivers.Runtime{ProviderLeaseID: &name, Metadata: d.metadata(config, got.Identity), Resumed: got.Resumed}
}

// withoutLimits takes back a runtime whose limits could not be set.
func (d *Driver) withoutLimits(ctx context.Context, req drivers.AcquireRequest, resumed bool, err error) error {
	f := &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "limits_unavailable", Step: "make_cgroup", Remediation: limitsRemediation, Err: err,
	}
	if resumed {
		f.Outcome = drivers.OutcomeRetryable // it is not this call's to remove
		return f
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*endLimit)
	defer cancel()
	handle := drivers.Handle{RuntimeID: req.RuntimeID, Config: req.Config}
	if err := d.Release(ctx, drivers.ReleaseRequest{Handle: handle, Attempt: 1}); err != nil {
		f.Outcome, f.Err = drivers.OutcomeRetryable, errors.Join(f.Err, err)
	}
	return f
}

// ready refuses what cannot work, before anything is made.
func (d *Driver) ready(config Config) error {
	definite := func(step, code, remediation string, err error) error {
		return &drivers.Failure{
			Outcome: drivers.OutcomeDefinite, Code: code, Step: step, Remediation: remediation, Err: err,
		}
	}
	if _, err := os.Stat(d.opts.Bwrap); err != nil {
		return definite("find_bwrap", "bwrap_missing", "install the package bubblewrap on the machine of this worker", err)
	}
	if _, err := d.checkPaths(config); err != nil {
		return badConfig(err)
	}
	missing := d.opts.Cgroups.Missing(config.limits())
	if len(missing) > 0 && config.Limits != LimitsBestEffort {
		return definite("check_limits", "limits_unavailable", limitsRemediation,
			fmt.Errorf("limits that cannot be kept on this machine (cgroups: %s): %s", d.opts.Cgroups.Version(), fieldsOf(missing)))
	}
	return nil
}

const limitsRemediation = "let the engine delegate writable cgroups to this worker (start it as root, or in a delegated systemd unit), " +
	`or leave these limits out, or set "limits": "best_effort"`

// fieldsOf names the fields of the configuration that controllers stand for.
func fieldsOf(controllers []string) string {
	return strings.Join(limitFields(controllers), ", ")
}

func limitFields(controllers []string) []string {
	names := map[string]string{cgroup.Memory: "memoryMb", cgroup.Pids: "pids", cgroup.CPU: "cpus"}
	fields := make([]string, 0, len(controllers))
	for _, c := range controllers {
		fields = append(fields, names[c])
	}
	return fields
}

func badConfig(err error) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "bad_config", Step: "check_config",
		Remediation: "correct the environment's configuration", Err: err,
	}
}

// metadata depends on nothing but the configuration, this machine and which runtime it is.
func (d *Driver) metadata(config Config, identity string) []byte {
	fields := map[string]any{
		drivers.IdentityKey: identity,
		"workspace":         workspacePath, "network": config.Network, "cgroups": d.opts.Cgroups.Version(),
	}
	limits := map[string]any{}
	if config.MemoryMb > 0 {
		limits["memoryMb"] = config.MemoryMb
	}
	if config.Pids > 0 {
		limits["pids"] = config.Pids
	}
	if config.CPUs > 0 {
		limits["cpus"] = config.CPUs
	}
	missing := limitFields(d.opts.Cgroups.Missing(config.limits()))
	for _, field := range missing {
		delete(limits, field)
	}
	if config.TimeoutMs > 0 {
		limits["timeoutMs"] = config.TimeoutMs
	}
	fields["limits"] = limits
	if len(missing) > 0 {
		fields["limitsNotEnforced"] = missing
	}
	return drivers.Metadata(fields)
}

// group is the cgroup of a runtime.
func (d *Driver) group(runtimeID string) *cgroup.Group {
	return d.opts.Cgroups.Group("rt-" + runtimeID)
}

// makeGroup makes the cgroup if there are limits, also again: a cgroup does not outlive a restart of the machine.
func (d *Driver) makeGroup(runtimeID string, config Config) error {
	if config.limits().None() {
		return nil
	}
	uid, gid := d.opts.user()
	return d.group(runtimeID).Make(config.limits(), uid, gid)
}

// Release implements [drivers.Driver].
func (d *Driver) Release(ctx context.Context, req drivers.ReleaseRequest) error {
	return d.runtimes.Release(ctx, req.RuntimeID, req.Fence, func(ctx context.Context) error { return d.endGroup(ctx, req.RuntimeID, true) })
}

// Keep implements [drivers.Keeper]. Stopped, a runtime has no cgroup either.
func (d *Driver) Keep(ctx context.Context, req drivers.KeepRequest) error {
	return d.runtimes.Keep(ctx, req, func(ctx context.Context) error { return d.endGroup(ctx, req.RuntimeID, req.Stop) })
}

// Resume implements [drivers.Keeper]. The limits are those of the new holder's configuration.
func (d *Driver) Resume(ctx context.Context, req drivers.ResumeRequest) (drivers.Runtime, error) {
	config, err := decodeConfig(req.Config)
	if err != nil {
		return drivers.Runtime{}, badConfig(err)
	}
	identity, err := d.runtimes.Resume(ctx, req, func() error {
		if err := d.ready(config); err != nil {
			return err
		}
		if err := d.makeGroup(req.RuntimeID, config); err != nil {
			return &drivers.Failure{
				Outcome: drivers.OutcomeRetryable, Code: "limits_unavailable", Step: "make_cgroup", Remediation: limitsRemediation, Err: err,
			}
		}
		return nil
	})
	if err != nil {
		return drivers.Runtime{}, err
	}
	return d.runtime(req.RuntimeID, config, rundir.Acquired{Resumed: true, Identity: identity}), nil
}

// endGroup ends what is in the runtime's cgroup, and removes it if it is not needed any more.
func (d *Driver) endGroup(ctx context.Context, runtimeID string, remove bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endLimit, errors.New("its processes do not end"))
	defer cancel()
	g := d.group(runtimeID)
	err := g.Kill(ctx)
	if err == nil && remove {
		err = g.Remove(ctx)
	}
	if err != nil {
		return &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "processes_left", Step: "remove_cgroup", Err: err,
			Remediation: "it is tried again; a process that does not end is stuck in the kernel",
		}
	}
	return nil
}

// ListRuntimes implements [drivers.Lister]. It includes what a crashed Release left half removed.
func (d *Driver) ListRuntimes(_ context.Context, req drivers.ListRequest) ([]drivers.ListedRuntime, error) {
	listed, err := d.runtimes.List(req.Installation)
	if err != nil {
		return nil, &drivers.Failure{
			Outcome: drivers.OutcomeRetryable, Code: "io_error", Step: "list", Err: err,
			Remediation: "let the worker read its data directory",
		}
	}
	for i := range listed {
		name := "bubblewrap://" + listed[i].RuntimeID
		listed[i].ProviderLeaseID = &name
	}
	return listed, nil
}
