package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"

	"github.com/tenure-dev/tenure/api/client"
	"github.com/tenure-dev/tenure/api/wire"
)

// acquireFlags are what of a request for a lease comes from the command line.
type acquireFlags struct {
	in   wire.AcquireLease
	env  string
	wait time.Duration
	// weight is sent if it was given, whatever it is.
	weight int
	given  func(flag string) bool
}

func (a *acquireFlags) add(f *pflag.FlagSet) {
	f.StringVar(&a.env, "env", "", "`name` or id of the environment (default: the server selects)")
	f.StringVar(&a.in.HeartbeatRunID, "run", "", "your own `id` of the run (default: a new one)")
	f.StringVar(&a.in.IssueID, "issue", "", "`id` of the issue that the run works on")
	f.StringVar(&a.in.AgentID, "agent", "", "`id` of the agent that runs")
	f.StringVar(&a.in.ExecutionWorkspaceID, "workspace", "", "`id` of the execution workspace")
	f.StringVar(&a.in.ExecutionWorkspaceMode, "workspace-mode", "", "`mode` of the execution workspace")
	f.StringVar(&a.in.AdapterType, "adapter", "", "`type` of the adapter")
	f.StringVar(&a.in.LeasePolicy, "policy", "", "what becomes of the runtime afterwards: ephemeral, reuse_by_environment,\nreuse_by_execution_workspace or retain_on_failure (default: ephemeral)")
	f.StringVar(&a.in.RetainFor, "retain-for", "", "`duration` for which the policy keeps the runtime (default: 1h)")
	f.StringVar(&a.in.TTL, "ttl", "", "`duration` after which the lease ends in any case, such as 90m, cut to what the environment allows (default: 24h)")
	f.StringVar(&a.in.Priority, "priority", "", "`class` of the request while it waits for a slot: high, normal or low (default: normal)")
	f.StringVar(&a.in.FairnessKey, "fairness-key", "", "`key` that the request counts for; keys of one priority take turns (default: the agent)")
	f.IntVar(&a.weight, "weight", 1, "the key's share for this request, 1 to 100")
	f.StringVar(&a.in.QueueTimeout, "queue-timeout", "", "`duration` to wait for a slot at most, such as 10m; then the lease fails (default: no limit)")
	f.BoolVar(&a.in.NoWait, "no-wait", false, "take a slot that is free now, or fail")
	a.given = f.Changed
	f.StringVar(&a.in.IdleTimeout, "idle-timeout", "", "`duration` without use after which the lease ends (default: 1h)")
}

// acquisition is one request for a lease, which has one outcome however often it is sent.
type acquisition struct {
	r       *root
	c       *client.Client
	company uuid.UUID
	in      wire.AcquireLease
	key     string
}

func (r *root) acquisition(ctx context.Context, c *client.Client, flags *acquireFlags) (*acquisition, error) {
	for _, d := range [][2]string{
		{"ttl", flags.in.TTL}, {"idle-timeout", flags.in.IdleTimeout}, {"queue-timeout", flags.in.QueueTimeout}, {"retain-for", flags.in.RetainFor},
	} {
		if err := checkDuration(d[0], d[1]); err != nil {
			return nil, err
		}
	}
	if flags.given("weight") {
		flags.in.Weight = &flags.weight
	}
	if flags.in.NoWait && flags.in.QueueTimeout != "" {
		return nil, usagef("no-wait: waiting is limited by --queue-timeout too").mendBy("give one of the two")
	}
	a := &acquisition{r: r, c: c, in: flags.in, key: uuid.NewString()}
	if flags.env == "" {
		company, err := r.company(ctx, c)
		if err != nil {
			return nil, err
		}
		a.company = company.ID
	} else {
		env, err := r.environment(ctx, c, flags.env)
		if err != nil {
			return nil, err
		}
		a.company, a.in.EnvironmentID = env.CompanyID, env.ID
	}
	if a.in.HeartbeatRunID == "" {
		a.in.HeartbeatRunID = "cli-" + uuid.NewString()
	}
	return a, nil
}

const (
	// longestPoll is how long one request waits at the server.
	longestPoll = time.Minute
	// cleanupTimeout bounds what is still done after an interruption or a failure.
	cleanupTimeout = 20 * time.Second
	// shortPause keeps a server that answers at once, because it shuts down, from being asked without end.
	shortPause = 200 * time.Millisecond
)

// ready waits until the lease is active, at most the given time. If it does not become so, for whatever reason, the lease
// is given up: no caller needs to know of one that it was not granted.
func (a *acquisition) ready(ctx context.Context, most time.Duration) (wire.Acquired, error) {
	deadline := time.Now().Add(most)
	for {
		left := time.Until(deadline)
		acquired, ready, err := a.c.AcquireLease(ctx, a.company, a.in, client.IdempotencyKey(a.key), client.Wait(min(max(left, time.Second), longestPoll)))
		switch {
		case err != nil:
			return wire.Acquired{}, a.giveUp(ctx, err)
		case ready:
			return acquired, nil
		case time.Now().After(deadline):
			return wire.Acquired{}, a.giveUp(ctx, &plainError{
				exit: exitNotGranted, code: "not_granted",
				message: fmt.Sprintf("the lease was %s after %s and has been given up", acquired.Lease.Status, most),
				mend:    "wait longer with --wait, or see who is ahead and who holds the slots: tenure queue --env NAME, tenure lease list --status active",
			})
		}
		fmt.Fprintf(a.r.progress(), "lease %s is %s\n", acquired.Lease.ID, acquired.Lease.Status)
		if err := pause(ctx, shortPause); err != nil {
			return wire.Acquired{}, a.giveUp(ctx, err)
		}
	}
}

// giveUp makes sure that a request whose outcome is not wanted any more leaves no lease. The same request with the same
// key tells which lease it was, also when the first answer never came.
func (a *acquisition) giveUp(ctx context.Context, cause error) error {
	if problem, ok := errors.AsType[*client.Problem](cause); ok && problem.Status < 500 || errors.Is(cause, client.ErrUnreachable) {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	acquired, _, err := a.c.AcquireLease(ctx, a.company, a.in, client.IdempotencyKey(a.key))
	if err == nil {
		_, err = a.c.ReleaseLease(ctx, acquired.Lease.ID, wire.Release{Message: "given up before it was active"}, client.Wait(cleanupTimeout/2))
	}
	if problem, ok := errors.AsType[*client.Problem](err); err != nil && (!ok || problem.Status >= 500) {
		a.r.warn("the lease may remain until it expires: %s; look with: tenure lease list --run %s", err, a.in.HeartbeatRunID)
	}
	return cause
}

// warn says what went wrong beside the result.
func (r *root) warn(format string, args ...any) {
	fmt.Fprintf(r.Stderr, "%s: warning: %s\n", programName, clean(fmt.Sprintf(format, args...)))
}

// pause waits, unless the context ends first.
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

// checkDuration refuses what is no duration; "" is none.
func checkDuration(flag, text string) error {
	if v, err := time.ParseDuration(text); text != "" && (err != nil || v <= 0) {
		return usagef("%s: %q is not a duration above 0", flag, text).mendBy("give one such as 90m or 24h")
	}
	return nil
}
