package check

import "fmt"

// Violation is a promise that was broken.
type Violation struct {
	Rule Rule `json:"rule"`
	// Subject is what it happened to: a stream, a key, a thing of a provider, a read model.
	Subject string `json:"subject"`
	// Detail says what happened, with the positions of the events (#12) and the request ids of the calls.
	Detail string `json:"detail"`
	// Positions are those of the events named, in order, so that they can be looked up.
	Positions []int64 `json:"positions,omitempty"`
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Rule, v.Subject, v.Detail) }

// Rule names what is promised.
type Rule string

// The rules.
const (
	// RuleHolders: a runtime and a slot have one holder at most.
	RuleHolders Rule = "one_holder"
	// RuleCommands: an acknowledged command is in the log once, a refused one has no effect.
	RuleCommands Rule = "acknowledged_once"
	// RuleKeys: every key has one outcome.
	RuleKeys Rule = "one_outcome"
	// RuleOrder: positions, versions, epochs and fences only go forward.
	RuleOrder Rule = "order"
	// RuleDeadlines: nothing lives past its deadline, and nothing ends before it.
	RuleDeadlines Rule = "deadlines"
	// RuleRuntimes: what was created is destroyed, looked after or listed, and what the log holds is there.
	RuleRuntimes Rule = "runtimes_accounted"
	// RuleProjections: read models equal their fold.
	RuleProjections Rule = "projections"
	// RuleEnds: every lease ends once, and nothing happens to it afterwards.
	RuleEnds Rule = "ended_once"
	// RuleForks: nothing is driven while the log is forked, and a clone does nothing.
	RuleForks Rule = "forked_rests"
	// RuleExecs: an execution starts once at most, within its lease, and ends once, as the client was told.
	RuleExecs Rule = "execs"
	// RuleClaims: a result counts only for the attempt that is open, and from the worker that has it.
	RuleClaims Rule = "claims"
)

// Result is what Check found.
type Result struct {
	// Violations are in the order of the rules.
	Violations []Violation
	// Looked is how many things each rule looked at: one that looked at nothing proves nothing.
	Looked map[Rule]int
	// Finished is how many leases ended.
	Finished int
}

var rules = []struct {
	name  Rule
	check func(*judge)
}{
	{RuleHolders, holders},
	{RuleCommands, acknowledged},
	{RuleKeys, oneOutcome},
	{RuleOrder, order},
	{RuleDeadlines, deadlines},
	{RuleRuntimes, runtimes},
	{RuleProjections, folded},
	{RuleEnds, ends},
	{RuleForks, forkedRests},
	{RuleExecs, execs},
	{RuleClaims, claims},
}

// Rules lists all rules, in the order in which they are reported.
func Rules() []Rule {
	names := make([]Rule, 0, len(rules))
	for _, r := range rules {
		names = append(names, r.name)
	}
	return names
}

// Check judges a history.
func Check(h History) Result {
	j := newJudge(h)
	for _, r := range rules {
		j.rule = r.name
		r.check(j)
	}
	return Result{Violations: j.violations, Looked: j.looked, Finished: j.finished}
}
