package supervisor_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/probe"
	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/drivers/fake"
	"github.com/tenure-dev/tenure/drivers/supervisor"
	"github.com/tenure-dev/tenure/eventstore"
	"github.com/tenure-dev/tenure/eventstore/commands"
)

func (w *world) ask(driver string) domain.ProbeID {
	w.Helper()
	id := domain.ProbeID{UUID: uuid.New()}
	_, err := w.client.RequestProbe(w.Context(), commands.Caller{}, commands.Probe{
		Probe: id, Company: w.company, Driver: driver, Config: json.RawMessage(`{}`),
		Provider: func(driver string, _ json.RawMessage) string { return driver }, Fields: commands.NoSecretFields,
	})
	require.NoError(w, err)
	return id
}

func (w *world) answered(id domain.ProbeID) probe.Completed {
	w.Helper()
	w.settled()
	p, err := eventstore.Load(w.Context(), w.client.Ledger(), commands.Probes, id.UUID)
	require.NoError(w, err)
	require.Equal(w, probe.StatusCompleted, p.State.Status)
	return p.State.Result
}

func TestAProbeIsAnsweredByTheDriver(t *testing.T) {
	inWorld(t, fake.Options{Hooks: fake.Hooks{Probe: func(context.Context, drivers.ProbeRequest) (drivers.ProbeResult, error) {
		return drivers.ProbeResult{Phase: "auth", Summary: "failed at auth", Diagnostics: []drivers.Diagnostic{
			{Severity: drivers.SeverityError, Code: "auth_failed", Message: "no key fits", Remediation: "add the key"},
		}}, nil
	}}}, func(t *testing.T, w *world) {
		w.start(supervisor.Options{})
		answer := w.answered(w.ask("fake"))
		require.False(t, answer.OK)
		require.Equal(t, "auth", answer.Phase)
		require.Equal(t, []probe.Diagnostic{{Severity: "error", Code: "auth_failed", Message: "no key fits", Remediation: "add the key"}}, answer.Diagnostics)
		unknown := w.answered(w.ask("moon"))
		require.False(t, unknown.OK)
		require.Equal(t, "driver_unavailable", unknown.Diagnostics[0].Code)
		require.NotEmpty(t, unknown.Diagnostics[0].Remediation)
	})
}

func TestADriverThatFailsOrNeverAnswersAProbeIsAnAnswer(t *testing.T) {
	g := newGateIn(t)
	var fails atomic.Bool
	inWorld(t, fake.Options{Hooks: fake.Hooks{Probe: func(context.Context, drivers.ProbeRequest) (drivers.ProbeResult, error) {
		if fails.Load() {
			return drivers.ProbeResult{}, &drivers.Failure{Code: "no_route", Step: "dial", Remediation: "open the port", Err: errors.New("no route")}
		}
		at := <-g
		g <- at
		at.endure()
		return drivers.ProbeResult{}, nil
	}}}, func(t *testing.T, w *world) {
		stuck := newGate()
		g <- stuck
		n := w.start(supervisor.Options{ProbeTimeout: time.Minute})
		id := w.ask("fake")
		w.pass(2 * time.Minute)
		require.Equal(t, "driver_timeout", w.answered(id).Diagnostics[0].Code)
		require.NotEmpty(t, w.answered(id).Diagnostics[0].Remediation)
		fails.Store(true)
		answer := w.answered(w.ask("fake"))
		require.Equal(t, "dial", answer.Phase)
		require.Equal(t, "no route", answer.Summary, "why, not only where")
		require.Equal(t, "open the port", answer.Diagnostics[0].Remediation)
		stuck.open()
		n.stop()
	})
}

func newGateIn(t *testing.T) chan *gate {
	t.Helper()
	return make(chan *gate, 1)
}

func TestTheProbeOfADeadProcessIsAskedAgainByAnother(t *testing.T) {
	g := newGateIn(t)
	var asked atomic.Int64
	inWorld(t, fake.Options{Hooks: fake.Hooks{Probe: func(context.Context, drivers.ProbeRequest) (drivers.ProbeResult, error) {
		if asked.Add(1) == 1 {
			at := <-g
			at.endure()
		}
		return drivers.ProbeResult{OK: true, Summary: "fine"}, nil
	}}}, func(t *testing.T, w *world) {
		slow := newGate()
		g <- slow
		a := w.start(supervisor.Options{})
		id := w.ask("fake")
		w.settled()
		w.start(supervisor.Options{})
		w.pass(time.Second)
		require.EqualValues(t, 1, asked.Load(), "a living process keeps its claim")
		a.crash()
		w.pass(within)
		require.True(t, w.answered(id).OK)
		require.Equal(t, 1, w.count(commands.Probes.Stream(id.UUID), "ProbeCompleted"))
		slow.open()
		a.stop()
	})
}
