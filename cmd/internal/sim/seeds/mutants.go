package seeds

import "github.com/tenure-dev/tenure/cmd/internal/sim/still"

// Mutant is a bug that the simulation must find.
type Mutant struct {
	Name string
	// Breaks says what goes wrong with it.
	Breaks string
	Edits  []still.Edit
}

// Mutants are the bugs, each of the engine's sources; one that does not fit them any more is to be written anew.
var Mutants = []Mutant{
	{"ignores-attempt", "a result counts whichever attempt and worker it is of", []still.Edit{{
		File: "domain/lease/decide.go",
		Old:  "\tcase s.Attempt != attempt:\n\t\treturn stale(\"attempt %d is open, not %d\", s.Attempt, attempt)\n\tcase s.Worker != worker:\n",
		New:  "\tcase s.Attempt < attempt:\n",
	}}},
	{"skips-fence", "a command runs under the fence of another lease", []still.Edit{{
		File: "eventstore/commands/exec.go",
		Old:  "\t\tif err := l.CheckFence(x.Fence); err != nil {\n\t\t\treturn err\n\t\t}\n", New: "",
	}}},
	{"acts-before-intent", "the provider is asked before the log says so", []still.Edit{{
		File: "drivers/supervisor/lease.go",
		Old:  "\tl, got, err := s.deps.Commands.ClaimProvisioning(",
		New: "\tif unresolved == nil && l.Attempt == 0 && l.From.IsZero() {\n\t\tearly := l\n\t\tearly.Runtime.UUID, early.Attempt, early.Deadline = runtime, 1, now.Add(s.opts.ProvisionTimeout)\n" +
			"\t\t_, _ = s.acquire(ctx, driver, id, early, l.Config)\n\t}\n\tl, got, err := s.deps.Commands.ClaimProvisioning(",
	}}},
	{"destroys-blindly", "a late result is destroyed without a look whose runtime it is", []still.Edit{{
		File: "drivers/supervisor/late.go",
		Old:  "\tif !ended {\n\t\treturn s.prune(ctx, id, l, now, driver)\n\t}\n\tif now.NeedsTeardown()", New: "\t_ = ended\n\tif now.NeedsTeardown()",
	}}},
	{"resumes-without-take", "a kept runtime is resumed and not taken from who keeps it", []still.Edit{{
		File: "eventstore/commands/provision.go",
		Old:  "\t\t\tif err := takeOver(ctx, w, id, claimed); err != nil {\n\t\t\t\treturn err\n\t\t\t}\n", New: "",
	}}},
	{"frees-slot-early", "a slot is given on while the runtime in it is still there", []still.Edit{{
		File: "eventstore/commands/lease.go",
		Old:  "\tif inAdmission(before) && !inAdmission(after) {\n",
		New:  "\tif inAdmission(before) && !inAdmission(after) || before.ReleaseReason == \"\" && after.ReleaseReason != \"\" && inAdmission(before) {\n",
	}}},
	{"expires-blindly", "a lease ends by the deadline that a process remembers, not by the log's", []still.Edit{{
		File: "domain/lease/expiry.go",
		Old:  "\tif !c.Now.Before(end) {\n\t\tif end.Before", New: "\tif !c.Now.Before(end) || s.WarnedOf.IsZero() || !s.WarnedOf.Equal(s.ExpiresAt) {\n\t\tif end.Before",
	}}},
	{"renews-too-late", "a renewal is taken although the lease ended while it was on its way", []still.Edit{{
		File: "eventstore/commands/expiry.go",
		Old:  "\t\tw.NotAfter(l.EndsAt(t.gaps))\n", New: "",
	}}},
	{"key-acts-twice", "a command that is given again with its key is another command", []still.Edit{{
		File: "eventstore/commands/commands.go",
		Old:  "Command: c.Command, Lane: eventstore.LaneControl", New: "Lane: eventstore.LaneControl",
	}}},
	{"runs-twice", "a command whose worker died is started again", []still.Edit{
		{
			File: "drivers/supervisor/execute.go",
			Old:  "\t\t_, err = s.deps.Commands.AbandonExec(ctx, s.as(right, cause), id, \"worker_gone\")\n\t\treturn err\n",
			New:  "\t\t_ = right\n\t\treturn s.startExec(ctx, id, x, cause)\n",
		},
		{
			File: "domain/execution/decide.go",
			Old:  "\tcase s.Status != StatusRequested:\n\t\treturn nil, stale(\"the exec is %s; it is never claimed again\", s.Status)\n",
			New:  "\tcase s.Status != StatusRequested && s.Status != StatusClaimed && s.Status != StatusRunning:\n\t\treturn nil, stale(\"the exec is %s; it is never claimed again\", s.Status)\n",
		},
	}},
	{"believes-teardown", "a teardown that failed counts as done", []still.Edit{{
		File: "drivers/supervisor/lease.go",
		Old:  "\tif errors.Is(err, drivers.ErrGone) {\n\t\treturn false, nil\n\t}\n\treturn kept, err\n",
		New:  "\tif err != nil {\n\t\treturn false, nil\n\t}\n\treturn kept, err\n",
	}}},
}
