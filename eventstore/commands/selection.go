package commands

import (
	"context"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/selection"
	"github.com/tenure-dev/tenure/eventstore"
)

// Selection is what the levels say of a request for a lease that names no environment; a zero id is a level that names none.
// The company's default comes from the company itself.
type Selection struct {
	Issue, Project, Agent domain.EnvironmentID
	// AllowFake lets environments with the provider fake be picked.
	AllowFake bool
	// Locals lists the company's environments with the driver local, the oldest first. It is asked only if no level above
	// names a usable one, and each is looked at in the log before it is taken. A list may be behind the log: one that has none
	// usable is asked for again, current, and then shows all that is in the log by now.
	Locals func(ctx context.Context, current bool) ([]domain.EnvironmentID, error)
}

// choose picks the environment in the state of the log that the append holds on to: if one of the streams that were looked
// at changes before it, the choice is made again.
func (a Acquire) choose(ctx context.Context, w *eventstore.Work) (selection.Choice, error) {
	company, err := eventstore.View(ctx, w, Companies, a.Company.UUID)
	if err != nil {
		return selection.Choice{}, err
	}
	r := selection.Request{Company: a.Company, AllowFake: a.Selection.AllowFake}
	for _, named := range []struct {
		level selection.Level
		id    domain.EnvironmentID
	}{
		{selection.LevelIssue, a.Selection.Issue}, {selection.LevelProject, a.Selection.Project}, {selection.LevelAgent, a.Selection.Agent},
		{selection.LevelCompany, company.DefaultEnvironment},
	} {
		if named.id.IsZero() {
			continue
		}
		c, err := a.candidate(ctx, w, named.level, named.id)
		if err != nil {
			return selection.Choice{}, err
		}
		r.Candidates = append(r.Candidates, c)
		// What is below is not looked at, so that a change of it does not disturb.
		if choice, err := selection.Select(r); err == nil || named.level == selection.LevelIssue {
			return choice, err
		}
	}
	named := len(r.Candidates)
	for _, current := range []bool{false, true} {
		locals, err := a.Selection.Locals(ctx, current)
		if err != nil {
			return selection.Choice{}, err
		}
		r.Candidates = r.Candidates[:named]
		for _, id := range locals {
			c, err := a.candidate(ctx, w, selection.LevelLocal, id)
			if err != nil {
				return selection.Choice{}, err
			}
			r.Candidates = append(r.Candidates, c)
			if choice, err := selection.Select(r); err == nil {
				return choice, nil
			}
		}
	}
	return selection.Select(r)
}

func (a Acquire) candidate(ctx context.Context, w *eventstore.Work, level selection.Level, id domain.EnvironmentID) (selection.Candidate, error) {
	env, err := eventstore.View(ctx, w, Environments, id.UUID)
	if err != nil {
		return selection.Candidate{}, err
	}
	return selection.Candidate{
		Level: level, Environment: id, Status: env.Status, Company: env.Company, Driver: env.Driver, Provider: a.Provider(env.Driver, env.Config),
	}, nil
}
