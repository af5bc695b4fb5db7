package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tenure-dev/tenure/drivers"
)

// urlVar is the variable by which a command learns the way back to the control plane.
const urlVar = "PAPERCLIP_API_URL"

// StartExec implements [drivers.Executor].
func (d *Driver) StartExec(ctx context.Context, req drivers.ExecRequest) (drivers.Exec, error) {
	config, _, err := d.shape.open(req.Config)
	if err != nil {
		return nil, drivers.NotStarted("runtime", "bad_config", drivers.BadConfig(err))
	}
	if url := URLOf(req.Metadata); url != "" {
		req.Env = append([]drivers.EnvVar{{Name: urlVar, Value: url}}, req.Env...)
	}
	if err := drivers.Refuse(drivers.ValidateExec(req)); err != nil {
		return nil, err
	}
	hidden := secretsOf(d.offer, config)
	worker, err := d.offer.Worker(ctx)
	if err != nil {
		return nil, hidden.clean(drivers.NotStarted("worker", "worker_unavailable", err))
	}
	of := d.leaseOf(req.Handle, config)
	if d.about.Streams {
		exec, err := worker.StartExec(ctx, StartRequest{LeaseRequest: of, Exec: req})
		return exec, hidden.clean(err)
	}
	exec, err := execute(ctx, worker, of, req, hidden)
	if err != nil {
		return nil, hidden.clean(err)
	}
	return exec, nil
}

// URLOf is the way back to the control plane that a runtime's metadata names; "" for none.
func URLOf(metadata json.RawMessage) string {
	var said struct {
		URL *string `json:"paperclipApiUrl"`
	}
	if len(metadata) == 0 || json.Unmarshal(metadata, &said) != nil || said.URL == nil {
		return ""
	}
	return *said.URL
}

// plainText refuses what the published protocol, which carries text, would change.
func plainText(req drivers.ExecRequest) error {
	var problems []drivers.FieldProblem
	check := func(field, s string) {
		if !utf8.ValidString(s) {
			problems = append(problems, drivers.FieldProblem{
				Field: field, Problem: "is not UTF-8, and this provider takes text only", Remediation: "encode it, for example as base64",
			})
		}
	}
	for i, arg := range req.Argv {
		check(fmt.Sprintf("argv[%d]", i), arg)
	}
	for _, v := range req.Env {
		check(fmt.Sprintf("env[%q]", v.Name), v.Name+v.Value)
	}
	check("cwd", req.Cwd)
	check("stdin", string(req.Stdin))
	return drivers.Refuse(problems)
}

// findURL looks for the way back to the control plane from inside the runtime.
func (d *Driver) findURL(ctx context.Context, worker Worker, of LeaseRequest, e envelope) (*string, error) {
	if d.urls == nil || d.shape.NoRuntimeURL || !d.about.Exec && !d.about.Streams || offline(of.Lease.Metadata) {
		if e.RuntimeURL == urlRequired {
			return nil, noURL("this runtime cannot be asked")
		}
		return nil, nil
	}
	query := URLQuery{Configured: e.Candidates, Local: d.about.NodeBound}
	url, tried := d.urls.FindURL(ctx, query, func(ctx context.Context, script string, stdin []byte) ([]byte, error) {
		return run(ctx, worker, d.about.Streams, of, []string{"sh", "-c", script}, stdin)
	})
	if url == "" && e.RuntimeURL == urlRequired {
		if ctx.Err() != nil { // it says nothing of those that were not tried
			return nil, &drivers.Failure{
				Outcome: drivers.OutcomeRetryable, Code: "canceled", Step: discoverStep, Err: context.Cause(ctx),
				Remediation: "try again; the runtime took all the time there was",
			}
		}
		return nil, noURL(tried)
	}
	if url == "" {
		return nil, nil
	}
	return &url, nil
}

// offline reports whether a provider says of a runtime that it has no network.
func offline(metadata json.RawMessage) bool {
	var said struct{ Network string }
	return len(metadata) > 0 && json.Unmarshal(metadata, &said) == nil && said.Network == "none"
}

const discoverStep = "discover_runtime_url"

func noURL(tried string) error {
	return &drivers.Failure{
		Outcome: drivers.OutcomeDefinite, Code: "runtime_url_unreachable", Step: discoverStep,
		Err:         fmt.Errorf("no candidate for the control plane's URL answers from the runtime: %s", cmp.Or(strings.TrimSpace(tried), "there is none")),
		Remediation: "name one that the runtime reaches in config.runtimeApiCandidates, or make config.runtimeUrl optional",
	}
}
