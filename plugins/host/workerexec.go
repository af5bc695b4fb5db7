package host

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/provider"
	"github.com/tenure-dev/tenure/plugins/protocol"
)

// StartExec implements [provider.Worker].
func (w *worker) StartExec(ctx context.Context, req provider.StartRequest) (drivers.Exec, error) {
	if !w.serves(verbStart) {
		return nil, fmt.Errorf("driver %q: exec: %w", w.driver.Key, drivers.ErrUnsupported)
	}
	c, x := w.child, req.Exec
	window := c.plugin.opts.OutputWindow
	hidden := append(envSecrets(x.Env), secretsOf(w.driver, req.Config)...)
	release := c.secrets.hold(hidden...)
	e, err := c.begin(x, window, release)
	if err != nil {
		release()
		return nil, err
	}
	params := protocol.ExecStartParams{
		LeaseParams: w.lease(req.LeaseRequest), ExecID: x.ExecID, Cwd: []byte(x.Cwd), Stdin: x.Stdin,
		TimeoutMs: milliseconds(x.Timeout), GraceMs: milliseconds(x.Grace), Credit: window,
	}
	for _, arg := range x.Argv {
		params.Argv = append(params.Argv, []byte(arg))
	}
	for _, v := range x.Env {
		params.Env = append(params.Env, protocol.ExecValue{Name: []byte(v.Name), Value: []byte(v.Value)})
	}
	var got protocol.ExecStartResult
	err = w.do(ctx, call{verb: verbStart, scope: req.Scope, limit: c.plugin.opts.Timeouts.ExecStart}, params, &got)
	if err == nil {
		e.process = drivers.Process{PID: got.PID, StartTime: got.StartTime, BootID: c.secrets.quote(got.BootID, 100)}
		return e, nil
	}
	if drivers.OutcomeOf(err) != drivers.OutcomeAmbiguous {
		e.abort()
		return nil, notStarted(err)
	}
	// It may have started and may run on: the only thing that is certain is that its end will not be known here.
	go func() {
		kill, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
		defer cancel()
		_ = c.conn.Call(kill, protocol.MethodExecKill, protocol.ExecKillParams{ExecID: x.ExecID, Why: "its start was not confirmed"}, nil) // it may be gone
		e.finish(unknownEnd("whether it started is not known: " + err.Error()))
	}()
	return e, nil
}

// notStarted is the error of a command that certainly did not start.
func notStarted(err error) error {
	if _, ok := errors.AsType[*drivers.StartError](err); ok {
		return err
	}
	s := &drivers.StartError{Stage: "worker", Code: "worker_unavailable", Err: err}
	if f, ok := errors.AsType[*drivers.Failure](err); ok {
		s.Code, s.Remediation = f.Code, f.Remediation
	}
	return s
}

// milliseconds rounds up, so that a short limit does not become none.
func milliseconds(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

// Execute implements [provider.Worker].
func (w *worker) Execute(ctx context.Context, req provider.ExecuteRequest) (provider.ExecuteResult, error) {
	params := protocol.ExecuteParams{
		Base: w.base(req.Scope), Cwd: req.Cwd, Args: req.Argv[1:], Command: req.Argv[0], TimeoutMs: milliseconds(req.Timeout),
		Lease: protocol.Lease{ProviderLeaseID: req.Lease.ProviderLeaseID, Metadata: req.Lease.Metadata}, Env: make(map[string]string, len(req.Env)),
		Tenure: w.token(req.Token, 0, 0),
	}
	if err := plainText(req); err != nil {
		return provider.ExecuteResult{}, err
	}
	for _, v := range req.Env {
		params.Env[v.Name] = v.Value
	}
	if req.Stdin != nil {
		text := string(req.Stdin)
		params.Stdin = &text
	}
	k := call{verb: verbExecute, scope: req.Scope, hidden: envSecrets(req.Env)}
	if req.Timeout > 0 {
		k.limit = req.Timeout + w.child.plugin.opts.Timeouts.ExecuteMargin
	}
	if req.Output != nil {
		k.relay = newRelay(req.Output)
		defer k.relay.close()
	}
	var got protocol.ExecuteResult
	if err := w.do(ctx, k, params, &got); err != nil {
		return provider.ExecuteResult{}, err
	}
	result := provider.ExecuteResult{ExitCode: got.ExitCode, TimedOut: got.TimedOut, Stdout: []byte(got.Stdout), Stderr: []byte(got.Stderr)}
	if got.Signal != nil {
		result.Signal = w.child.secrets.quote(*got.Signal, 100)
	}
	return result, nil
}

// plainText refuses what the protocol, which carries text, would change.
func plainText(req provider.ExecuteRequest) error {
	ok := utf8.Valid(req.Stdin) && utf8.ValidString(req.Cwd)
	for _, arg := range req.Argv {
		ok = ok && utf8.ValidString(arg)
	}
	for _, v := range req.Env {
		ok = ok && utf8.ValidString(v.Name) && utf8.ValidString(v.Value)
	}
	if ok {
		return nil
	}
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "not_text", Step: verbExecute.step, Err: errors.New("arguments, environment or input are not UTF-8, and this provider takes text only"),
		Remediation: "encode them, for example as base64",
	}
}
