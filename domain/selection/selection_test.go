package selection_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/domaintest"
	"github.com/tenure-dev/tenure/domain/environment"
	"github.com/tenure-dev/tenure/domain/selection"
)

func env(n byte) domain.EnvironmentID { return domaintest.ID[domain.EnvironmentID](n) }

// usable is a candidate that can be used.
func usable(level selection.Level, n byte) selection.Candidate {
	return selection.Candidate{
		Level: level, Environment: env(n), Status: environment.StatusActive, Company: domaintest.Company, Driver: "local", Provider: "local",
	}
}

func by(provider string, c selection.Candidate) selection.Candidate {
	c.Provider = provider
	return c
}

func spoiled(c selection.Candidate, p selection.Problem) selection.Candidate {
	switch p {
	case selection.ProblemMissing:
		c.Company = domaintest.ID[domain.CompanyID](99)
	case selection.ProblemArchived:
		c.Status = environment.StatusArchived
	case selection.ProblemFake:
		c.Provider = selection.ProviderFake
	case selection.ProblemNotLocal:
		c.Driver = "ssh"
	case selection.ProblemNone:
	}
	return c
}

func TestOnlyAnActiveEnvironmentIsPicked(t *testing.T) {
	t.Parallel()
	for _, status := range []environment.Status{
		environment.StatusArchiving, environment.StatusArchived, environment.StatusDeleting, environment.StatusDeleted,
	} {
		c := usable(selection.LevelProject, 1)
		c.Status = status
		_, err := selection.Select(selection.Request{Company: domaintest.Company, Candidates: []selection.Candidate{c}})
		require.ErrorContains(t, err, "the project's is archived", status)
	}
}

func TestTheHighestLevelWins(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name       string
		candidates []selection.Candidate
		allowFake  bool
		want       selection.Level
		reason     string
	}{
		{name: "all", candidates: []selection.Candidate{
			usable(selection.LevelLocal, 5), usable(selection.LevelCompany, 4), usable(selection.LevelAgent, 3),
			usable(selection.LevelProject, 2), usable(selection.LevelIssue, 1),
		}, want: selection.LevelIssue, reason: "the issue names it"},
		{name: "project", candidates: []selection.Candidate{usable(selection.LevelProject, 2), usable(selection.LevelAgent, 3)},
			want: selection.LevelProject, reason: "the project names it, the issue names none"},
		{name: "agent after an archived project", candidates: []selection.Candidate{
			spoiled(usable(selection.LevelProject, 2), selection.ProblemArchived), usable(selection.LevelAgent, 3),
		}, want: selection.LevelAgent, reason: "the agent names it, the issue names none, the project's is archived"},
		{name: "default after a foreign agent", candidates: []selection.Candidate{
			spoiled(usable(selection.LevelAgent, 3), selection.ProblemMissing), usable(selection.LevelCompany, 4),
		}, want: selection.LevelCompany, reason: "it is the company's default, the issue names none, the project names none, the agent's does not exist"},
		{name: "local after a fake default", candidates: []selection.Candidate{
			spoiled(usable(selection.LevelCompany, 4), selection.ProblemFake), usable(selection.LevelLocal, 5),
		}, want: selection.LevelLocal,
			reason: "it is the company's first environment with the driver local, the issue names none, the project names none, the agent names none, the company's default has the provider fake"},
		{name: "no fake of another class either", candidates: []selection.Candidate{
			by("fake-listable", usable(selection.LevelProject, 2)), by("fake-blind", usable(selection.LevelAgent, 3)), by("fake-not", usable(selection.LevelCompany, 4)),
		}, want: selection.LevelCompany,
			reason: "it is the company's default, the issue names none, the project's has the provider fake, the agent's has the provider fake"},
		{name: "a fake default that is allowed", candidates: []selection.Candidate{
			spoiled(usable(selection.LevelCompany, 4), selection.ProblemFake), usable(selection.LevelLocal, 5),
		}, allowFake: true, want: selection.LevelCompany,
			reason: "it is the company's default, the issue names none, the project names none, the agent names none"},
		{name: "the first local one that can be used", candidates: []selection.Candidate{
			spoiled(usable(selection.LevelLocal, 6), selection.ProblemArchived), spoiled(usable(selection.LevelLocal, 7), selection.ProblemNotLocal),
			usable(selection.LevelLocal, 5), usable(selection.LevelLocal, 8),
		}, want: selection.LevelLocal,
			reason: "it is the company's first environment with the driver local, the issue names none, the project names none, the agent names none, the company has no default"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := selection.Select(selection.Request{Company: domaintest.Company, Candidates: row.candidates, AllowFake: row.allowFake})
			require.NoError(t, err)
			require.Equal(t, row.want, got.Level)
			require.Equal(t, env(byte(1+slices.Index(selection.Levels(), row.want))), got.Environment)
			require.Equal(t, row.reason, got.Reason)
		})
	}
}

func TestAnIssueThatNamesWhatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	for problem, want := range map[selection.Problem]domain.Kind{
		selection.ProblemMissing: domain.KindNotFound, selection.ProblemArchived: domain.KindConflict, selection.ProblemFake: domain.KindConflict,
	} {
		_, err := selection.Select(selection.Request{Company: domaintest.Company, Candidates: []selection.Candidate{
			spoiled(usable(selection.LevelIssue, 1), problem), usable(selection.LevelProject, 2),
		}})
		r, ok := errors.AsType[*domain.Refusal](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, want, r.Kind)
		require.Equal(t, string(problem), r.Code)
		require.Equal(t, "selection.issueEnvironmentId", r.Field)
		require.NotEmpty(t, r.Remediation)
	}
}

func TestAForeignEnvironmentLooksMissing(t *testing.T) {
	t.Parallel()
	foreign := spoiled(usable(selection.LevelIssue, 1), selection.ProblemMissing)
	missing := selection.Candidate{Level: selection.LevelIssue, Environment: env(1)}
	for _, level := range selection.Levels() {
		foreign.Level, missing.Level = level, level
		_, first := selection.Select(selection.Request{Company: domaintest.Company, Candidates: []selection.Candidate{foreign}})
		_, second := selection.Select(selection.Request{Company: domaintest.Company, Candidates: []selection.Candidate{missing}})
		require.Error(t, first)
		require.Equal(t, first, second)
	}
}

func TestWithoutAnyTheRefusalSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := selection.Select(selection.Request{Company: domaintest.Company})
	r, ok := errors.AsType[*domain.Refusal](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "no_environment", r.Code)
	require.Equal(t, domain.KindConflict, r.Kind)
	require.Contains(t, r.Message, "the company has no default, no active environment has the driver local")
	for _, way := range []string{"environmentId", "/api/v1/companies/" + domaintest.Company.String(), "driver local"} {
		require.Contains(t, r.Remediation, way)
	}
}

func TestTheChoiceIsAlwaysTheHighestThatCanBeUsed(t *testing.T) {
	t.Parallel()
	problems := []selection.Problem{
		selection.ProblemNone, selection.ProblemMissing, selection.ProblemArchived, selection.ProblemFake, selection.ProblemNotLocal,
	}
	rapid.Check(t, func(rt *rapid.T) {
		type drawn struct {
			selection.Candidate
			problem selection.Problem
		}
		n := byte(0)
		all := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) drawn {
			n++
			p := rapid.SampledFrom(problems).Draw(rt, "problem")
			return drawn{spoiled(usable(rapid.SampledFrom(selection.Levels()).Draw(rt, "level"), n), p), p}
		}), 0, 8).Draw(rt, "candidates")
		r := selection.Request{Company: domaintest.Company, AllowFake: rapid.Bool().Draw(rt, "allow fake")}
		for _, d := range all {
			r.Candidates = append(r.Candidates, d.Candidate)
		}
		ok := func(d drawn) bool {
			switch d.problem {
			case selection.ProblemFake:
				return r.AllowFake
			case selection.ProblemNotLocal:
				return d.Level != selection.LevelLocal
			case selection.ProblemNone, selection.ProblemMissing, selection.ProblemArchived:
			}
			return d.problem == selection.ProblemNone
		}
		got, err := selection.Select(r)
		again, errAgain := selection.Select(r)
		require.Equal(rt, got, again)
		require.Equal(rt, err, errAgain)

		var want *drawn
		for _, level := range selection.Levels() {
			for i := range all {
				if want == nil && all[i].Level == level && (ok(all[i]) || level == selection.LevelIssue) {
					want = &all[i]
				}
			}
		}
		if want == nil || !ok(*want) {
			require.Error(rt, err)
			require.Zero(rt, got)
			return
		}
		require.NoError(rt, err)
		require.Equal(rt, want.Environment, got.Environment)
		require.Equal(rt, want.Level, got.Level)
		require.NotEmpty(rt, strings.TrimSpace(got.Reason))
		if want.Provider == selection.ProviderFake {
			require.True(rt, r.AllowFake)
		}
		for _, s := range got.Skipped {
			require.NotEqual(rt, selection.LevelIssue, s.Level)
		}
	})
}
