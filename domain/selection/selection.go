// Package selection decides in which environment a run works if it does not say.
//
//	issue > project > agent > company's default > local
//
// The highest level that names a usable environment wins. Unusable is one that does not exist, is another company's (which
// looks the same), is archived, or has the provider fake where that is not allowed: a fake environment runs nothing, and
// work that ends up there by a default is lost silently.
//
// An issue that names an environment which cannot be used is refused: whoever wrote that on the issue wants this run there
// and nowhere else (a machine with the right data, say), and a run in another place may do harm or prove nothing. The levels
// below are preferences for many runs at once, set long ago by somebody who does not look at this run; one archived
// environment there must not stop all of them, so it is passed over and the reason says so.
package selection

import (
	"slices"
	"strings"

	"github.com/tenure-dev/tenure/domain"
	"github.com/tenure-dev/tenure/domain/environment"
)

// Level is who named an environment. It is the code of a [Choice].
type Level string

// The levels, the strongest first.
const (
	LevelIssue   Level = "issue"
	LevelProject Level = "project"
	LevelAgent   Level = "agent"
	LevelCompany Level = "company"
	LevelLocal   Level = "local"
)

// Levels lists them, the strongest first.
func Levels() []Level { return []Level{LevelIssue, LevelProject, LevelAgent, LevelCompany, LevelLocal} }

func (l Level) String() string { return string(l) }

// The driver of the last level, and the provider that is never picked by itself.
const (
	DriverLocal  = "local"
	ProviderFake = "fake"
)

// Candidate is an environment that a level names, with what is known of it.
type Candidate struct {
	Level       Level
	Environment domain.EnvironmentID
	// Status is StatusNone for an environment that does not exist.
	Status   environment.Status
	Company  domain.CompanyID
	Driver   string
	Provider string
}

// Request is a run that needs an environment.
type Request struct {
	Company domain.CompanyID
	// Candidates are what the levels name, in any order; of one level, the first usable one counts.
	Candidates []Candidate
	// AllowFake lets environments with the provider fake be picked.
	AllowFake bool
}

// Problem is why a candidate cannot be used.
type Problem string

// The problems of a candidate.
const (
	ProblemNone     Problem = ""
	ProblemMissing  Problem = "environment_not_found"
	ProblemArchived Problem = "environment_archived"
	ProblemFake     Problem = "environment_fake"
	// ProblemNotLocal: a candidate of the last level that is not of the driver local.
	ProblemNotLocal Problem = "environment_not_local"
)

// Skip is a candidate that was passed over.
type Skip struct {
	Level       Level
	Environment domain.EnvironmentID
	Problem     Problem
}

// Choice is where the run works.
type Choice struct {
	Environment domain.EnvironmentID
	// Level is the code of the choice.
	Level Level
	// Reason is for a person.
	Reason  string
	Skipped []Skip
}

// Select picks the environment, or refuses.
func Select(r Request) (Choice, error) {
	var skipped []Skip
	for _, level := range Levels() {
		for _, c := range r.Candidates {
			if c.Level != level {
				continue
			}
			problem := r.problem(c)
			if problem == ProblemNone {
				return Choice{Environment: c.Environment, Level: level, Reason: reason(level, skipped), Skipped: skipped}, nil
			}
			if level == LevelIssue {
				return Choice{}, refuseIssue(c, problem)
			}
			skipped = append(skipped, Skip{Level: level, Environment: c.Environment, Problem: problem})
		}
	}
	return Choice{}, domain.Refuse(domain.KindConflict, "no_environment", "nothing says in which environment to work: %s",
		strings.Join(passedOver(Levels(), skipped), ", ")).
		On("environmentId").
		Mend("name one in environmentId, set the company's default with PATCH /api/v1/companies/%s, or add an environment with the driver %s", r.Company, DriverLocal)
}

func (r Request) problem(c Candidate) Problem {
	switch {
	case c.Status == environment.StatusNone, c.Company != r.Company:
		return ProblemMissing
	case c.Status != environment.StatusActive:
		return ProblemArchived
	case isFake(c.Provider) && !r.AllowFake:
		return ProblemFake
	case c.Level == LevelLocal && c.Driver != DriverLocal:
		return ProblemNotLocal
	}
	return ProblemNone
}

// isFake reports whether a provider is one of the plugin tenure.fake, which all run nothing.
func isFake(provider string) bool {
	return provider == ProviderFake || provider == ProviderFake+"-listable" || provider == ProviderFake+"-blind"
}

func refuseIssue(c Candidate, p Problem) error {
	const field = "selection.issueEnvironmentId"
	switch p {
	case ProblemArchived:
		return domain.Refuse(domain.KindConflict, "environment_archived", "the environment %s, which the issue names, is %s", c.Environment, c.Status).
			On(field).Mend("name another environment on the issue, or none")
	case ProblemFake:
		return domain.Refuse(domain.KindConflict, "environment_fake", "the environment %s, which the issue names, runs nothing: its provider is fake", c.Environment).
			On(field).Mend("name it in environmentId to use it all the same, or start the server with --allow-fake-selection")
	case ProblemNone, ProblemMissing, ProblemNotLocal:
	}
	return domain.NotFound("environment").On(field)
}

// reason says who named the environment, and what became of the levels above.
func reason(level Level, skipped []Skip) string {
	said := map[Level]string{
		LevelIssue: "the issue names it", LevelProject: "the project names it", LevelAgent: "the agent names it",
		LevelCompany: "it is the company's default", LevelLocal: "it is the company's first environment with the driver local",
	}
	above := Levels()[:slices.Index(Levels(), level)]
	return strings.Join(append([]string{said[level]}, passedOver(above, skipped)...), ", ")
}

// passedOver says what became of levels that did not win.
func passedOver(levels []Level, skipped []Skip) []string {
	none := map[Level]string{
		LevelIssue: "the issue names none", LevelProject: "the project names none", LevelAgent: "the agent names none",
		LevelCompany: "the company has no default", LevelLocal: "no active environment has the driver local",
	}
	whose := map[Level]string{
		LevelIssue: "the issue's", LevelProject: "the project's", LevelAgent: "the agent's", LevelCompany: "the company's default",
		LevelLocal: "a local one",
	}
	why := map[Problem]string{
		ProblemMissing: "does not exist", ProblemArchived: "is archived", ProblemFake: "has the provider fake", ProblemNotLocal: "has another driver",
	}
	var parts []string
	for _, level := range levels {
		found := false
		for _, s := range skipped {
			if s.Level == level && !found {
				found = true // one of a level says enough
				parts = append(parts, whose[level]+" "+why[s.Problem])
			}
		}
		if !found {
			parts = append(parts, none[level])
		}
	}
	return parts
}
