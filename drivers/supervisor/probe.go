package supervisor

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/domain/secretread"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/eventstore/faults"
)

// stepProbe asks a driver whether an environment would work. A probe makes nothing that stays, so it is asked again by
// whoever takes over; the first answer counts.
func (s *Supervisor) stepProbe(ctx context.Context, id domain.ProbeID, cause uuid.UUID) error {
	p, err := s.deps.Commands.KnownProbe(ctx, id)
	if err != nil {
		return err
	}
	orphaned := false
	switch p.Status {
	case probe.StatusRequested:
	case probe.StatusClaimed:
		// This process works on a probe in one step only, and is not at it.
		orphaned = p.Worker == s.deps.Process.ID
		if !orphaned {
			if orphaned, err = s.dead(ctx, p.Worker); err != nil {
				return err
			}
		}
		if !orphaned && s.now().Before(p.Deadline) {
			return nil
		}
	case probe.StatusNone, probe.StatusCompleted:
		return nil
	}
	right, mine, err := s.turn(ctx, matter{of: id.UUID, target: drivers.Target{Driver: p.Request.Driver, Provider: p.Request.Provider}})
	if err != nil || !mine {
		return err
	}
	need, unreadable := s.need(p.Request.Config, secretread.Read{Purpose: secretread.PurposeProbe, Environment: p.Request.Environment})
	p, got, err := s.deps.Commands.ClaimProbe(ctx, s.as(right, cause), id, probe.Claim{
		Worker: s.deps.Process.ID, Deadline: s.now().Add(s.opts.ProbeTimeout), WorkerDead: orphaned,
	}, need)
	if err != nil {
		return err
	}
	var config json.RawMessage
	if unreadable == nil {
		config, unreadable = s.deps.Commands.ProbeConfig(ctx, id, p, got)
	}
	if transient(unreadable) {
		return unreadable
	}
	began := time.Now()
	var answer probe.Completed
	if unreadable != nil {
		answer = unanswered(noSecret(unreadable))
	} else {
		answer = s.probe(ctx, p, config)
	}
	if s.work.Err() != nil {
		return s.work.Err() // cut short: it says nothing of the environment, and whoever starts next asks again
	}
	answer.DriverMs = time.Since(began).Milliseconds()
	return s.persist(func(ctx context.Context) error {
		_, err := s.deps.Commands.FinishProbe(ctx, s.me(cause), id, answer)
		return err
	})
}

// probe asks the driver; config is the configuration with the secrets in it.
func (s *Supervisor) probe(ctx context.Context, p probe.State, config json.RawMessage) probe.Completed {
	driver, err := s.deps.Drivers.Resolve(drivers.Target{Driver: p.Request.Driver, Provider: p.Request.Provider})
	if err != nil {
		return unanswered(err)
	}
	result, err := callDriver(ctx, s, driver, VerbProbe, p.Deadline.Sub(s.now()), func(ctx context.Context) (drivers.ProbeResult, error) {
		faults.Point("driver.probe.before")
		result, err := drivers.Probe(ctx, driver, drivers.ProbeRequest{
			CompanyID: p.Request.Company.String(), EnvironmentID: idOrEmpty(p.Request.Environment), Config: config,
		})
		faults.Point("driver.probe.after")
		return result, err
	}, func(drivers.ProbeResult) {})
	if err != nil {
		return unanswered(err)
	}
	answer := probe.Completed{OK: result.OK, Phase: result.Phase, Summary: result.Summary}
	for _, d := range result.Diagnostics {
		answer.Diagnostics = append(answer.Diagnostics, probe.Diagnostic{
			Severity: string(d.Severity), Code: d.Code, Message: d.Message, Remediation: d.Remediation,
		})
	}
	return answer
}

// unanswered is the answer where the driver gave none.
func unanswered(err error) probe.Completed {
	f := failureOf("", err)
	phase := f.Step
	if phase == "" {
		phase = "driver"
	}
	return probe.Completed{
		Phase: phase, Summary: cause(f, err),
		Diagnostics: []probe.Diagnostic{{
			Severity: string(drivers.SeverityError), Code: f.Code, Message: err.Error(), Remediation: f.Remediation,
		}},
	}
}

// cause is an error without the code and the step that are told beside it.
func cause(f *drivers.Failure, err error) string {
	if f.Err != nil {
		return f.Err.Error()
	}
	return err.Error()
}

func idOrEmpty(id domain.EnvironmentID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}
