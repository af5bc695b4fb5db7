package faketest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/tenure-dev/tenure/drivers"
	"github.com/tenure-dev/tenure/plugins/fake"
)

// story is one random life: environments whose provider fails as a script says, clients, and engines that die.
type story struct {
	Environments []place
	// Start is the script of the workers' starts.
	Start []fake.Step `json:",omitempty"`
	Acts  []act
}

// place is an environment.
type place struct {
	Class  drivers.Class
	Slots  int         `json:",omitempty"`
	Script []fake.Step `json:",omitempty"`
}

// act is something that a client or fate does.
type act struct {
	// After is how long it comes after the one before, in milliseconds.
	After int64
	Do    deed
	// Of is the lease or environment that it is about, modulo how many there are.
	Of int `json:",omitempty"`
	wish
}

type deed string

const (
	doAcquire deed = "acquire"
	doRelease deed = "release"
	doCancel  deed = "cancel"
	doExec    deed = "exec"
	doProbe   deed = "probe"
	// doKill ends the engine and its workers at once; the next one starts half a second later. doPause silences it, so that
	// it is taken for dead while it goes on; the next one starts and it is heard again later. doCrash kills the worker.
	doKill  deed = "kill the engine"
	doPause deed = "pause the engine"
	doCrash deed = "kill the worker"
	// doForce ends a lease that is stuck. doAppear makes the runtime of a lease that is over after all, as a create does that
	// the network delayed.
	doForce  deed = "force"
	doAppear deed = "appear"
	// doReconfigure gives an environment another image, so that runtimes that were kept are of another make.
	doReconfigure deed = "reconfigure"
	// doLose takes away what a lease has at the provider; doUsurp lets something else have its name as well.
	doLose  deed = "lose"
	doUsurp deed = "usurp"
)

func (s story) String() string {
	var b strings.Builder
	line := func(indent string, v any) {
		raw, _ := json.Marshal(v)
		fmt.Fprintf(&b, "%s%s\n", indent, raw)
	}
	for i, e := range s.Environments {
		fmt.Fprintf(&b, "environment %d: %s, %d slots\n", i, e.Class, e.Slots)
		for _, step := range e.Script {
			line("  ", step)
		}
	}
	for _, step := range s.Start {
		line("start ", step)
	}
	var at time.Duration
	for _, a := range s.Acts {
		at += time.Duration(a.After) * time.Millisecond
		fmt.Fprintf(&b, "at %s: %s %d%s\n", at, a.Do, a.Of, a.of(a.Do))
	}
	return b.String()
}

// some draws one of the values; earlier ones are simpler.
func some[T any](t *rapid.T, label string, values ...T) T {
	return rapid.SampledFrom(values).Draw(t, label)
}

func drawStory(t *rapid.T) story {
	var s story
	// In a slow story nobody dies and nothing fails; the provider only takes its time. Nothing at all may be left of it.
	slow := rapid.IntRange(0, 4).Draw(t, "slow") == 4
	deeds := []deed{
		doAcquire, doAcquire, doAcquire, doRelease, doRelease, doRelease, doExec, doExec, doCancel, doProbe, doForce, doAppear, doReconfigure,
	}
	if !slow {
		deeds = append(deeds, doKill, doPause, doCrash, doLose, doUsurp)
	}
	for range rapid.IntRange(1, 3).Draw(t, "environments") {
		p := place{Class: some(t, "class", drivers.ClassIdempotent, drivers.ClassListable, drivers.ClassBlind)}
		p.Slots = some(t, "slots", 0, 0, 1, 2)
		for range rapid.IntRange(0, 5).Draw(t, "steps") {
			p.Script = append(p.Script, drawStep(t, p.Class, slow))
		}
		s.Environments = append(s.Environments, p)
	}
	if !slow && rapid.IntRange(0, 4).Draw(t, "starts badly") == 4 {
		s.Start = append(s.Start, drawStart(t))
	}
	s.Acts = append(s.Acts, act{Do: doAcquire, Of: rapid.IntRange(0, 2).Draw(t, "of"), wish: drawWish(t)})
	for range rapid.IntRange(0, 14).Draw(t, "acts") {
		a := act{
			After: some[int64](t, "after", 0, 100, 700, 2_000, 5_000, 9_000, 25_000), Of: rapid.IntRange(0, 5).Draw(t, "of"),
			Do: some(t, "do", deeds...),
		}
		if a.Do == doAcquire || a.Do == doRelease {
			a.wish = drawWish(t)
		}
		s.Acts = append(s.Acts, a)
	}
	return s
}

// drawStep draws what goes wrong in one call. A provider that says "nothing happened" of a call which made something would
// be a liar, whom nobody can clean up after: such steps are not drawn.
func drawStep(t *rapid.T, class drivers.Class, slow bool) fake.Step {
	s := fake.Step{
		Verb: some(t, "verb", fake.VerbAcquire, fake.VerbAcquire, fake.VerbAcquire, fake.VerbRelease, fake.VerbRelease, fake.VerbExec, fake.VerbProbe, fake.VerbList,
			fake.VerbKeep, fake.VerbKeep, fake.VerbResume, fake.VerbResume),
		Action: some(t, "action", fake.ActionFail, fake.ActionDelay, fake.ActionCrash, fake.ActionLate, fake.ActionPartial, fake.ActionSilent, fake.ActionJunk),
		At:     some(t, "at", fake.PlaceBefore, fake.PlaceAfter, fake.PlaceReply),
	}
	if slow {
		s.Action = some(t, "slow action", fake.ActionLate, fake.ActionDelay)
	}
	if s.Action == fake.ActionPartial && s.Verb != fake.VerbAcquire {
		s.Action = fake.ActionFail
	}
	// Which calls it is about; most scripts end, so that most stories do.
	switch rapid.IntRange(0, 9).Draw(t, "which") {
	case 0:
	case 1, 2, 3:
		s.Times = rapid.IntRange(1, 3).Draw(t, "times")
	default:
		s.Attempt = rapid.IntRange(1, 3).Draw(t, "attempt")
	}
	s.Ms = some[int64](t, "ms", 300, 1_500, 6_000, 12_000, 45_000)
	s.Deaf = s.Action == fake.ActionDelay && (slow || rapid.Bool().Draw(t, "deaf"))
	switch s.Action {
	case fake.ActionFail:
		s.Outcome = some(t, "outcome", drivers.OutcomeRetryable, drivers.OutcomeDefinite, drivers.OutcomeAmbiguous)
		made := s.Verb == fake.VerbAcquire && s.At != fake.PlaceBefore
		// A later attempt of a class that finds what it made would be told of it: definite is a lie there as well.
		if made && (s.Outcome == drivers.OutcomeDefinite || class == drivers.ClassBlind) {
			s.Outcome = drivers.OutcomeAmbiguous
		}
	case fake.ActionPartial:
		s.DestroyFails = rapid.IntRange(0, 2).Draw(t, "destroyFails")
		s.At = ""
	case fake.ActionJunk:
		s.Message = some(t, "message", `started v1.2`, `{"level":"info","msg":"hello"}`, `{"jsonrpc":"2.0","id":"x`)
		s.Raw = rapid.IntRange(0, 3).Draw(t, "raw") == 3
	case fake.ActionLate:
		s.At = ""
	case fake.ActionDelay, fake.ActionCrash, fake.ActionSilent, fake.ActionSwell:
	}
	if s.Action != fake.ActionDelay && s.Action != fake.ActionLate {
		s.Ms = 0
	}
	return s
}

func drawStart(t *rapid.T) fake.Step {
	s := fake.Step{
		Verb: fake.VerbStart, Action: some(t, "action", fake.ActionJunk, fake.ActionCrash, fake.ActionSilent, fake.ActionFail),
		Times: rapid.IntRange(1, 3).Draw(t, "times"),
	}
	if s.Action == fake.ActionJunk {
		s.Message = "started v1.2"
	}
	return s
}

// endless says that the teardown of the environment's runtimes may fail for ever, because of its script.
func (p place) endless() bool {
	for _, s := range p.Script {
		ends := s.Attempt > 0 || s.Times > 0
		harmless := s.Action == fake.ActionJunk && !s.Raw
		if (s.Verb == fake.VerbRelease || s.Verb == fake.VerbList) && !ends && !harmless {
			return true
		}
	}
	return false
}

// leavesUnanswered says that an acquisition may have no answer as long as its worker lives: the provider is silent, or
// somebody spoils the line that the answer is on.
func (s story) leavesUnanswered() bool {
	for _, p := range s.Environments {
		for _, step := range p.Script {
			if step.Verb == fake.VerbAcquire && step.Action == fake.ActionSilent || step.Raw {
				return true
			}
		}
	}
	return false
}

// losesNames says that the name of a runtime of the environment may be lost before the engine has heard it: somebody dies, or
// the provider fails after it has made one. Without that even a blind provider leaves nothing.
func (s story) losesNames(of place) bool {
	for _, a := range s.Acts {
		if a.Do == doKill || a.Do == doPause || a.Do == doCrash {
			return true
		}
	}
	for _, p := range s.Environments {
		for _, step := range p.Script {
			if step.Action == fake.ActionCrash || step.Raw {
				return true
			}
		}
	}
	for _, step := range of.Script {
		if step.Verb != fake.VerbAcquire {
			continue
		}
		switch step.Action {
		case fake.ActionFail, fake.ActionPartial, fake.ActionSilent:
			return true
		case fake.ActionDelay:
			if !step.Deaf {
				return true
			}
		case fake.ActionCrash, fake.ActionLate, fake.ActionJunk, fake.ActionSwell:
		}
	}
	return false
}

// writeScript puts a script where every environment and the worker's start see it.
func writeScript(path string, steps []fake.Step) {
	raw, err := json.Marshal(append([]fake.Step{}, steps...))
	must(err)
	must(os.MkdirAll(filepath.Dir(path), 0o700))
	must(os.WriteFile(path, raw, 0o600))
}
