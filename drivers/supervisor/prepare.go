package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/execution"
	"github.com/tenure-dev/tenure/domain/lease"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

// renewals is how often within the idle timeout a running command says that its lease is in use: twice as often as it
// becomes an event.
const renewals = 2 * lease.RenewWindow

// launch is a command with all that its start needs.
type launch struct {
	driver  drivers.Driver
	request drivers.ExecRequest
}

// prepare collects what the start of a command needs.
func (s *Supervisor) prepare(ctx context.Context, id domain.ExecID, x execution.State) (launch, error) {
	l, err := s.deps.Commands.Lease(ctx, x.Request.Lease)
	if err != nil {
		return launch{}, err
	}
	driver, err := s.deps.Drivers.Resolve(target(l))
	if err != nil {
		return launch{}, err
	}
	if elsewhere, err := s.elsewhere(ctx, l); err != nil || elsewhere {
		return launch{}, cmp.Or(err, errElsewhere)
	}
	env, err := s.deps.Commands.EnvironmentAt(ctx, l.Environment, l.EnvironmentVersion)
	if err != nil {
		return launch{}, err
	}
	ofEnvironment, err := plain(env.EnvVars)
	if err != nil {
		return launch{}, err
	}
	ofLease, err := s.deps.Commands.Values(ctx, x.Request.Lease.UUID)
	if err != nil {
		return launch{}, err
	}
	own, err := s.deps.Commands.Values(ctx, id.UUID)
	if err != nil {
		return launch{}, err
	}
	if err := errors.Join(missing(l.Env, ofLease), missing(x.Request.Env, own)); err != nil {
		return launch{}, &drivers.StartError{Stage: "environment", Code: "values_lost", Err: err, Remediation: "give the values again with a new lease"}
	}
	if int64(len(own.Stdin)) != x.Request.StdinBytes {
		return launch{}, &drivers.StartError{
			Stage: "stdin", Code: "values_lost", Remediation: "give the input again with a new command",
			Err: fmt.Errorf("the input has %d bytes, not %d", len(own.Stdin), x.Request.StdinBytes),
		}
	}
	return launch{driver: driver, request: drivers.ExecRequest{
		Handle: s.handle(x.Request.Lease, l), ExecID: id.String(), Argv: x.Request.Argv, Cwd: x.Request.Cwd,
		Env: variables(ofEnvironment, ofLease, own), Stdin: own.Stdin,
		Timeout: time.Duration(x.Request.TimeoutMs) * time.Millisecond, JournalDir: s.deps.JournalDir(id),
	}}, nil
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

// plain are variables without references to secrets. What a reference says never reaches a process.
func plain(vars map[string]domain.EnvValue) (map[string]string, error) {
	out := make(map[string]string, len(vars))
	for name, v := range vars {
		if !v.Ref.IsZero() {
			return nil, &drivers.StartError{
				Stage: "environment", Code: "secret_unresolved", Err: fmt.Errorf("the variable %q refers to a secret, whose value is not here", name),
				Remediation: "give the variable a plain value",
			}
		}
		out[name] = v.Plain
	}
	return out, nil
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
