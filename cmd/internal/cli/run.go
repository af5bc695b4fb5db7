package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

func (r *root) run() *cobra.Command {
	var acquire acquireFlags
	var x *execFlags
	var keep bool
	var cmd *cobra.Command
	cmd = r.companyFlag(r.verb(verb{
		use:   "run -- CMD...",
		short: "Lease an environment, run a command in it, give it back",
		long: "Without --env the server selects: the company's default environment, else its first one with the driver local.\n" +
			"The command's stdout and stderr are passed through as bytes, its exit code is this program's. The lease is\n" +
			"released whatever happens; an interruption first kills the command, a second one leaves at once. The command's\n" +
			"environment is built from nothing: what it needs beyond PATH and HOME is given with --var. With -o json, stdout\n" +
			"is one document with the output, how it ended, and the lease.",
		examples: [2]string{
			"tenure run --env local -- go version",
			"tenure run --env local --var CI=true --timeout 10m -- sh -c 'make test'",
		},
		exits:     exitsOfRemote,
		exitNotes: notesOfRemote,
		run: func(ctx context.Context, args []string) error {
			in, err := r.execRequest(cmd.Flags(), x, args)
			if err != nil {
				return err
			}
			if err := r.runOnce(ctx, &acquire, in, keep); err != nil {
				return &ownError{err}
			}
			return nil
		},
	}))
	f := cmd.Flags()
	// What follows the command's name is the command's, also without the two dashes.
	f.SetInterspersed(false)
	acquire.add(f)
	x = r.execFlags(f)
	f.DurationVar(&acquire.wait, "wait", 10*time.Minute, "how long to wait for the lease")
	f.BoolVar(&keep, "keep", false, "keep the lease and print its id to stderr")
	return cmd
}

// runOnce is one straight line on purpose: each step undoes the one before when it fails.
func (r *root) runOnce(ctx context.Context, flags *acquireFlags, in wire.StartExec, keep bool) error {
	c, err := r.api(ctx)
	if err != nil {
		return err
	}
	a, err := r.acquisition(ctx, c, flags)
	if err != nil {
		return err
	}
	acquired, err := a.ready(ctx, flags.wait)
	if err != nil {
		return err
	}
	lease := acquired.Lease
	fmt.Fprintf(r.progress(), "lease %s\n", lease.ID)
	if s := acquired.Selection; s != nil {
		fmt.Fprintf(r.progress(), "environment %s: %s\n", acquired.Environment.Name, s.Reason)
	}

	out := r.sink()
	x, err := r.execute(ctx, c, lease, in, out)
	if keep {
		fmt.Fprintf(r.Stderr, "lease %s is kept; give it back with: tenure lease release %s\n", lease.ID, lease.ID)
	} else {
		lease = r.giveBack(ctx, c, lease)
	}
	if err != nil {
		return err
	}
	if err := out.end(&lease, &x); err != nil {
		return &sinkError{err}
	}
	return r.exitOf(x)
}

// giveBack releases the lease and returns it as it then is. A release that does not get through is told and does not
// change the command's code: the lease ends by itself when it is not used.
func (r *root) giveBack(ctx context.Context, c *client.Client, lease wire.Lease) wire.Lease {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*cleanupTimeout)
	defer cancel()
	released, err := c.ReleaseLease(ctx, lease.ID, wire.Release{}, client.Wait(cleanupTimeout))
	problem, refused := errors.AsType[*client.Problem](err)
	switch {
	case refused && problem.Status < 500:
		// It has ended already, or is not ours any more.
		return lease
	case err != nil:
		r.warn("the lease was not released: %s; release it with: tenure lease release %s", err, lease.ID)
		return lease
	case !released.Ended():
		r.warn("lease %s is %s; its teardown goes on at the server", lease.ID, released.Status)
	}
	visible(ctx, released.Position, leasesOf(c, released.CompanyID, client.LeaseFilter{}))
	return released
}
