package probe_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/probe"
)

var noon = domaintest.Noon

func claim(now time.Time, dead bool) probe.Claim {
	return probe.Claim{Worker: domaintest.Worker, Now: now, Deadline: now.Add(time.Minute), WorkerDead: dead}
}

func TestAProbeIsClaimedByOneWorkerAndAnsweredOnce(t *testing.T) {
	t.Parallel()
	asked := domaintest.ProbeRequested()
	s := domaintest.Given(t, probe.Decider).When(probe.Request{Requested: asked}).Then(asked)
	s.When(probe.Request{Requested: asked}).Refused(domain.KindConflict, "probe_exists", "")
	claimed := s.When(claim(noon, false)).Then(probe.Claimed{Worker: domaintest.Worker, Deadline: noon.Add(time.Minute)})
	claimed.When(claim(noon, false)).Refused(domain.KindStale, "stale_claim", "")
	claimed.When(claim(noon, true)).Then(probe.Claimed{Worker: domaintest.Worker, Deadline: noon.Add(time.Minute)})
	claimed.When(claim(noon.Add(time.Minute), false)).Then(probe.Claimed{Worker: domaintest.Worker, Deadline: noon.Add(2 * time.Minute)})
	answer := probe.Completed{OK: true, Summary: "it works", Diagnostics: []probe.Diagnostic{}}
	done := claimed.When(probe.Complete{Completed: answer}).Then(answer)
	require.Equal(t, probe.StatusCompleted, done.State().Status)
	done.When(probe.Complete{Completed: probe.Completed{Summary: "no"}}).Nothing()
	done.When(claim(noon, true)).Refused(domain.KindStale, "stale_claim", "")
	done.When(nil).Refused(domain.KindInvalid, "unknown_command", "")
}

func TestAnAnswerOfAnyLengthIsRecorded(t *testing.T) {
	t.Parallel()
	asked := domaintest.ProbeRequested()
	long := strings.Repeat("x", 2*domain.MaxMessage) + "\x00"
	answer := probe.Completed{Phase: long, Summary: long, Diagnostics: make([]probe.Diagnostic, 1000)}
	for i := range answer.Diagnostics {
		answer.Diagnostics[i] = probe.Diagnostic{Severity: long, Code: long, Message: long, Remediation: long}
	}
	s := domaintest.Given(t, probe.Decider).When(probe.Request{Requested: asked}).Then(asked)
	events, err := probe.Decide(s.State(), probe.Complete{Completed: answer})
	require.NoError(t, err)
	kept := events[0].(probe.Completed)
	require.Len(t, kept.Diagnostics, 100)
	require.Less(t, len([]rune(kept.Summary)), len([]rune(answer.Summary)))
	require.NotContains(t, kept.Summary, "\x00")
}

func TestAQuestionWithoutSenseIsRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil       func(*probe.Requested)
		code, field string
	}{
		"no company":      {func(e *probe.Requested) { e.Company = domain.CompanyID{} }, "missing_field", "companyId"},
		"no driver":       {func(e *probe.Requested) { e.Driver = "" }, "missing_field", "driver"},
		"driver of lines": {func(e *probe.Requested) { e.Driver = "a\nb" }, "invalid_text", "driver"},
		"config of null":  {func(e *probe.Requested) { e.Config = json.RawMessage("null") }, "invalid_json", "config"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := domaintest.ProbeRequested()
			tc.spoil(&asked)
			domaintest.Given(t, probe.Decider).When(probe.Request{Requested: asked}).Refused(domain.KindInvalid, tc.code, tc.field)
		})
	}
	domaintest.Given(t, probe.Decider).When(probe.Complete{}).Refused(domain.KindNotFound, "probe_not_found", "")
	asked := domaintest.ProbeRequested()
	asked.Config = nil
	want := asked
	want.Config = json.RawMessage(`{}`)
	domaintest.Given(t, probe.Decider).When(probe.Request{Requested: asked}).Then(want)
}
