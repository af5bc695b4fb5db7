package supervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// renewals is how often within the idle timeout a running command says that its lease is in use: twice as often as it
// becomes an event.
const renewals = 2 * lease.RenewWindow

// launch is a command with all that its start needs.
type launch struct {
	driver drivers.Driver
	// right is that by which this process claims it.
	right   *eventstore.Ownership
	request drivers.ExecRequest
	// config and vars still refer to secrets; need are those, ofLease and own what comes after the environment's variables.
	config       json.RawMessage
	vars         map[string]domain.EnvValue
	need         commands.Need
	ofLease, own commands.Values
}

// prepare collects what the start of a command needs.
func (s *Supervisor) prepare(ctx context.Context, id domain.ExecID, x execution.State) (launch, error) {
	l, err := s.deps.Commands.Lease(ctx, x.Request.Lease)
	if err != nil {
		return launch{}, err
	}
	right, mine, err := s.turn(ctx, matter{of: x.Request.Lease.UUID, node: l.Node, target: target(l)})
	if err != nil || !mine {
		return launch{}, cmp.Or(err, errElsewhere)
	}
	driver, err := s.deps.Drivers.Resolve(target(l))
	if err != nil {
		return launch{right: right}, err
	}
	env, err := s.deps.Commands.EnvironmentAt(ctx, l.Environment, l.EnvironmentVersion)
	if err != nil {
		return launch{right: right}, err
	}
	need, err := s.need(l.Config, secretread.Read{
		Purpose: secretread.PurposeExec, Lease: x.Request.Lease, Exec: id, Environment: l.Environment,
	})
	if err != nil {
		return launch{right: right}, err
	}
	need.Refs = append(need.Refs, refsOf(env.EnvVars)...)
	ofLease, err := s.deps.Commands.Values(ctx, x.Request.Lease.UUID)
	if err != nil {
		return launch{right: right}, err
	}
	own, err := s.deps.Commands.Values(ctx, id.UUID)
	if err != nil {
		return launch{right: right}, err
	}
	if err := errors.Join(missing(l.Env, ofLease), missing(x.Request.Env, own)); err != nil {
		return launch{right: right}, &drivers.StartError{Stage: "environment", Code: "values_lost", Err: err, Remediation: "give the values again with a new lease"}
	}
	if int64(len(own.Stdin)) != x.Request.StdinBytes {
		return launch{right: right}, &drivers.StartError{
			Stage: "stdin", Code: "values_lost", Remediation: "give the input again with a new command",
			Err: fmt.Errorf("the input has %d bytes, not %d", len(own.Stdin), x.Request.StdinBytes),
		}
	}
	_, epoch := s.identity()
	l.Fence = fenceIn(epoch, l.Fence)
	return launch{
		driver: driver, right: right, config: l.Config, vars: env.EnvVars, need: need, ofLease: ofLease, own: own,
		request: drivers.ExecRequest{
			Handle: s.handle(x.Request.Lease, l, nil), ExecID: id.String(), Argv: x.Request.Argv, Cwd: x.Request.Cwd, Stdin: own.Stdin,
			Timeout: time.Duration(x.Request.TimeoutMs) * time.Millisecond, JournalDir: s.deps.JournalDir(id),
		},
	}, nil
}

// ready is the request with the secrets that the claim got.
func (s *Supervisor) ready(ctx context.Context, l launch, got commands.Got) (drivers.ExecRequest, error) {
	values, err := s.deps.Commands.Secrets(ctx, got)
	if err != nil {
		return l.request, err
	}
	if l.request.Config, err = commands.ReplaceSecretRefs(l.config, values); err != nil {
		return l.request, err
	}
	ofEnvironment, err := values.EnvVars(l.vars)
	if err != nil {
		return l.request, err
	}
	l.request.Env = variables(ofEnvironment, l.ofLease, l.own)
	return l.request, nil
}

// missing names the variables whose values are gone. A command never runs without a variable that it was promised.
func missing(names []domain.EnvName, values commands.Values) error {
	var problems []error
	for _, n := range names {
		if _, ok := values.Env[n.Name]; !ok {
			problems = append(problems, fmt.Errorf("the value of %q is not kept any more", n.Name))
		}
	}
	return errors.Join(problems...)
}

// variables are the environment's variables, the lease's and the command's own, in this order.
func variables(ofEnvironment map[string]string, values ...commands.Values) []drivers.EnvVar {
	var out []drivers.EnvVar
	add := func(vars map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(vars)) {
			out = append(out, drivers.EnvVar{Name: name, Value: vars[name]})
		}
	}
	add(ofEnvironment)
	for _, v := range values {
		add(v.Env)
	}
	return out
}
